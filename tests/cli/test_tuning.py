"""`tune` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from multitune.cli.main import app
from multitune.core.errors import MultituneError

FEW = ("--set", "train.max_steps=3", "--range", "lora.rank=2,4")


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_tune_ends_with_the_table_and_a_command_that_trains(run_file: Path) -> None:
    shown = invoke("tune", run_file, "--trials", "5", *FEW).stdout
    lines = shown.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("trial "))
    assert lines[head].split() == ["trial", "loss", "learning_rate", "rank", "anneal_end", "state"]
    assert {line.split()[0] for line in lines[head + 1 : head + 6]} == set("01234")
    assert "what mattered (fANOVA" in shown or "pruned" in shown
    assert "no trial looked at a test row" in shown
    command = next(line for line in lines if line.startswith("train with them: multitune train "))
    trained = invoke(*command.removeprefix("train with them: multitune ").split(), "--set", "adapters=shared")
    assert "run folder: " in trained.stdout


def test_tune_prints_json_alone_on_stdout_and_goes_on(run_file: Path) -> None:
    once = json.loads(invoke("tune", run_file, "--trials", "1", *FEW, "--json").stdout)
    twice = json.loads(invoke("tune", run_file, "--trials", "2", *FEW, "--json").stdout)
    assert twice["trials"][0] == once["trials"][0] and len(twice["trials"]) == 2


def test_a_bad_range_is_one_message(run_file: Path) -> None:
    with pytest.raises(MultituneError, match="nothing that this run can search") as caught:
        invoke("tune", run_file, "--trials", "1", "--range", "lora.rang=2,4")
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
