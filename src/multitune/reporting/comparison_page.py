"""A run against other models, such as one behind an API: who is better task by task, and what asking it cost."""

from typing import Any

from multitune.reporting import charts
from multitune.reporting.blocks import Block, Cell, Chart, Charts, Facts, Section, Sheet, Table, Tone, header, measured
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import chance, count, interval, listed, score, signed

TONES: dict[Any, Tone] = {"better": "helped", "worse": "hurt", "cannot tell": "unsure"}
VERDICTS = {"better": "helped", "worse": "hurt"}  # as a forest plot colours them
READINGS = {
    "strict": "read as the task reads: an answer in another form is wrong",
    "lenient": "read by what is meant, whatever its form",
}


def rivals_section(facts: RunFacts, id: str) -> Section | None:
    """Every comparison of comparisons/, in both readings."""
    blocks: list[Block] = []
    for number, found in enumerate(facts.comparisons, start=1):
        for reading, table in found["readings"].items():
            blocks.append(_table(found, reading, f"{id}-rival{number}-{reading}"))
            blocks.append(Charts([_chart(found, reading, table["tasks"], f"{id} {number}")]))
        if spent := _spent(found):
            blocks.append(Facts(spent))
    lead = (
        "The same rows, answered by another model. Difference: ours − theirs; p adjusted for the number of tasks "
        "(Holm). Ours is what each task ships with, unless another adapter was asked for."
    )
    return Section(f"{id}-rivals", "Against other models", lead, blocks) if blocks else None


def _table(found: dict[str, Any], reading: str, name: str) -> Table:
    table = found["readings"][reading]
    rows: list[list[Cell]] = []
    for row in table["tasks"]:
        unread = (table.get("unread") or {}).get(row["task"]) or {}
        cells = [Cell(row["task"]), Cell(row["adapter"]), Cell(row["metric"], tone="quiet")]
        cells += [measured(row["examples"], count(row["examples"]))]
        cells += [measured(row.get(key), score(row.get(key))) for key in ("base", "theirs", "ours")]
        cells += [measured(row["difference"], signed(row["difference"])), Cell(interval(row), tone="quiet")]
        cells += [measured(row["p_holm"], chance(row["p_holm"]))]
        cells += [measured(unread.get("theirs"), count(unread.get("theirs")))]
        rows.append([*cells, Cell(row["verdict"], tone=TONES.get(row["verdict"], ""))])
    numbers = ["rows", "base", found["subject"], "ours", "difference", "interval", "p", "theirs unread"]
    columns = [*header("task", "ours", "metric"), *header(numbers=numbers), *header("ours is")]
    caption = f"Ours against {found['against']}, {READINGS.get(reading, reading)}"
    return Table(name, caption, columns, rows)


def _chart(found: dict[str, Any], reading: str, rows: list[dict[str, Any]], key: str) -> Chart:
    """The differences of one reading as a forest plot."""
    verdicts = [VERDICTS.get(row["verdict"], "cannot tell") for row in rows]
    lines = [
        charts.Line(row["task"], row["difference"], row["low"], row["high"], verdict)
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    name, axis = found["subject"], f"difference in score, ours − {found['subject']}"
    wide, narrow = (charts.forest(lines, axis, f"{key} {reading}", wide=wide) for wide in (True, False))
    columns = ["task", "difference", "low", "high", "ours"]
    sheet = Sheet(f"against-{name}-{reading}", columns, charts.rows_of(lines))
    label = charts.seen(lines, f"Ours against {name}, {reading}")
    return Chart(f"Against {name}, {reading}", wide, label, sheet, narrow)


def _spent(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What a model behind an API used; nothing of a local one."""
    if found.get("prompt_tokens") is None:
        return []
    tokens = f"{count(found['prompt_tokens'])} in prompts, {count(found.get('answer_tokens'))} in answers"
    said = [("Tokens", tokens)]
    if found.get("cost") is not None:
        said.append(("Cost", f"{found['cost']:.4f} at the prices given"))
    if cut := {task: n for task, n in (found.get("cut_short") or {}).items() if n}:
        said.append(("Answers cut short", listed([f"{task} {count(n)}" for task, n in cut.items()], 12)))
    return said
