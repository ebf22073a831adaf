"""What is measured beside the scores: in the run file and for a finished run, on the page, in JSON, and refused."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.testing import CliRunner, Result

from multitune.cli.main import app
from multitune.config.robustness import Perturbation
from multitune.core.errors import InputError
from multitune.core.results.robustness import Robustness
from multitune.core.run_folder import RunFolder


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> str:
    """The message of a command that refuses what the user gave."""
    error = call(*arguments).exception
    assert isinstance(error, InputError) and error.exit_code == 2
    return str(error)


def rows(count: int, first: int) -> list[dict[str, Any]]:
    """The label follows the text's first word; rows of the channel `phone` are wrong in half of the cases."""
    return [
        {
            "text": f"w{i % 2} w{(7 * i) % 40} w{i % 37}",
            "label": ["red", "blue"][i % 2],
            "channel": ["web", "phone", "post"][i % 3] if i % 20 else None,
            "branch": f"b{i}",
            "age": i,
            "kind": "all",
        }
        for i in range(first, first + count)
    ]


@pytest.fixture(scope="module")
def evaluated(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with one task whose rows have a channel, and one whose rows have none."""
    folder = tmp_path_factory.mktemp("robustness")
    data: dict[str, dict[str, str]] = {"colours": {}, "shades": {}}
    for split, first, count in (("train", 0, 40), ("validation", 40, 12), ("test", 100, 90)):
        for name, of in data.items():
            path = folder / f"{name}.{split}.jsonl"
            kept = ("text", "label") if name == "shades" else None
            made = [{k: v for k, v in row.items() if kept is None or k in kept} for row in rows(count, first)]
            path.write_text("".join(json.dumps(row) + "\n" for row in made), "utf-8")
            of[split] = str(path)
    task = {"prompt": "say {{ text }}", "answer": "{{ label }}", "kind": "classify"}
    fields = {
        "name": "grouped",
        "base": str(base_folder),
        "tasks": [{**task, "name": name, "data": of} for name, of in data.items()],
        "adapters": "shared",
        "cross_task_duplicates": "allow",
        "audit": "off",
        "lora": {"rank": 2, "alpha": 4},
        "train": {"max_steps": 2, "batch_size": 8, "pack_tokens": 128, "max_length": 32},
        "evaluate": {"resamples": 100, "slices": ["channel"]},
        "dtype": "float32",
        "device": "cpu",
        "output": str(folder / "runs"),
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(fields), "utf-8")
    result = CliRunner().invoke(app, ["train", str(file)], catch_exceptions=False)
    assert "not by channel: its rows have no column 'channel'" in result.output
    return folder / "runs" / "grouped"


def test_a_run_that_asks_for_slices_has_them_of_what_ships_and_of_the_base(evaluated: Path) -> None:
    found = Robustness.read(RunFolder(evaluated).robustness)
    (slices,) = found.slices
    (task,) = slices.tasks
    assert task.task == "colours" and task.rows == 90
    assert {group.value for group in task.groups} == {"web", "phone", "post"}
    assert task.folded == {"(nothing)": 5}
    assert sum(group.rows for group in task.groups) == 85
    assert slices.left_out == {"shades": "its rows have no column 'channel'"}


def test_a_finished_run_is_sliced_from_its_folder_and_what_was_measured_before_stays(evaluated: Path) -> None:
    result = call("measure", str(evaluated), "--slices", "label", "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert [one["column"] for one in answer["slices"]] == ["channel", "label"]
    (colours, shades) = answer["slices"][1]["tasks"]
    assert [group["value"] for group in colours["groups"]] == ["red", "blue"]
    assert shades["task"] == "shades"


def test_changed_rows_of_a_finished_run_are_answered_from_its_folder(evaluated: Path) -> None:
    answer = json.loads(call("measure", str(evaluated), "--flips", "--perturb", "--json").stdout)
    assert answer["slices"], "what was measured before stays"
    assert answer["flips"]["tasks"] == [] and answer["flips"]["left_out"].keys() == {"colours", "shades"}
    found = {(one["task"], one["perturbation"]): one for one in answer["perturbed"]["tasks"]}
    assert found.keys() == {(task, way) for task in ("colours", "shades") for way in get_args(Perturbation)} - {
        (task, "typos")
        for task in ("colours", "shades")  # `w12` has too few letters
    } - {(task, "lower") for task in ("colours", "shades")}
    assert {one["adapter"] for one in found.values()} <= {"shared", "base"}
    for form in ("markdown", "card", "table"):
        assert "label_words" in call("runs", "export", str(evaluated), "--as", form).stdout


def test_check_says_how_many_rows_more_are_answered(evaluated: Path) -> None:
    file = str(evaluated.parent.parent / "run.yaml")
    printed = call("check", file, "--set", "evaluate.perturb=[upper, suffix]", "--set", "evaluate.flips=true").output
    assert "perturb: 360 perturbed rows to answer, by what ships; 180 rows are evaluated" in printed
    assert "flips: 0 rows with swapped terms to answer" in printed
    assert "slices by channel: no row is answered more" in printed


def test_an_unknown_perturbation_is_refused_with_those_that_there_are(evaluated: Path) -> None:
    file = str(evaluated.parent.parent / "run.yaml")
    assert "Did you mean 'typos'?" in refused("check", file, "--set", "evaluate.perturb=[typo]")


def test_slices_stand_on_the_page_in_the_markdown_and_on_the_card(evaluated: Path) -> None:
    assert "Scores by channel" in (evaluated / "report.html").read_text("utf-8")
    for form in ("markdown", "card", "table"):
        assert "phone" in call("runs", "export", str(evaluated), "--as", form).stdout


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("chanel", "no task has a column 'chanel'. Did you mean 'channel'?"),
        ("branch", "90 values in 90 rows, none in 20 of them"),
        ("age", "90 different numbers; write ranges such as 18-30"),
        ("kind", "one value in all 90 rows"),
    ],
)
def test_a_column_that_makes_no_groups_is_refused_with_the_reason(evaluated: Path, column: str, message: str) -> None:
    assert message in refused("measure", str(evaluated), "--slices", column)


def test_a_column_that_makes_no_groups_is_refused_before_training(evaluated: Path, tmp_path: Path) -> None:
    file = evaluated.parent.parent / "run.yaml"
    arguments = ["train", str(file), "--set", f"output={tmp_path}", "--set", "evaluate.slices=[chanel]"]
    assert "'chanel'" in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_a_measurement_of_nothing_says_what_can_be_asked_for(evaluated: Path) -> None:
    assert "Give --slices, --flips, --perturb" in refused("measure", str(evaluated))


def test_a_task_joins_a_run_whose_slices_it_has_no_column_for(evaluated: Path, tmp_path: Path) -> None:
    run, rows_file = tmp_path / "grouped", tmp_path / "joining.jsonl"
    shutil.copytree(evaluated, run)
    rows_file.write_text(
        "".join(json.dumps({"q": f"w{i} w{i + 1}", "a": f"w{i % 2}"}) + "\n" for i in range(60)), "utf-8"
    )
    task = {"name": "joining", "data": str(rows_file), "kind": "classify", "prompt": "{{ q }}", "answer": "{{ a }}"}
    file = tmp_path / "joining.yaml"
    file.write_text(yaml.safe_dump({"tasks": [task], "train": {"max_steps": 1}}), "utf-8")
    assert call("add", str(file), "--to", str(run)).exit_code == 0
    assert call("measure", str(run), "--slices", "channel").exit_code == 0
