"""The answers of a run's subjects, example by example: who won and lost how often, and the most telling ones."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multitune.core.files import json_lines
from multitune.core.results.scores import TransferRow
from multitune.core.run_folder import RunFolder
from multitune.reporting.blocks import Answer, Shown, Tone
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import cut

OUTCOMES = ("won", "lost", "both right", "neither right")
QUOTA = {"won": 8, "lost": 8, "both right": 2, "neither right": 4}  # examples of a task on a page
MOST_EXAMPLES = 240  # on a page, of all tasks
PROMPT, OUTPUT = 700, 400  # characters shown at most
HALF = 0.5  # from here on an answer counts as right


@dataclass(slots=True)
class ExampleComparison:
    """The main adapter against the one that learned a task alone (or the base), over all rows of the task."""

    task: str
    together: str
    reference: str
    counts: Counter[str] = field(default_factory=Counter[str])  # outcome -> examples, over all of them
    telling: list[Shown] = field(default_factory=list[Shown])
    damaged: int = 0


def outcome(reference: float, together: float) -> str:
    """Of one example, by its scores: won and lost are the adapter trained together."""
    if together != reference:
        return "won" if together > reference else "lost"
    return "both right" if together > HALF else "neither right"


def compare_examples(facts: RunFacts, adapter: str, row: TransferRow, tasks: int) -> ExampleComparison | None:
    """Compare the predictions for one row of the transfer table; None, and a note, where a file is missing.

    Args:
        facts: of the run.
        adapter: whose row it is.
        row: of its transfer table: the task, and the reference.
        tasks: that share the room on the page.
    """
    task, together, reference = row.task, adapter, row.reference
    found = ExampleComparison(task, together, reference)
    answers = {name: _predictions(facts, name, task, found) for name in (together, reference)}
    empty = [name for name, by_id in answers.items() if not by_id]
    if empty:
        for name in empty:
            facts.missing.append(f"predictions/{name}/{task}.{facts.split}.jsonl is missing or empty")
        return None
    ids = [id for id in answers[together] if id in answers[reference]]
    outcomes = {id: outcome(answers[reference][id]["score"], answers[together][id]["score"]) for id in ids}
    found.counts.update(outcomes.values())
    chosen = _telling(answers[together], answers[reference], outcomes, tasks)
    scored = facts.scores.tasks[task].scores if facts.scores else {}
    others = [name for name in scored if name not in (together, reference)]
    more = {name: _predictions(facts, name, task, found, set(chosen)) for name in others}
    prompts = _prompts(facts, task, set(chosen))
    for id in chosen:
        by = {name: by_id[id] for name, by_id in (*answers.items(), *more.items()) if id in by_id}
        found.telling.append(_shown(task, id, outcomes[id], prompts.get(id, ""), by))
    if found.damaged:
        facts.missing.append(f"predictions for {task}: {found.damaged} damaged lines were passed over")
    return found


def _predictions(
    facts: RunFacts, subject: str, task: str, found: ExampleComparison, only: set[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Id -> prediction of one subject, of all rows or some."""
    path = home_of(facts, task).predictions(subject, task, facts.split)
    by_id: dict[str, dict[str, Any]] = {}
    for row in json_lines(path):
        if row is None or not isinstance(row.get("score"), int | float) or "id" not in row:
            found.damaged += 1
        elif only is None or row["id"] in only:
            by_id[str(row["id"])] = dict(row)
    return by_id


def home_of(facts: RunFacts, task: str) -> RunFolder:
    """Where a task was scored: the run itself, or the folder of a task that joined later."""
    joined = facts.folder.added(task)
    return joined if joined.scores.is_file() else facts.folder


def _prompts(facts: RunFacts, task: str, only: set[str]) -> dict[str, str]:
    rows = (row for row in json_lines(home_of(facts, task).prompts(task, facts.split)) if row)
    return {str(row.get("id")): str(row.get("prompt", "")) for row in rows if row.get("id") in only}


def _telling(
    together: Mapping[str, Mapping[str, Any]],
    reference: Mapping[str, Mapping[str, Any]],
    outcomes: Mapping[str, str],
    tasks: int,
) -> list[str]:
    """Ids with the largest change of score, then of the right answer's loss, a few of each outcome."""

    def change(id: str) -> tuple[float, float]:
        score = float(together[id]["score"]) - float(reference[id]["score"])
        losses = [rows[id].get("loss") for rows in (reference, together)]
        drop = float(losses[0]) - float(losses[1]) if None not in losses else 0.0  # type: ignore[arg-type]
        return -abs(score), -abs(drop)

    room = min(1.0, MOST_EXAMPLES / (max(tasks, 1) * sum(QUOTA.values())))
    chosen: list[str] = []
    for name in OUTCOMES:
        of_it = sorted((id for id, what in outcomes.items() if what == name), key=change)
        chosen += of_it[: max(1, int(QUOTA[name] * room))]
    return chosen


def _shown(task: str, id: str, what: str, prompt: str, by: Mapping[str, Mapping[str, Any]]) -> Shown:
    gold = next(iter(by.values())).get("gold")
    answers = [
        Answer(name, cut(str(row.get("output", "")), OUTPUT), *_marked(float(row["score"])))
        for name, row in by.items()
    ]
    return Shown(task, id, what, cut(prompt, PROMPT), cut(_plain(gold), OUTPUT), answers)


def _marked(value: float) -> tuple[str, Tone]:
    """One example's score in words; partly right answers keep their number."""
    if value in (0.0, 1.0):
        return ("✓ right", "helped") if value else ("✗ not right", "hurt")
    return f"score {value:.2f}", "unsure"


def _plain(gold: Any) -> str:
    """A right answer as text: spans one per line."""
    if isinstance(gold, list):
        spans: Sequence[Any] = gold
        return "\n".join(", ".join(map(str, s)) if isinstance(s, list) else str(s) for s in spans) or "none"
    return gold if isinstance(gold, str) else json.dumps(gold, ensure_ascii=False)
