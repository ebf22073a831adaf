"""The table of `gate`: a new run or model against an old one, and what it comes to in words."""

from multitune.core.results.gate import Gate, GateVerdict
from multitune.reporting.blocks import Cell, Table, Tone, header, number
from multitune.reporting.formatting import chance, count, listed, score, span

GATE_TONES: dict[GateVerdict, Tone] = {"passes": "helped", "worse": "hurt", "cannot tell": "unsure"}


def gate_table(found: Gate) -> Table:
    """A row per task."""
    rows = [
        [
            Cell(one.task),
            Cell(one.metric, tone="quiet"),
            Cell(" → ".join(dict.fromkeys((one.old.adapter, one.new.adapter)))),
            number(one.examples, count),
            number(one.seeds, count),
            number(one.old.score),
            number(one.new.score),
            Cell(span(one), value=one.difference),
            number(one.margin),
            number(one.p_holm, chance),
            Cell(one.verdict, tone=GATE_TONES[one.verdict]),
        ]
        for one in found.tasks
    ]
    numbers = ["n", "seeds", "old", "new", "difference", "margin", "p"]
    return Table(
        "gate", f"{found.new} against {found.old}", header("task", "metric", "adapter", numbers, "verdict"), rows
    )


def gate_sentence(found: Gate) -> str:
    """The verdict over all tasks."""
    worse, undecided = found.with_verdict("worse"), found.with_verdict("cannot tell")
    seeds = {one.seeds for one in found.tasks}
    basis = "in these runs" if seeds == {1} else f"over {' or '.join(map(str, sorted(seeds)))} seeds of training"
    if worse:
        rest = f"; cannot tell: {listed(undecided)}" if undecided else ""
        return f"worse: a loss beyond the margin on {listed(worse)}, {basis}{rest}"
    if undecided:
        loss = "a loss beyond the margin is neither shown nor ruled out"
        return f"cannot tell: {loss} on {listed(undecided)}, {basis}"
    return f"passes: a loss as large as the margin is ruled out on every task, {basis}"


def gate_notes(found: Gate) -> list[str]:
    """How the table is to be read, and which tasks are not in it."""
    several = max(one.seeds for one in found.tasks) > 1
    source = "rows and seeds of training" if several else f"{found.resamples} resamples of the rows"
    notes = [
        f"difference: new − old on the same {found.split} rows, {found.confidence:.0%} interval from {source}; "
        "passes: all of it lies above −margin; worse: all of it lies below, and p of a difference of −margin, "
        f"adjusted by Holm, is below {score(1.0 - found.confidence, 2)}"
    ]
    if found.missing:
        notes.append(f"not in the new run: {listed(found.missing)}")
    if found.added:
        notes.append(f"only in the new run: {listed(found.added)}")
    return notes
