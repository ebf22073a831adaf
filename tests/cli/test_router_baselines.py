"""Ways to choose without a router, in the report of a finished run; and sweeps, which newcomers stand on."""

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
from multitune.cli.show import show_routing
from multitune.config.load import load_config
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import RunFolder
from multitune.deployment.homes import OpenRun, open_run_models
from multitune.deployment.router_baselines import measure_baselines
from multitune.evaluation.resampling import corpus_score
from multitune.inference.predict import predict_task
from multitune.model.files import load_adapter, save_adapter
from multitune.training.prepare import prepare_run

TABLE = {"colours": "colours", "copy": "shared"}


@pytest.fixture(scope="module")
def opened(finished: Path) -> OpenRun:
    prepared = prepare_run(load_config(finished / "config.yaml", ["router.compare=[uniform, arrow]"]))
    return open_run_models(RunFolder(finished), prepared, {})


def test_the_uniform_average_scores_what_its_exported_form_scores(opened: OpenRun, tmp_path: Path) -> None:
    prepared, bank = opened.main, opened.bank
    found = measure_baselines(opened, TABLE).uniform
    assert found and found.adapters == ("colours", "shared")
    save_adapter(bank.averaged("average", found.adapters), tmp_path / "average", bank, {})
    load_adapter(bank, tmp_path / "average", "exported")
    for task, score in found.scores.items():
        home, config = opened.homes[task], prepared.config
        answers = predict_task(home.model(bank, "exported"), home.item, config.evaluate.split, seed=config.seed)
        assert corpus_score(home.item.data.task.metric, answers) == score
    bank.remove("exported")


def test_comparing_leaves_the_bank_as_it_was(opened: OpenRun) -> None:
    bank = opened.bank
    names, weights = bank.names, bank["shared"].weights.clone()
    measure_baselines(opened, TABLE)
    assert bank.names == names and torch.equal(bank["shared"].weights, weights)


def test_arrow_is_with_reference_the_adapters_that_the_tasks_ship_with(opened: OpenRun) -> None:
    found = measure_baselines(opened, TABLE).arrow
    assert found
    rows = {name: len(opened.main.tasks[task].tokens["test"]) for task, name in TABLE.items()}
    assert found.examples == sum(rows.values())
    assert all(sum(of.values()) == pytest.approx(1.0) for of in found.chosen.values())
    right = sum(found.chosen[name][name] * count for name, count in rows.items())
    assert found.accuracy == pytest.approx(right / found.examples)


def test_where_one_adapter_ships_there_is_nothing_to_compare(opened: OpenRun) -> None:
    found = measure_baselines(opened, {"colours": "base", "copy": "shared"})
    assert (found.compared, found.uniform, found.arrow) == (("uniform", "arrow"), None, None)


def test_the_report_shows_the_baselines_that_were_asked_for(opened: OpenRun, finished: Path) -> None:
    version = read_version(RunFolder(finished))
    assert version and version.report
    assert version.report.baselines.compared == ()  # they cost time, and are left out unless asked for
    report = version.report.model_copy(update={"baselines": measure_baselines(opened, TABLE)})
    file = io.StringIO()
    show_routing(version.model_copy(update={"report": report}), finished, Console(file=file, width=200))
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
