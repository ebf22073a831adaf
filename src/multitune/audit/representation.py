"""Who is mentioned, how often, in each set and in the mixture as it is drawn."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.lexicon import Term
from multitune.audit.mentions import row_mentions, shown
from multitune.audit.statistics import Z95, ratio, wilson
from multitune.core.results.audit import Excerpt, Finding, Measure

NAME = "representation"
MOMENTS = ("start", "middle", "end")
PER = 1000.0  # words
LEAST = 5  # mentions from which on a single term is shown
SHOWN = 3  # rows of a finding
MEN, WOMEN = Term("gender", "men"), Term("gender", "women")
# Two groups of one axis that are set against each other, each a set of names or of buckets.
PAIRS: tuple[tuple[str, frozenset[str], frozenset[str]], ...] = (
    ("women to men", frozenset({"women"}), frozenset({"men"})),
    ("old to young people", frozenset({"old"}), frozenset({"young", "child"})),
    ("poor to rich people", frozenset({"below_poverty_line"}), frozenset({"upper_class"})),
    ("Black to white people", frozenset({"Black", "African-American"}), frozenset({"white", "Caucasian"})),
    ("Muslims to Christians", frozenset({"Muslim"}), frozenset({"Christian"})),
    ("gay to straight people", frozenset({"gay", "lesbian"}), frozenset({"straight"})),
)


@dataclass(slots=True)
class _SetMentions:
    """The mentions of one set's training rows."""

    one: AuditSet
    rows: int = 0
    words: int = 0
    people: Counter[Term] = field(default_factory=Counter[Term])
    others: Counter[Term] = field(default_factory=Counter[Term])
    gendered: int = 0  # rows that mention women or men
    examples: dict[Term, list[Excerpt]] = field(default_factory=dict[Term, list[Excerpt]])

    def of_axes(self, terms: Counter[Term]) -> Counter[str]:
        """Mentions by axis."""
        axes: Counter[str] = Counter()
        for term, count in terms.items():
            axes[term.axis] += count
        return axes


def _find(audited: Audited) -> Iterator[Found]:
    every = [_mentions(one, audited) for one in audited.sets if one.role != "retention" and one.rows("train")]
    most = audited.thresholds["ratio"]
    skewed: list[tuple[_SetMentions, Finding]] = []
    for mentioned in every:
        yield from _rates(mentioned)
        yield from _pairs(mentioned)
        if finding := _gender(mentioned, most):
            skewed.append((mentioned, finding))
            yield finding
    for share, moment in zip(audited.mixture.shares, MOMENTS, strict=False):
        yield from _mixture_rates(every, share, moment)
    yield from _together(skewed, most)


def _mentions(one: AuditSet, audited: Audited) -> _SetMentions:
    mentioned = _SetMentions(one)
    for row in row_mentions(one, "train", answers=True):
        mentioned.rows += 1
        mentioned.words += row.words
        mentioned.people += row.people
        mentioned.others += row.others
        mentioned.gendered += MEN in row.people or WOMEN in row.people
        for term in (MEN, WOMEN):
            listed = mentioned.examples.setdefault(term, [])
            if len(listed) < SHOWN and term in row.people:
                listed.append(shown(one, "train", row, term))
    audited.advance(mentioned.rows)
    return mentioned


def _rates(mentioned: _SetMentions) -> Iterator[Measure]:
    """Mentions per 1,000 words: of people, and with those that may mean something else."""
    people = mentioned.of_axes(mentioned.people)
    for axis, count in sorted((people + mentioned.of_axes(mentioned.others)).items()):
        yield _rate(mentioned, f"{_spaced(axis)}, of people", people[axis])
        yield _rate(mentioned, f"{_spaced(axis)}, in any sense", count)
    for term, count in sorted(mentioned.people.items()):
        if count >= LEAST:
            yield _rate(mentioned, f"{_spaced(term.axis)}: {term.name}", count)


def _rate(mentioned: _SetMentions, name: str, count: int) -> Measure:
    low, high = wilson(min(count, mentioned.words), mentioned.words)
    rate = PER * count / max(1, mentioned.words)
    return _measure(mentioned.one.name, name, rate, (PER * low, PER * high))


def _measure(
    set_: str, name: str, value: float, interval: tuple[float, float], unit: str = "per 1,000 words"
) -> Measure:
    return Measure(check=NAME, set=set_, name=name, value=value, unit=unit, interval=interval)


def _spaced(axis: str) -> str:
    return axis.replace("_", " ")


def _pairs(mentioned: _SetMentions) -> Iterator[Measure]:
    for name, first, second in PAIRS:
        a, b = _count(mentioned.people, first), _count(mentioned.people, second)
        if a + b >= 2 * LEAST:
            value, low, high = ratio(a, b)
            yield _measure(mentioned.one.name, name, value, (low, high), "ratio")


def _count(terms: Counter[Term], group: frozenset[str]) -> int:
    return sum(count for term, count in terms.items() if term.name in group or term.bucket in group)


def _gender(mentioned: _SetMentions, most: float) -> Finding | None:
    """What a set is said to hold where one gender is mentioned several times as often as the other."""
    women, men = mentioned.people[WOMEN], mentioned.people[MEN]
    (fewer, few), (other, many) = sorted([("women", women), ("men", men)], key=lambda pair: pair[1])
    value, low, high = ratio(many, few)
    if low <= most:
        return None
    return Finding(
        check=NAME,
        severity="low",
        sets=(mentioned.one.name,),
        subject=other,
        message=f"{other} are mentioned {value:.1f} times as often as {fewer} ({many:,} to {few:,} mentions).",
        remedy=f"Add rows that mention {fewer}, or copies with the terms swapped; or accept it if the task is so.",
        rows=mentioned.gendered,
        of=mentioned.rows,
        value=value,
        interval=(low, high),
        threshold=most,
        examples=tuple(mentioned.examples[MEN if other == "men" else WOMEN]),
    )


def _together(skewed: Sequence[tuple[_SetMentions, Finding]], most: float) -> Iterator[Finding]:
    """The same skew in several sets, which training on all of them adds up."""
    for other, fewer in (("men", "women"), ("women", "men")):
        found = [(mentioned, finding) for mentioned, finding in skewed if finding.subject == other]
        if len(found) < 2:
            continue
        counts = Counter[Term]()
        for mentioned, _ in found:
            counts += mentioned.people
        many, few = (counts[MEN], counts[WOMEN]) if other == "men" else (counts[WOMEN], counts[MEN])
        value, low, high = ratio(many, few)
        yield Finding(
            check=NAME,
            severity="medium",
            sets=tuple(sorted(mentioned.one.name for mentioned, _ in found)),
            subject=other,
            message=f"{len(found)} sets mention {other} more often than {fewer}, together {value:.1f} times as often.",
            remedy=f"Draw a set that mentions {fewer} more often, or add copies of rows with the terms swapped.",
            rows=sum(finding.rows for _, finding in found),
            of=sum(finding.of for _, finding in found),
            value=value,
            interval=(low, high),
            threshold=most,
            examples=tuple(finding.examples[0] for _, finding in found[:SHOWN] if finding.examples),
        )


def _mixture_rates(every: Sequence[_SetMentions], shares: Mapping[str, float], moment: str) -> Iterator[Measure]:
    """Mentions of people per 1,000 words as the sets are drawn: Σ share · mentions per row / Σ share · words per row.

    The interval takes the mentions of each set as Poisson counts.
    """
    drawn = [(mentioned, shares.get(mentioned.one.name, 0.0) / mentioned.rows) for mentioned in every]
    words = sum(weight * mentioned.words for mentioned, weight in drawn)
    if not words:
        return
    axes = [mentioned.of_axes(mentioned.people) for mentioned in every]
    for axis in sorted(set[str]().union(*axes)):
        counts = [(found[axis], weight) for found, (_, weight) in zip(axes, drawn, strict=True)]
        yield _mixed(f"{_spaced(axis)}, of people, {moment}", counts, words)
    for term in (WOMEN, MEN):
        counts = [(mentioned.people[term], weight) for mentioned, weight in drawn]
        yield _mixed(f"gender: {term.name}, {moment}", counts, words)


def _mixed(name: str, counts: Sequence[tuple[int, float]], words: float) -> Measure:
    rate = PER * sum(count * weight for count, weight in counts) / words
    half = Z95 * PER * math.sqrt(sum(count * weight**2 for count, weight in counts)) / words
    return _measure("mixture", name, rate, (max(0.0, rate - half), rate + half))


CHECKS: tuple[Check, ...] = (
    Check(
        name=NAME,
        title="who is mentioned, and how often",
        find=_find,
        thresholds={"ratio": Threshold(3.0, "above three, less than a quarter of the mentions are of one of the two")},
    ),
)
