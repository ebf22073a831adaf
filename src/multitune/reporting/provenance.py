"""What a run cost, and how it was made: sizes, times, settings, versions, hashes and the commands to repeat it."""

import json

from multitune.config.load import dump_config
from multitune.core.records import SPLITS
from multitune.core.results.run import DataRecord
from multitune.core.text import without_passwords
from multitune.reporting import charts
from multitune.reporting.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Facts,
    Lines,
    Section,
    Sheet,
    Table,
    Text,
    header,
    number,
)
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import count, duration, listed, percent, size
from multitune.reporting.training_curves import curves, notes, spent
from multitune.reporting.verdict import budget, still_falling

DIGITS = 12  # of a hash that a page shows; the sheet has all


def cost_section(facts: RunFacts, id: str) -> Section | None:
    """Parameters, storage, tokens and time."""
    blocks: list[Block] = []
    cost = facts.routing.table.cost if facts.routing else None
    if cost:
        bars = [
            ("one backbone with its adapters", float(cost.together), count(cost.together)),
            ("a whole model per task", float(cost.separate), count(cost.separate)),
        ]
        label = f"Parameters: {count(cost.together)} together, {count(cost.separate)} in a model per task."
        sheet = Sheet("parameters", ["what", "parameters"], [[name, value] for name, value, _ in bars])
        blocks.append(Charts([Chart("Parameters to serve", charts.sizes(bars, id), label, sheet)]))
    spendings = [*_storage(facts), *_training(facts)]
    if spendings:
        blocks.append(Facts(spendings))
    lead = ""
    if cost:
        lead = f"Shipping takes {percent(cost.ratio)} of the parameters of a whole model per task."
    return Section(f"{id}-cost", "What it costs", lead, blocks) if blocks else None


def _storage(facts: RunFacts) -> list[tuple[str, str]]:
    weights = {
        name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for name, path in facts.folder.adapters.items()
    }
    if not weights:
        return []
    each = listed([f"{name} {size(n)}" for name, n in weights.items()], 8)
    return [("Storage of adapters", f"{size(sum(weights.values()))}: {each}")]


def _training(facts: RunFacts) -> list[tuple[str, str]]:
    sums = spent(facts.events)
    if not sums.steps:
        return []
    shared = 1 - sums.tokens / sums.logical_tokens if sums.logical_tokens else 0.0
    saved = f" (shared prefixes saved {percent(shared)})" if shared > 0 else ""
    found = [
        (
            "Training time",
            f"{duration(sums.seconds)} in {count(sums.steps)} steps, validation and evaluation left out",
        ),
        (
            "Tokens",
            f"{count(sums.tokens)} computed for rows of {count(sums.logical_tokens)}{saved}, "
            f"{count(sums.answer_tokens)} of them answers",
        ),
    ]
    steps = [f"{name} {count(n)} ({count(sums.adapter_rows[name])} rows)" for name, n in sums.adapter_steps.items()]
    return [*found, ("Steps of each adapter", listed(steps, 12))]


def provenance_section(facts: RunFacts, id: str) -> Section:
    """Settings, versions, data and commands; and what the run noted on its way."""
    items = [("Base", facts.config.base)] if facts.config else []
    if facts.versions:
        machine = facts.versions.machine
        items.append(("Made with", facts.versions.line))
        items.append(("Machine", f"{machine.processor}, {machine.cores} cores, {machine.system}"))
    blocks: list[Block] = [Facts(items)] if items else []
    noted = [
        *budget(facts, spent(facts.events)),
        *still_falling(facts, curves(facts.events, facts.selection)),
        *notes(facts.events),
        *_left_out(facts),
    ]
    if noted:
        blocks.append(Lines("Worth knowing", noted))
    if facts.data:
        blocks.append(_data(facts.data, id))
    blocks.append(Text(_commands(facts), title="Commands to repeat it", kind="code"))
    if facts.config:
        settings = without_passwords(dump_config(facts.config))
        blocks.append(Text(settings, title="The run file as resolved", kind="code"))
    lead = f"Everything on this page was read from {facts.folder.path}; nothing was computed again from weights."
    return Section(f"{id}-made", "How it was made", lead, blocks)


def _left_out(facts: RunFacts) -> list[str]:
    """Rows that the run did not use, by set."""
    sets = facts.data.sets if facts.data else {}
    long = {name: sum(len(rows) for rows in row.too_long.values()) for name, row in sets.items()}
    found = [f"{name}: {rows} rows were too long and left out" for name, rows in long.items() if rows]
    return found + [
        f"{name}: {row.held_elsewhere} training rows were left out, as another set holds them out"
        for name, row in sets.items()
        if row.held_elsewhere
    ]


def _data(data: DataRecord, id: str) -> Table:
    rows: list[list[Cell]] = []
    for name, row in data.sets.items():
        short = ", ".join(f"{split} {digest[:DIGITS]}" for split, digest in row.digests.items())
        cells = [Cell(name), Cell("general" if row.general else "task")]
        cells += [number(row.rows.get(split), count) for split in SPLITS]
        rows.append([*cells, Cell(short, value=json.dumps(row.digests), tone="quiet")])
    columns = header("set", "kind", SPLITS, "SHA-256 of the rows")
    return Table(f"{id}-data", "Rows, and hashes of their content", columns, rows)


def _commands(facts: RunFacts) -> str:
    path = facts.folder.path
    choices = facts.routing.table.tasks.values() if facts.routing else ()
    adapter = next((choice.adapter for choice in choices if choice.path), facts.main or "shared")
    return "\n".join(
        [
            f"multitune train {facts.folder.config} --overwrite     # the same run again",
            f"multitune eval {path}                              # its scores again, from its weights",
            f"multitune select {path}                            # what ships, and the router",
            f"multitune export {path} --adapter {adapter} --to out/    # a folder that PEFT and vLLM load",
            f"multitune report {path}                            # this page",
        ]
    )
