"""Tasks of which a run file names the data alone: checked, trained, evaluated and asked through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.config.load import load_config
from multitune.core.errors import TaskError
from multitune.core.predictions import read_predictions
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from tests.cli.conftest import write_rows

TASKS = ("chats", "colours", "picks", "texts")


def rows(task: str) -> list[dict[str, Any]]:
    match task:
        case "chats":
            asked = ["w{} w{}", "say w{} w{}"]
            return [
                {
                    "messages": [
                        {"role": role, "content": text.format(i, (5 * i) % 40)}
                        for text in asked
                        for role in ("user", "assistant")
                    ]
                }
                for i in range(40)
            ]
        case "colours":
            return [{"text": f"w{i} w{(7 * i) % 40}", "label": ["red", "blue"][i % 2]} for i in range(40)]
        case "picks":
            options = [["w1", "w2 w3"], ["red", "blue", "w9"]]
            return [
                {"question": f"w{i} w{(9 * i) % 40}", "choices": options[i % 2], "answer": i % 2} for i in range(40)
            ]
        case _:
            return [{"text": f"w{i} w{(3 * i) % 40} w7 w8"} for i in range(40)]


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def file(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recognised")
    tasks = [{"name": name, "data": write_rows(folder / f"{name}.jsonl", rows(name))} for name in TASKS]
    tasks[list(TASKS).index("picks")]["metric"] = "mrr"
    train = {**run_fields["train"], "max_length": 96, "pack_tokens": 256}
    fields = {**run_fields, "tasks": tasks, "general": [], "train": train, "adapters": "shared"}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**fields, "output": str(folder / "runs")}), "utf-8")
    return path


@pytest.fixture(scope="module")
def folder(file: Path) -> Path:
    result = invoke("train", file)
    assert result.exit_code == 0, result.output
    return file.parent / "runs" / "tiny"


def test_check_says_in_one_line_how_each_task_is_read(file: Path) -> None:
    notes = json.loads(invoke("check", file, "--json").stdout)["notes"]
    kinds = {
        "chats": "conversations; kind: generate; messages: messages; turns: every; metric: rouge_l",
        "colours": "a text with a label in label; kind: classify; prompt: Classify this text.",
        "picks": "multiple choice; kind: choice; prompt: {{ question }}",
        "texts": "plain text; kind: text; answer: {{ text }}; metric: token_likelihood",
    }
    for task, reading in kinds.items():
        assert sum(note.startswith(f"{task}: recognised as {reading}") for note in notes) == 1, notes


def test_the_run_folder_states_what_was_recognised(folder: Path) -> None:
    tasks = {task.name: task for task in load_config(RunFolder(folder).config).tasks}
    assert {name: task.kind for name, task in tasks.items()} == {
        "chats": "generate",
        "colours": "classify",
        "picks": "choice",
        "texts": "text",
    }
    assert all(task.is_complete for task in tasks.values())


def test_every_kind_is_scored(folder: Path) -> None:
    scores = Scores.read(RunFolder(folder).scores)
    metrics = {name: task.metric for name, task in scores.tasks.items()}
    assert metrics == dict(zip(TASKS, ("rouge_l", "macro_f1", "mrr", "token_likelihood"), strict=True))
    (texts,) = [row for row in scores.transfer["shared"].tasks if row.task == "texts"]
    assert texts.examples > 0 and 0 < texts.together < 1


def test_an_option_of_the_row_is_picked(folder: Path) -> None:
    predictions = read_predictions(RunFolder(folder).predictions("shared", "picks", "test"))
    assert {one.output for one in predictions} <= {"w1", "w2 w3", "red", "blue", "w9"}
    assert {one.gold for one in predictions} <= {"w1", "blue"}
    assert {one.value for one in predictions} <= {1, 2, 3} and all(one.score == 1 / one.value for one in predictions)
    assert all((one.value == 1) == (one.output == one.gold) for one in predictions)


def test_a_turn_is_scored_behind_the_turns_before_it(folder: Path) -> None:
    lines = RunFolder(folder).prompts("chats", "test").read_text("utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    assert sum("assistant: " in prompt for prompt in prompts) == len(prompts) / 2 > 0


def test_an_evaluation_from_the_folder_alone_gives_the_same_scores(folder: Path) -> None:
    before = Scores.read(RunFolder(folder).scores)
    assert invoke("eval", folder).exit_code == 0
    assert Scores.read(RunFolder(folder).scores).tasks == before.tasks


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("chats", {"messages": [{"role": "user", "content": "w1"}]}),
        ("picks", {"question": "w4 w5", "choices": ["w1", "w2 w3"]}),
        ("colours", {"text": "w3 w4"}),
    ],
)
def test_rows_of_a_task_are_answered(folder: Path, tmp_path: Path, task: str, row: dict[str, Any]) -> None:
    given = write_rows(tmp_path / "asked.jsonl", [row])
    result = invoke("generate", folder, "--task", task, "--input", given)
    assert result.exit_code == 0, result.output
    if task == "picks":
        assert json.loads(result.stdout)["value"] in row["choices"]


def test_a_plain_text_has_nothing_to_ask(folder: Path, tmp_path: Path) -> None:
    given = write_rows(tmp_path / "asked.jsonl", [{"text": "w1"}])
    with pytest.raises(TaskError, match="task 'texts': kind text has no prompt to answer"):
        invoke("generate", folder, "--task", "texts", "--input", given)
