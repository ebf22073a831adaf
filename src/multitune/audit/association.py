"""Groups of people that stand with some labels, scores or tones more often than others do, in one set or several."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.lexicon import Term
from multitune.audit.mentions import RowMentions, row_mentions, shown
from multitune.audit.outcomes import Outcomes, outcomes
from multitune.audit.statistics import Crossing, combined_p, log_odds, p_values, wilson
from multitune.core.errors import MissingExtraError
from multitune.core.multiplicity import holm
from multitune.core.results.audit import Excerpt, Finding, Severity, SkippedCheck

NAME = "association"
ALPHA = 0.05  # chance that any finding of a set is one by chance
SHOWN = 3  # rows of a finding
CONTROLS = 2000  # rows without a mention that are looked at where a look is costly


@dataclass(slots=True)
class _Counts:
    """The training rows of one set, by term and by class of their answer."""

    one: AuditSet
    rows: int = 0
    terms: Counter[Term] = field(default_factory=Counter[Term])  # rows that mention each
    classes: Counter[str] = field(default_factory=Counter[str])  # rows of each class, by its key
    both: Counter[tuple[Term, str]] = field(default_factory=Counter[tuple[Term, str]])
    names: dict[str, str] = field(default_factory=dict[str, str])  # of a class, as a message says it
    examples: dict[tuple[Term, str], list[RowMentions]] = field(
        default_factory=lambda: defaultdict[tuple[Term, str], list[RowMentions]](list)
    )


@dataclass(frozen=True, slots=True)
class _Test:
    """One term and one class of one set."""

    counts: _Counts
    term: Term
    key: str  # of the class
    p: float
    p_holm: float  # adjusted for all terms and classes of the set
    z: float

    @property
    def both(self) -> int:
        return self.counts.both[self.term, self.key]

    @property
    def share(self) -> float:
        """Of the rows that mention the term, those with the class."""
        return self.both / self.counts.terms[self.term]

    @property
    def others(self) -> float:
        """Of the rows that do not mention it, those with the class."""
        of = self.counts.rows - self.counts.terms[self.term]
        return (self.counts.classes[self.key] - self.both) / of if of else self.share

    @property
    def sign(self) -> int:
        return 1 if self.share >= self.others else -1

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of `share`, less what it is without the term."""
        low, high = wilson(self.both, self.counts.terms[self.term])
        return low - self.others, high - self.others


def _find(audited: Audited) -> Iterator[Found]:
    every: list[_Counts] = []
    for one in audited.sets:
        if one.role == "retention" or not one.rows("train"):
            continue
        try:
            classes = outcomes(one)
        except MissingExtraError as error:
            yield SkippedCheck(check=NAME, reason=f"{one.name}: {error}")
            continue
        if classes:
            every.append(_count(one, classes, audited))
    tests = [test for counts in every for test in _tests(counts, int(audited.thresholds["rows"]))]
    least = audited.thresholds["difference"]
    reported: set[tuple[str, Term, str]] = set()
    for shared in _shared(tests, least):
        reported |= {(test.counts.one.name, test.term, test.key) for test in shared}
        yield _finding(shared, least, "high")
    alone = [test for test in tests if test.p_holm < ALPHA and abs(test.share - test.others) >= least]
    for test in _once(alone):
        if (test.counts.one.name, test.term, test.key) not in reported:
            yield _finding([test], least, "medium")


def _count(one: AuditSet, classes: Outcomes, audited: Audited) -> _Counts:
    counts = _Counts(one)
    controls = 0
    answers = one.texts("train", "answer")
    for row, answer in zip(row_mentions(one, "train", answers=False), answers, strict=True):
        if classes.costly and not row.people:
            controls += 1
            if controls > CONTROLS:  # who is compared with whom does not depend on the answers
                continue
        _add(counts, row, classes, answer)
    audited.advance(len(one.rows("train")))
    return counts


def _add(counts: _Counts, row: RowMentions, classes: Outcomes, answer: str) -> None:
    outcome = classes.of(answer)
    counts.rows += 1
    counts.terms.update(row.people.keys())
    if outcome is None:
        return
    counts.classes[outcome.key] += 1
    counts.names.setdefault(outcome.key, outcome.name)
    for term in row.people:
        counts.both[term, outcome.key] += 1
        examples = counts.examples[term, outcome.key]
        if len(examples) < SHOWN:
            examples.append(row)


def _tests(counts: _Counts, least: int) -> list[_Test]:
    """A test of each term that enough rows mention with each class, all of one set adjusted for their number."""
    terms = sorted(term for term, rows in counts.terms.items() if rows >= least)
    pairs = [(term, key) for term in terms for key in sorted(counts.classes)]
    if not pairs or (len(counts.classes) == 1 and sum(counts.classes.values()) == counts.rows):
        return []
    crossing = Crossing(
        both=np.array([counts.both[pair] for pair in pairs]),
        with_term=np.array([counts.terms[term] for term, _ in pairs]),
        with_label=np.array([counts.classes[key] for _, key in pairs]),
        rows=counts.rows,
    )
    z = log_odds(crossing)
    p = dict(zip(pairs, p_values(crossing, z).tolist(), strict=True))
    adjusted = holm(p)
    return [_Test(counts, *pair, p[pair], adjusted[pair], float(z[place])) for place, pair in enumerate(pairs)]


def _shared(tests: Sequence[_Test], least: float) -> list[list[_Test]]:
    """The tests of one association that two or more sets show, and that hold together.

    Fewer of a class is not counted: a group may have few good labels in one set for its bad ones, and in another for
    those that are neither.
    """
    groups: Mapping[tuple[Term, str], list[_Test]] = defaultdict(list)
    for test in tests:
        groups[test.term, test.key].append(test)
    several = {pair: group for pair, group in groups.items() if len(group) > 1}
    adjusted = holm({pair: _together(group) for pair, group in several.items()})
    found: list[list[_Test]] = []
    for pair, group in several.items():
        same = [test for test in group if test.p < ALPHA and test.share - test.others >= least]
        if len(same) > 1 and adjusted[pair] < ALPHA:
            found.append(same)
    return found


def _once(found: Sequence[_Test]) -> list[_Test]:
    """Without that a term has less of one class of a set where it has more of another, which says the same."""
    more = {(test.counts.one.name, test.term) for test in found if test.sign > 0}
    return [test for test in found if test.sign > 0 or (test.counts.one.name, test.term) not in more]


def _together(group: Sequence[_Test]) -> float:
    p, signs = np.array([test.p for test in group]), np.array([test.sign for test in group])
    return combined_p(p, signs, np.sqrt([test.counts.terms[test.term] for test in group]))


def _finding(tests: Sequence[_Test], least: float, severity: Severity) -> Finding:
    strongest = max(tests, key=lambda test: abs(test.z))
    term, key, counts = strongest.term, strongest.key, strongest.counts
    where = "; ".join(
        f"{test.counts.one.name}: {_evidence(test)}" if len(tests) > 1 else _evidence(test) for test in tests
    )
    several = f", in {len(tests)} sets, which training on all of them adds up" if len(tests) > 1 else ""
    more = "more" if strongest.sign > 0 else "less"
    named = key if len(tests) > 1 else counts.names[key]
    return Finding(
        check=NAME,
        severity=severity,
        sets=tuple(sorted(test.counts.one.name for test in tests)),
        subject=f"{term.name}, {named}, {more}",
        message=f"Rows that mention {_group(term)} carry {named} {more} often than others{several} ({where}).",
        remedy=(
            "Read such rows; where the answer does not follow from what they say, add rows that mention "
            f"{_group(term)} with other answers, or draw the sets that have them more often."
        ),
        rows=sum(test.counts.terms[term] for test in tests),
        of=sum(test.counts.rows for test in tests),
        value=strongest.share - strongest.others,
        interval=strongest.interval,
        threshold=least,
        examples=tuple(example for test in tests for example in _examples(test))[:SHOWN],
    )


def _examples(test: _Test) -> list[Excerpt]:
    return [shown(test.counts.one, "train", row, test.term) for row in test.counts.examples[test.term, test.key]]


def _group(term: Term) -> str:
    return term.name if term.axis == "gender" else f"{term.name!r}"


def _evidence(test: _Test) -> str:
    low, high = wilson(test.both, test.counts.terms[test.term])
    return (
        f"{test.both:,} of {test.counts.terms[test.term]:,} rows, {test.share:.0%} [{low:.0%}, {high:.0%}], against "
        f"{test.others:.0%} of the others, z {test.z:+.1f}, p {test.p_holm:.2g}"
    )


CHECKS: tuple[Check, ...] = (
    Check(
        name=NAME,
        title="groups of people that stand with some answers more often than others do",
        find=_find,
        thresholds={
            "difference": Threshold(0.1, "a tenth of the rows; less is found in large sets and changes few answers"),
            "rows": Threshold(5, "below five rows that mention a group, no test can tell anything"),
        },
    ),
)
