"""Sentences that several reports share: what stands beside the verdicts, and where rows are too few to ship on."""

from typing import Any

import pytest

from multitune.core.files import read_json, write_json
from multitune.core.results.routing import RoutingTable
from multitune.core.run_folder import RunFolder
from multitune.reporting.run_scores import read_run_scores as read_scores
from multitune.reporting.sentences import evidence_lines, few_rows_line


def undecided(run: RunFolder, detectable: float, settle: dict[str, Any] | None = None, seeds: int = 3) -> str:
    """What is said of a task that shows differences from so large on, in a run that trained for 20 minutes."""
    scores = read_json(run.scores)
    table = scores["transfer"]["shared"]
    table["summary"] |= {"detectable": {"reports": detectable}, "settle": {"reports": settle} if settle else {}}
    for row in table["tasks"]:
        row["seeds"] = seeds
    write_json(run.scores, {**scores, "training_seconds": 1200.0})
    found = evidence_lines(read_scores(run), "shared")
    (line,) = [one for one in found if one.startswith("undecided")]
    return line


def test_two_sides_that_score_alike_on_every_row_are_no_sharp_test(run: RunFolder) -> None:
    assert undecided(run, 0.0) == "undecided: reports, every row scores the same on both sides"
    assert undecided(run, 0.02).startswith("undecided: reports, this test shows differences from 0.020 on")


@pytest.mark.parametrize(
    ("settle", "said"),
    [
        ({"rows": 400, "seeds": None}, "one like this needs 400 rows"),
        ({"rows": None, "seeds": 6}, "one like this needs 6 seeds (20 min more of training)"),
        ({"rows": 1400, "seeds": 4}, "one like this needs 1,400 rows or 4 seeds (7 min more of training)"),
        ({"rows": None, "seeds": None, "both": [240, 9]}, "needs 240 rows and 9 seeds (40 min more of training)"),
        ({"rows": None, "seeds": None}, "one like this is too small for a larger test"),
    ],
)
def test_what_would_decide_stands_with_the_training_that_it_takes_here(
    settle: dict[str, Any], said: str, run: RunFolder
) -> None:
    assert undecided(run, 0.02, settle).endswith(said)


def test_tasks_with_few_validation_rows_are_named_with_their_number(run: RunFolder) -> None:
    table = RoutingTable.read(run.routing_versions[-1] / "table.json")
    assert few_rows_line(table) == "too few validation rows to ship on: entities (30)"
    enough = {task: row.model_copy(update={"examples": 50}) for task, row in table.tasks.items()}
    assert few_rows_line(table.model_copy(update={"tasks": enough})) == ""
