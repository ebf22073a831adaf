"""What a run cost, and how it was made: sizes, times, settings, versions, hashes and the commands to repeat it."""

import json
from typing import Any

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
    guarded,
    header,
)
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import count, lasting, listed, percent, size
from multitune.reporting.training_curves import curves, notes, spent
from multitune.reporting.verdict import budget, still_falling

DIGITS = 12  # of a hash that a page shows; the sheet has all


def cost_section(facts: RunFacts, id: str) -> Section | None:
    """Parameters, storage, tokens and time."""
    blocks: list[Block] = []
    cost = facts.table.get("cost") or {}
    if cost:
        bars = [
            ("one backbone with its adapters", float(cost["together"]), count(cost["together"])),
            ("a whole model per task", float(cost["separate"]), count(cost["separate"])),
        ]
        label = f"Parameters: {count(cost['together'])} together, {count(cost['separate'])} in a model per task."
        sheet = Sheet("parameters", ["what", "parameters"], [[name, value] for name, value, _ in bars])
        blocks.append(Charts([Chart("Parameters to serve", charts.sizes(bars, id), label, sheet)]))
    facts_list = [*_storage(facts), *_training(facts)]
    if facts_list:
        blocks.append(Facts(facts_list))
    lead = ""
    if cost:
        lead = f"Shipping takes {percent(cost['ratio'])} of the parameters of a whole model per task."
    return Section(f"{id}-cost", "What it costs", lead, blocks) if blocks else None


def _storage(facts: RunFacts) -> list[tuple[str, str]]:
    folder = facts.folder.path / "adapters"
    weights = {
        path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for path in sorted(folder.glob("[!.]*"))
        if path.is_dir()
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
        ("Training time", f"{lasting(sums.seconds)} in {count(sums.steps)} steps, validation and evaluation left out"),
        (
            "Tokens",
            f"{count(sums.tokens)} computed for rows of {count(sums.logical_tokens)}{saved}, "
            f"{count(sums.answer_tokens)} of them answers",
        ),
    ]
    steps = [f"{name} {count(n)} ({count(sums.adapter_rows[name])} rows)" for name, n in sums.adapter_steps.items()]
    return [*found, ("Steps of each adapter", listed(steps, 12))]


def making_section(facts: RunFacts, id: str) -> Section | None:
    """Settings, versions, data and commands; and what the run said of itself."""
    path = facts.folder.path
    packages = facts.versions.get("packages") or {}
    machine = facts.versions.get("machine") or {}
    items = [("Base", str(facts.config.get("base", "")))] if facts.config else []
    if packages:
        named = [f"{name} {version}" for name, version in packages.items() if version]
        items.append(("Made with", f"{', '.join(named)}, Python {facts.versions.get('python', '')}"))
    if machine:
        items.append(("Machine", f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('system')}"))
    blocks: list[Block] = [Facts(items)] if items else []
    said = [
        *(guarded("what to beware of", lambda: _cautions(facts), facts.missing) or []),
        *(guarded("the run's notes", lambda: notes(facts.events), facts.missing) or []),
        *(guarded("rows left out", lambda: _left_out(facts), facts.missing) or []),
    ]
    if said:
        blocks.append(Lines("Worth knowing", said))
    if facts.data and (table := guarded("the data's hashes", lambda: _data(facts, id), facts.missing)):
        blocks.append(table)
    blocks.append(Text(_commands(facts), title="Commands to repeat it", kind="code"))
    if facts.folder.config.is_file() and facts.config:
        blocks.append(Text(facts.folder.config.read_text("utf-8"), title="The run file as resolved", kind="code"))
    lead = f"Everything on this page was read from {path}; nothing was computed again from weights."
    return Section(f"{id}-made", "How it was made", lead, blocks)


def _cautions(facts: RunFacts) -> list[str]:
    return [*budget(facts, spent(facts.events)), *still_falling(facts, curves(facts.events, facts.selection))]


def _left_out(facts: RunFacts) -> list[str]:
    """Rows too long for the run, by set."""
    return [
        f"{name}: {sum(len(rows) for rows in row['too_long'].values())} rows were too long and left out"
        for name, row in facts.data.items()
        if any(row["too_long"].values())
    ]


def _data(facts: RunFacts, id: str) -> Table:
    rows: list[list[Cell]] = []
    for name, row in facts.data.items():
        counts = [row["rows"][split] for split in ("train", "validation", "test")]
        digests: dict[str, Any] = row["digests"]
        short = ", ".join(f"{split} {digest[:DIGITS]}" for split, digest in digests.items())
        cells = [Cell(name), Cell("general" if row["general"] else "task"), *(Cell(count(n), value=n) for n in counts)]
        rows.append([*cells, Cell(short, value=json.dumps(digests), tone="quiet")])
    columns = [
        *header("set", "kind"),
        *header(numbers=["train", "validation", "test"]),
        *header("SHA-256 of the rows"),
    ]
    return Table(f"{id}-data", "Rows, and hashes of their content", columns, rows)


def _commands(facts: RunFacts) -> str:
    path = facts.folder.path
    ships = [row["adapter"] for row in (facts.table.get("tasks") or {}).values() if row.get("path")]
    adapter = next(iter(ships), facts.main or "shared")
    return "\n".join(
        [
            f"multitune train {path}/config.yaml --overwrite     # the same run again",
            f"multitune eval {path}                              # its scores again, from its weights",
            f"multitune select {path}                            # what ships, and the router",
            f"multitune export {path} --adapter {adapter} --to out/    # a folder that PEFT and vLLM load",
            f"multitune report {path}                            # this page",
        ]
    )
