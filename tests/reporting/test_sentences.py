"""Sentences that several reports share: what stands beside the verdicts, and where rows are too few to ship on."""

from multitune.core.files import read_json, write_json
from multitune.core.results.routing import RoutingTable
from multitune.core.run_folder import RunFolder
from multitune.reporting.facts import read_run
from multitune.reporting.sentences import evidence_lines, few_rows_line


def undecided(run: RunFolder, detectable: float) -> str:
    """What is said of a task that shows differences from so large on."""
    scores = read_json(run.scores)
    scores["transfer"]["shared"]["summary"]["detectable"] = {"reports": detectable}
    write_json(run.scores, scores)
    (line,) = [
        one for one in evidence_lines(read_run(run.path).transfer["shared"], 0.95) if one.startswith("undecided")
    ]
    return line


def test_two_sides_that_score_alike_on_every_row_are_no_sharp_test(run: RunFolder) -> None:
    assert undecided(run, 0.0) == "undecided: reports, every row scores the same on both sides"
    assert undecided(run, 0.02).startswith("undecided: reports, this test shows differences from 0.020 on")


def test_tasks_with_few_validation_rows_are_named_with_their_number(run: RunFolder) -> None:
    table = RoutingTable.read(run.routing_versions[-1] / "table.json")
    assert few_rows_line(table) == "too few validation rows to ship on: entities (30)"
    enough = {task: row.model_copy(update={"examples": 50}) for task, row in table.tasks.items()}
    assert few_rows_line(table.model_copy(update={"tasks": enough})) == ""
