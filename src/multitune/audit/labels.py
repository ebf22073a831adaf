"""quality.labels: one answer for nearly all rows, labels out of balance, and labels with few rows."""

from collections import Counter
from collections.abc import Iterator

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.rows import shortened
from multitune.core.results.audit import Finding, Measure
from multitune.tasks.task import LABELLED

NAME = "quality.labels"
SHOWN = 5  # labels that a message names
LEAST_ROWS = 20  # in fewer, shares say little


def _find(audited: Audited) -> Iterator[Found]:
    for one in audited.sets:
        counts = Counter(one.texts("train", "answer"))
        rows = counts.total()
        if rows >= LEAST_ROWS and one.kind != "regress":
            yield from _single(audited, one, counts)
            if one.kind in LABELLED:
                yield from _balance(audited, one, counts)
        audited.advance(sum(one.sizes().values()))


def _single(audited: Audited, one: AuditSet, counts: Counter[str]) -> Iterator[Found]:
    """The commonest answer."""
    (answer, most), least = counts.most_common(1)[0], audited.thresholds["single"]
    share = most / counts.total()
    if one.kind == "classify":
        yield Measure(check=NAME, set=one.name, name="share of the commonest label", value=share)
    if share >= least:
        yield Finding(
            check=NAME,
            severity="high",
            sets=(one.name,),
            subject="single answer",
            message=f"{most} of {counts.total()} train rows have the answer {_named(answer)}: a model that "
            f"always says it is right in {share:.0%}",
            remedy="Give more rows of the others, and judge by macro_f1 instead of accuracy.",
            rows=most,
            of=counts.total(),
            value=share,
            threshold=least,
        )


def _balance(audited: Audited, one: AuditSet, counts: Counter[str]) -> Iterator[Found]:
    """Labels that are much rarer than the commonest, and labels with few or no rows."""
    times, few = audited.thresholds["times"], audited.thresholds["rare"]
    total = counts.total()
    of_labels = Counter[str]()
    for answer, rows in counts.items():
        of_labels.update(dict.fromkeys(one.task.labels_of(answer), rows))
    counts = of_labels
    if not counts:
        return
    most = counts.most_common(1)[0]
    known = dict.fromkeys((*one.task.labels, *counts))
    rare = {label: counts[label] for label in known if counts[label] < few}
    common = [label for label in known if label not in rare]
    if rare:
        yield Finding(
            check=NAME,
            severity="medium",
            sets=(one.name,),
            subject="rare",
            message=f"{len(rare)} of {len(known)} labels have fewer than {few:g} train rows: {_shown(rare)}",
            remedy="Give more rows of them, merge them into others, or take them out.",
            rows=sum(rare.values()),
            of=total,
            value=float(min(rare.values())),
            threshold=few,
        )
    least = min(common, key=lambda label: counts[label], default=None)
    if least is not None and counts[least] and most[1] / counts[least] >= times:
        yield Finding(
            check=NAME,
            severity="low",
            sets=(one.name,),
            subject="imbalance",
            message=f"the label {_named(most[0])} has {most[1] / counts[least]:.0f} times the train rows of "
            f"{_named(least)}: {most[1]} and {counts[least]}",
            remedy="Judge by macro_f1, which counts every label alike, and give more rows of the rare ones.",
            rows=counts[least],
            of=total,
            value=most[1] / counts[least],
            threshold=times,
        )


def _shown(counts: dict[str, int]) -> str:
    first = sorted(counts, key=lambda label: counts[label])[:SHOWN]
    return ", ".join(f"{_named(label)} ({counts[label]})" for label in first) + (", …" if len(counts) > SHOWN else "")


def _named(label: str) -> str:
    return f"{shortened(label)!r:.80}"


CHECKS = (
    Check(
        name=NAME,
        title="labels out of balance",
        find=_find,
        thresholds={
            "single": Threshold(0.9, "above it, a model that reads nothing looks good"),
            "times": Threshold(10.0, "a model is rarely right about a label that it sees a tenth as often"),
            "rare": Threshold(10.0, "of fewer rows, half of them held out, no score has an interval worth reading"),
        },
    ),
)
