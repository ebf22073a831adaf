"""The command line: verbs, exit codes, one message per fault, and JSON that a program can read."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NoReturn

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner, Result

from multitune.cli import main
from multitune.core.errors import InputError, Interrupted

ROOT = Path(__file__).parents[2]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main.app, [str(argument) for argument in arguments], catch_exceptions=False)


def multitune(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "multitune.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_lists_the_verbs() -> None:
    output = invoke("--help").output
    assert all(f" {verb} " in output for verb in ("train", "check", "eval", "report", "export", "schema", "version"))


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from multitune.cli.main import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "datasets", "scipy", "sklearn", "numpy", "pydantic", "yaml"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_bad_run_file_is_one_message_and_exit_code_2(run_file: Path) -> None:
    run_file.write_text(run_file.read_text("utf-8").replace("batch_size", "bach_size"), "utf-8")
    done = multitune("check", run_file)
    message = f"multitune: {run_file}: train.bach_size is not a field. Did you mean 'batch_size'?"
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and done.stderr.startswith(message)


def test_an_unknown_option_is_exit_code_2() -> None:
    assert invoke("train", "run.yaml", "--fast").exit_code == 2


@pytest.mark.parametrize(("error", "code"), [(Interrupted("stopped"), 130), (InputError("wrong"), 2)])
def test_an_error_of_ours_ends_with_its_own_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run_with(error, monkeypatch)
    assert (left.value.code, capsys.readouterr().err) == (code, f"multitune: {error}\n")


def test_a_fault_of_multitune_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run_with(ZeroDivisionError("division by zero"), monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    assert (left.value.code, lines[0], lines[-2]) == (
        1,
        "Traceback (most recent call last):",
        "ZeroDivisionError: division by zero",
    )
    assert "report it" in lines[-1]


def run_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> NoReturn:
        raise error

    monkeypatch.setattr(main, "app", broken)
    main.run()


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert invoke("version").stdout.strip() == project["version"]


def test_help_lists_the_verbs_in_the_order_of_a_first_run() -> None:
    output = invoke("--help").output
    places = [output.index(f"│ {verb} ") for verb in ("init", "check", "audit", "train", "report", "select", "serve")]
    assert places == sorted(places) and "First run: multitune init" in output


def test_every_verb_has_a_purpose_once() -> None:
    from multitune.cli.next_steps import PURPOSES

    verbs = [verb for purpose in PURPOSES.values() for verb in purpose]
    assert sorted(verbs) == sorted(get_command(main.app).commands)  # type: ignore[attr-defined]


def test_a_shell_completes_verbs(tmp_path: Path) -> None:
    asked = {"_MULTITUNE_COMPLETE": "complete_bash", "COMP_WORDS": "multitune ex", "COMP_CWORD": "1"}
    code = "from multitune.cli.main import app; app(prog_name='multitune')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["export"]


def test_schema_prints_json() -> None:
    assert "tasks" in json.loads(invoke("schema").stdout)["properties"]


def test_check_prints_json_alone_on_stdout(run_file: Path) -> None:
    report = json.loads(invoke("check", run_file, "--json", "--set", "train.batch_size=8").stdout)
    assert (report["name"], report["batch_size"]) == ("tiny", 8)


def test_check_shows_every_set_and_adapter(run_file: Path) -> None:
    words = set(invoke("check", run_file).stdout.split())
    assert {"colours", "copy", "chat", "shared"} <= words


def test_train_ends_with_the_table(finished: Path) -> None:
    printed = (finished.parents[1] / "printed.txt").read_text("utf-8")
    assert f"run folder: {finished}" in printed and "verdict" in printed


def test_a_finished_run_is_not_overwritten_unasked(finished: Path) -> None:
    with pytest.raises(InputError, match="--overwrite"):
        invoke("train", finished.parents[1] / "run.yaml")


def test_train_prints_json_alone_on_stdout_and_progress_alone_on_stderr(run_file: Path) -> None:
    done = multitune("train", run_file, "--json", "--set", "train.max_steps=2", "--set", "adapters=shared")
    assert json.loads(done.stdout)["transfer"].keys() == {"shared"}, done.stderr
    ours = ("reading", "note: ", "auditing", "loading", "training", "step ", "evaluat", "choosing", "report: ")
    lines = [line for line in done.stderr.splitlines() if "tasks with a chosen adapter" not in line]
    assert [line for line in lines if not line.startswith(ours)] == []  # the libraries are silent


def test_eval_scores_another_split(finished: Path) -> None:
    scores = json.loads(invoke("eval", finished, "--split", "validation", "--limit", 1, "--json").stdout)
    assert (scores["split"], scores["transfer"]["shared"]["tasks"][0]["examples"]) == ("validation", 1)


def test_eval_says_which_splits_there_are(finished: Path) -> None:
    with pytest.raises(InputError, match="All: validation, test"):
        invoke("eval", finished, "--split", "dev")


def test_eval_of_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        invoke("eval", tmp_path)


def test_an_override_reaches_the_run(run_file: Path) -> None:
    invoke("train", run_file, "--set", "train.max_steps=1", "--set", "adapters=shared", "--set", "name=other")
    config = yaml.safe_load((run_file.parent / "runs" / "other" / "config.yaml").read_text("utf-8"))
    assert config["train"]["max_steps"] == 1
