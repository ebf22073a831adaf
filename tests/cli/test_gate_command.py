"""`multitune gate`: exit code 0 no task is worse, 1 one is, 3 the rows cannot tell, 2 the two do not compare."""

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import multitune
from multitune.cli.main import app
from multitune.core.errors import InputError
from multitune.core.files import read_json, write_json
from multitune.core.predictions import read_predictions, write_predictions
from multitune.core.records import Prediction
from multitune.core.run_folder import RunFolder
from multitune.deployment.export import Form, export_adapter
from tests.chat_server import model_behind, serving


@pytest.fixture(scope="module")
def run(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one adapter and two trainings of it, with many test rows of `copy`."""
    folder = tmp_path_factory.mktemp("gate")
    colours, copy = run_fields["tasks"]
    rows = [{"text": f"w{i % 78} w{(5 * i + i // 78) % 78}"} for i in range(160)]
    (folder / "copies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    copy = {**copy, "data": str(folder / "copies.jsonl"), "split": {"test": 0.5}}
    fields = {**run_fields, "tasks": [colours, copy], "adapters": ["shared"], "seeds": 2, "general": []}
    return multitune.train({**fields, "output": str(folder / "runs")}).path


@pytest.fixture
def new(run: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(run, tmp_path / "new"))


def gate(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["gate", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def files(run: Path, task: str) -> list[Path]:
    """The answers of what the task ships with, and of its further training."""
    table = multitune.open_run(run).routing
    assert table is not None
    adapter = table.table.adapters[task]
    return [path for name in (adapter, "shared", "shared.seed-2") if (path := answered(run, name, task)).is_file()]


def answered(run: Path, adapter: str, task: str) -> Path:
    return RunFolder(run).predictions(adapter, task, "test")


def change(run: Path, task: str, how: Callable[[int, Prediction], Prediction]) -> None:
    for path in set(files(run, task)):
        write_predictions(path, [how(i, one) for i, one in enumerate(read_predictions(path))])


def right(_: int, one: Prediction) -> Prediction:
    return replace(one, value=one.gold, output=str(one.gold), score=1.0)


def wrong(_: int, one: Prediction) -> Prediction:
    return replace(one, value="no", output="no", score=0.0)


def with_config(run: Path, **fields: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    (run / "config.yaml").write_text(yaml.safe_dump({**config, **fields}), "utf-8")


@pytest.fixture
def old(run: Path, tmp_path: Path) -> Path:
    """A copy that answers every row of `copy` rightly."""
    folder = Path(shutil.copytree(run, tmp_path / "old"))
    change(folder, "copy", right)
    return folder


def test_a_run_passes_against_itself(run: Path) -> None:
    found = gate(run, run)
    assert found.exit_code == 0, found.output
    assert "passes: a loss as large as the margin is ruled out on every task, over 2 seeds of training" in found.output


def test_a_run_that_answers_many_rows_wrongly_fails(old: Path, new: Path) -> None:
    change(new, "copy", wrong)
    found = gate(old, new, "--json")
    record = json.loads(found.stdout)
    assert (found.exit_code, record["verdict"], record["exit_code"]) == (1, "worse", 1)
    verdicts = {task["task"]: task["verdict"] for task in record["tasks"]}
    assert verdicts == {"colours": "passes", "copy": "worse"}
    copy = record["tasks"][1]
    assert (copy["difference"], copy["seeds"], copy["margin"]) == (-1.0, 2, 0.02)


def test_few_rows_that_differ_cannot_tell(old: Path, new: Path) -> None:
    change(new, "copy", lambda i, one: wrong(i, one) if i == 0 else right(i, one))
    found = gate(old, new)
    assert found.exit_code == 3 and "neither shown nor ruled out on copy" in found.output
    assert gate(old, new, "--margin", "copy=0.5").exit_code == 0
    assert gate(old, new, "--margin", "0.001", "--margin", "copy=0.5").exit_code == 0


def test_the_margin_is_that_of_the_new_run(old: Path, new: Path) -> None:
    change(new, "copy", lambda i, one: wrong(i, one) if i == 0 else right(i, one))
    with_config(new, evaluate={**multitune.open_run(new).config.evaluate.model_dump(), "margin": 0.5})
    assert multitune.gate(old, new).tasks[1].margin == 0.5
    assert multitune.gate(new, old).tasks[1].margin == 0.02


def test_with_one_seed_on_one_side_the_words_are_of_these_runs(old: Path, new: Path) -> None:
    with_config(new, seeds=1)
    change(new, "copy", wrong)
    assert "worse: a loss beyond the margin on copy, in these runs" in gate(old, new).output


def test_markdown_goes_to_a_file_or_alone_to_stdout(old: Path, new: Path, tmp_path: Path) -> None:
    change(new, "copy", wrong)
    written = gate(old, new, "--markdown", tmp_path / "gate.md")
    text = (tmp_path / "gate.md").read_text("utf-8")
    assert written.exit_code == 1 and "\n| copy | " in text
    assert text.startswith("### multitune gate: ") and "**worse: a loss beyond the margin on copy" in text
    printed = gate(old, new, "--markdown", "-")
    assert printed.exit_code == 1 and printed.stdout == text


def test_other_rows_are_refused_with_task_and_numbers(old: Path, new: Path) -> None:
    for path in set(files(new, "copy")):
        write_predictions(path, read_predictions(path)[:-3])
    count = len(read_predictions(answered(old, "shared", "copy")))
    with pytest.raises(
        InputError, match=rf"copy \({count} test and {count - 3} test rows, {count - 3} of them the same"
    ):
        multitune.gate(old, new)
    assert multitune.gate(old, new, tasks=["colours"]).verdict == "passes"


def test_other_right_answers_are_other_rows(old: Path, new: Path) -> None:
    change(new, "copy", lambda _, one: replace(one, gold="w1"))
    with pytest.raises(InputError, match=r"answered different rows.*copy \("):
        multitune.gate(old, new)


def test_a_task_that_is_gone_is_refused_unless_that_is_meant(old: Path, new: Path) -> None:
    config = yaml.safe_load((new / "config.yaml").read_text("utf-8"))
    with_config(new, tasks=[task for task in config["tasks"] if task["name"] == "colours"])
    scores = read_json(new / "scores.json")
    del scores["tasks"]["copy"]
    write_json(new / "scores.json", scores)
    with pytest.raises(InputError, match=r"lacks copy of .*--allow-missing"):
        multitune.gate(old, new)
    found = gate(old, new, "--allow-missing")
    assert found.exit_code == 0 and "not in the new run: copy" in found.output
    assert multitune.gate(new, old).added == ("copy",)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--margin", "0"], "--margin 0: give a number above 0"),
        (["--margin", "nan"], "--margin nan: give a number above 0"),
        (["--margin", "copy=lots"], "--margin copy=lots: write a number"),
        (["--margin", "coppy=0.1"], "--margin coppy=0.1: no such task .* Did you mean 'copy'"),
        (["--task", "coppy"], "--task coppy: no such task. Did you mean 'copy'"),
        (["--adapter", "shard"], "--adapter shard: did not answer 'colours'"),
        (["--json", "--markdown", "-"], "stdout is for --json"),
        (["--markdown", "."], "--markdown .: a folder"),
    ],
)
def test_options_that_mean_nothing_are_refused(run: Path, options: list[str], fault: str) -> None:
    with pytest.raises(InputError, match=fault) as raised:
        gate(run, run, *options)
    assert raised.value.exit_code == 2


def exported(run: Path, target: Path, form: Form = "peft") -> Path:
    export_adapter(RunFolder(run), "shared", target, form)
    return target


@pytest.mark.parametrize("form", ["peft", "merged"])
def test_an_export_of_the_run_passes_against_it(run: Path, tmp_path: Path, form: Form) -> None:
    target = exported(run, tmp_path / "out", form)
    found = multitune.gate(run, target, adapter="shared")
    assert (found.verdict, found.tasks[0].new.adapter, found.tasks[0].seeds) == ("passes", "exported", 1)
    assert multitune.gate(target, run, adapter="shared").tasks[0].old.adapter == "exported"


def test_an_export_that_answers_worse_than_the_record_fails(old: Path, tmp_path: Path) -> None:
    assert gate(old, exported(old, tmp_path / "out"), "--adapter", "shared", "--task", "copy").exit_code == 1


def test_a_lora_file_for_llama_cpp_answers_nothing_by_itself(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Give the address of a server that loaded it"):
        multitune.gate(run, exported(run, tmp_path / "out", "gguf"))


def test_a_server_answers_the_rows_of_the_run(old: Path, base_folder: Path) -> None:
    with serving(model_behind(str(base_folder), "float32")) as server:
        found = gate(old, server.url, "--model", "served", "--task", "copy", "--json")
    record = json.loads(found.stdout)
    assert found.exit_code == 1 and record["tasks"][0]["new"]["adapter"] == "served"
    assert len(server.requests) == record["tasks"][0]["examples"]


def test_a_server_that_is_not_there_gives_one_sentence(run: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(InputError, match=r"^NEW .*is the server up\?.*Start it, or give another address") as raised:
        multitune.gate(run, url, model="served")
    assert raised.value.exit_code == 2


def test_what_is_no_run_and_no_target_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^OLD .*nowhere: no such folder\. Give a run"):
        multitune.gate(tmp_path / "nowhere", run)
    with pytest.raises(InputError, match=r"^NEW .* is no PEFT folder"):
        multitune.gate(run, tmp_path)
    with pytest.raises(InputError, match="neither is a run"):
        multitune.gate("http://localhost:1/v1", tmp_path)
