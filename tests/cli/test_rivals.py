"""What the report says of ways to choose without a router, on a finished run; and sweeps, which newcomers stand on."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.cli.ship import show_routing
from multitune.config.load import load_config
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import RunFolder
from multitune.deployment.router_baselines import measure_rivals
from multitune.evaluation.subjects import open_subjects
from multitune.evaluation.transfer import corpus_score
from multitune.inference.predict import predict_options, predict_task
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter, save_adapter
from multitune.training.prepare import PreparedRun, prepare_run

TABLE = {"colours": "colours", "copy": "shared"}


@pytest.fixture(scope="module")
def opened(finished: Path) -> tuple[PreparedRun, AdapterBank]:
    prepared = prepare_run(load_config(finished / "config.yaml", ["router.compare=[uniform, arrow]"]))
    return prepared, open_subjects(prepared, RunFolder(finished))[0].bank


def test_the_uniform_average_scores_what_its_exported_form_scores(
    opened: tuple[PreparedRun, AdapterBank], tmp_path: Path
) -> None:
    prepared, bank = opened
    found = measure_rivals(prepared, bank, TABLE)["uniform"]
    assert found["adapters"] == ["colours", "shared"]
    save_adapter(bank.averaged("average", found["adapters"]), tmp_path / "average", bank, {})
    load_adapter(bank, tmp_path / "average", "exported")
    for task, score in found["scores"].items():
        item, options = prepared.tasks[task], predict_options(prepared.config, None)
        said = predict_task(bank, "exported", item, prepared.config.evaluate.split, prepared.chat, options)
        assert corpus_score(item.data.task.metric, said) == score
    bank.remove("exported")


def test_comparing_leaves_the_bank_as_it_was(opened: tuple[PreparedRun, AdapterBank]) -> None:
    prepared, bank = opened
    names, weights = bank.names, bank["shared"].weights.clone()
    measure_rivals(prepared, bank, TABLE)
    assert bank.names == names and torch.equal(bank["shared"].weights, weights)


def test_arrow_is_held_against_the_adapters_that_the_tasks_ship_with(
    opened: tuple[PreparedRun, AdapterBank],
) -> None:
    prepared, bank = opened
    found = measure_rivals(prepared, bank, TABLE)["arrow"]
    rows = {name: len(prepared.tasks[task].tokens["test"]) for task, name in TABLE.items()}
    assert found["examples"] == sum(rows.values())
    assert all(sum(of.values()) == pytest.approx(1.0) for of in found["chosen"].values())
    right = sum(found["chosen"][name][name] * count for name, count in rows.items())
    assert found["accuracy"] == pytest.approx(right / found["examples"])


def test_where_one_adapter_ships_there_is_nothing_to_compare(opened: tuple[PreparedRun, AdapterBank]) -> None:
    assert measure_rivals(*opened, {"colours": "base", "copy": "shared"}) == {"uniform": None, "arrow": None}


def test_the_report_shows_the_rivals_that_were_asked_for(
    opened: tuple[PreparedRun, AdapterBank], finished: Path
) -> None:
    version = read_version(RunFolder(finished))
    assert version["report"]["rivals"] == {}  # they cost time, and are left out unless asked for
    version["report"]["rivals"] = measure_rivals(*opened, TABLE)
    file = io.StringIO()
    show_routing(version, finished, Console(file=file, width=200))
    assert "uniform" in file.getvalue() and "the average of colours, shared" in file.getvalue()
    assert "Arrow by prompt, without a router: right adapter" in file.getvalue()


def invoke(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_sweep_over_general_data_is_one_setting_and_newcomers_stand_on_its_first(
    run_file: Path, run_fields: dict[str, Any], tmp_path: Path
) -> None:
    scores = invoke("train", run_file, "--set", "adapters=[{name: every, general: [0, 0.2]}]")
    assert set(scores["general"]["chat"]["loss"]) == {"base", "every.general-0", "every.general-20"}
    run = tmp_path / "runs" / "tiny"
    drawn = {
        event["adapter"]
        for event in map(json.loads, (run / "events.jsonl").read_text().splitlines())
        if event["kind"] == "validation"
    }
    assert drawn == {"every.general-0", "every.general-20"}
    newcomer = tmp_path / "new.yaml"
    task = {**run_fields["tasks"][0], "name": "hues", "prompt": "tell {{ text }}"}
    newcomer.write_text(yaml.safe_dump({"tasks": [task], "train": {"max_steps": 2}}), "utf-8")
    invoke("add", newcomer, "--to", run)
    first = load_file(run / "adapters" / "every.general-0" / "adapter_model.safetensors")
    own = load_file(run / "added" / "hues" / "adapters" / "hues" / "adapter_model.safetensors")
    key = next(key for key in own if "lora_A" in key)
    assert torch.equal(own[key][: len(first[key])], first[key])
