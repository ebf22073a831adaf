"""Tables of comparisons: a run against another model, and runs against each other."""

from collections.abc import Sequence
from pathlib import Path

from multitune.core.results.comparison import Better, ModelComparison, Parsing, RunComparison
from multitune.core.results.scores import GAINED, LOST, Verdict
from multitune.reporting.blocks import TONES, Cell, Table, header, number
from multitune.reporting.formatting import chance, count, score_interval, span

VERDICTS: dict[Better, Verdict] = {"better": "helped", "worse": "hurt", "cannot tell": "cannot tell"}  # for colours
BETTER: dict[Verdict, Better] = {
    **dict.fromkeys(GAINED, "better"),
    **dict.fromkeys(LOST, "worse"),
    "cannot tell": "cannot tell",
}
PARSING: dict[Parsing, str] = {
    "strict": "outputs parsed as the task does: an answer in another form is wrong",
    "lenient": "outputs parsed for what they mean, whatever their form, of all models alike",
}


def model_table(found: ModelComparison, parsing: Parsing, *, id: str = "") -> Table:
    """Ours against another model on every task, under one way to parse."""
    part = found.parsing[parsing]
    rows: list[list[Cell]] = []
    for row in part.tasks:
        cells = [Cell(row.task), Cell(row.metric, tone="quiet"), Cell(row.adapter), number(row.examples, count)]
        cells += [number(value) for value in (row.base, row.theirs, row.ours)]
        cells += [Cell(span(row), value=row.difference), number(row.p_holm, chance)]
        unparsed = part.unparsed.get(row.task)
        cells.append(Cell(f"{unparsed.ours}/{unparsed.theirs}" if unparsed else ""))
        rows.append([*cells, Cell(row.verdict, tone=TONES[VERDICTS[row.verdict]])])
    numbers = ["n", "base", "theirs", "ours", "difference", "p", "unparsed"]
    columns = header("task", "metric", "our adapter", numbers, "ours is")
    return Table(f"{id}{parsing}", f"Ours against {found.against}, {PARSING[parsing]}", columns, rows)


def model_note(found: ModelComparison) -> str:
    """How the tables of a comparison are to be read."""
    return (
        f"difference: ours − theirs ({found.against}); {found.confidence:.0%} interval from {found.resamples} "
        f"resamples of the {found.split} rows; p adjusted by Holm; unparsed: answers that could not be parsed, ours / "
        "theirs"
    )


def runs_table(found: RunComparison) -> Table:
    """A row per task and run: the score with its interval, and the difference to the first run with its verdict."""
    names = short_names(found.runs)
    rows: list[list[Cell]] = []
    for task, compared in found.tasks.items():
        heads = [task, f"{compared.metric}, n {compared.examples:,}", *[""] * len(names)]
        for head, name, one in zip(heads, names, compared.runs, strict=False):
            cells = [Cell(head), Cell(name), Cell(one.adapter)]
            cells.append(Cell(score_interval(one.score, one.low, one.high), value=one.score))
            if one.difference and one.verdict:
                cells += [Cell(span(one.difference), value=one.difference.difference), number(one.p_holm, chance)]
                cells.append(Cell(BETTER[one.verdict], tone=TONES[one.verdict]))
            else:
                cells += [Cell(""), Cell(""), Cell("")]
            rows.append(cells)
    columns = header("task", "run", "adapter", ["score", "difference", "p"], "verdict")
    return Table("runs", "Runs on the same rows", columns, rows)


def runs_note(found: RunComparison) -> str:
    """How the table of runs is to be read."""
    return (
        f"difference: to the first run, paired on the same rows; {found.confidence:.0%} intervals from "
        f"{found.resamples} resamples; a verdict also needs p, adjusted by Holm over the tasks"
    )


def short_names(paths: Sequence[str]) -> list[str]:
    """The folders' names; where two are alike, the paths."""
    names = [Path(path).resolve().name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)
