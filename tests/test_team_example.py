"""The team example: its files keep what their README says, and its run file compares three tasks over three seeds."""

import json
import re
from pathlib import Path

import pytest

from multitune.config.load import load_config
from multitune.core.records import SPLITS
from multitune.data.taskdata import prepare_task

TEAM = Path(__file__).parent.parent / "examples" / "team"
TASKS = ("cards", "transfers", "analysis")


def rows(task: str, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (TEAM / "data" / task / f"{split}.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_no_text_stands_in_two_splits(task: str) -> None:
    train, validation, test = ({" ".join(row["text"].casefold().split()) for row in rows(task, s)} for s in SPLITS)
    assert train.isdisjoint(validation | test) and validation.isdisjoint(test)


@pytest.mark.parametrize("task", TASKS)
def test_the_readme_tells_how_many_rows_there_are(task: str) -> None:
    readme = (TEAM / "data" / "README.md").read_text("utf-8")
    line = next(line for line in readme.splitlines() if line.startswith(f"| `{task}`"))
    assert [int(cell) for cell in re.findall(r"\| (\d+)(?= )", line)] == [len(rows(task, split)) for split in SPLITS]


def test_every_task_loads_with_the_same_answers_in_every_split() -> None:
    config = load_config(TEAM / "team.yaml")
    assert tuple(task.name for task in config.tasks) == TASKS and config.seeds >= 3
    for task in config.tasks:
        data = prepare_task(task, config.seed)
        answers = [{example.answer for example in data.examples[split]} for split in SPLITS]
        assert answers[1] <= answers[0] and answers[2] <= answers[0]
