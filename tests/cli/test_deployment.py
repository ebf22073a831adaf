"""From a finished run to what is served: select, add and remove, on the command line, with their proofs."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.core.errors import MultituneError
from tests.conftest import unseal


def invoke(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.stdout)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to change."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / "tiny"))


@pytest.fixture
def newcomer(run_fields: dict[str, Any], tmp_path: Path) -> Path:
    """A run file of one more task."""
    task = {**run_fields["tasks"][0], "name": "hues", "prompt": "tell {{ text }}"}
    file = tmp_path / "new.yaml"
    file.write_text(yaml.safe_dump({"tasks": [task], "train": {"max_steps": 2}}), "utf-8")
    return file


def test_train_leaves_a_routing_version_and_says_what_ships(finished: Path) -> None:
    version = finished / "routing" / "v0001"
    assert {p.name for p in version.iterdir()} == {"table.json", "report.json", "router.json", "router.safetensors"}
    table = json.loads((version / "table.json").read_text())
    assert set(table["tasks"]) == {"colours", "copy"}
    for task, row in table["tasks"].items():
        assert set(row["standings"]) == {"base", "shared", task, f"{task}.residual"}
        assert row["path"] == ("" if row["adapter"] == "base" else f"adapters/{row['adapter']}")
    printed = (finished.parent.parent / "printed.txt").read_text()
    assert "ships with" in printed and "parameters, against" in printed


def test_scores_under_the_router_are_those_of_the_adapters_it_chose(run: Path) -> None:
    invoke("eval", run)  # other tests score the finished run on other rows
    found = invoke("select", run)
    scores = json.loads((run / "scores.json").read_text())["tasks"]
    for task, row in found["report"]["tasks"].items():
        shipped = found["table"]["tasks"][task]["adapter"]
        assert row["scores"]["oracle"] == pytest.approx(scores[task]["scores"][shipped]["score"])
        assert row["scores"]["base"] == pytest.approx(scores[task]["scores"]["base"]["score"])
    assert found["version"] == "v0001"  # the same version is not written twice


def test_another_kind_of_router_is_one_setting_away(run: Path) -> None:
    found = invoke("select", run, "--set", "router.kind=softmax", "--set", "router.features=layer:1")
    assert found["report"]["router"] == "softmax" and found["report"]["features"].startswith("layer 1 of")
    assert set(found["report"]["kinds"]) == {"discriminant", "softmax"}


def test_a_task_joins_and_no_older_file_or_logit_changes(run: Path, newcomer: Path) -> None:
    before = digests(run)
    change = invoke("add", newcomer, "--to", run)
    after = digests(run)
    assert all(after[path] == digest for path, digest in before.items())
    assert change["files"] == len(before) and not change["files_changed"] and not change["logits_changed"]
    assert set(change["routes_changed"]) == {"colours", "copy"} == set(change["scores"])
    table = json.loads((run / "routing" / change["version"] / "table.json").read_text())
    assert list(table["tasks"]) == ["colours", "copy", "hues"]
    assert (run / "added" / "hues" / "adapters" / "hues").is_dir()


def test_a_task_joins_on_top_of_the_shared_adapter_unless_alone(run: Path, newcomer: Path) -> None:
    shared = load_file(run / "adapters" / "shared" / "adapter_model.safetensors")
    ranks: dict[bool, int] = {}
    for alone in (False, True):
        invoke("add", newcomer, "--to", run, *(["--alone"] if alone else []))
        own = load_file(run / "added" / "hues" / "adapters" / "hues" / "adapter_model.safetensors")
        key = next(key for key in own if "lora_A" in key)
        ranks[alone] = own[key].shape[0]
        held = own[key][: shared[key].shape[0]]
        assert torch.equal(held, shared[key]) is not alone
        invoke("remove", "hues", "--from", run)
    assert ranks == {False: 4, True: 2}


def test_a_task_that_joined_leaves_without_a_trace_but_its_version(run: Path, newcomer: Path) -> None:
    before = digests(run)
    invoke("add", newcomer, "--to", run)
    change = invoke("remove", "hues", "--from", run)
    assert not change["files_changed"] and not (run / "added" / "hues").exists()
    after = digests(run)
    assert all(after[path] == digest for path, digest in before.items())
    table = json.loads((run / "routing" / change["version"] / "table.json").read_text())
    assert list(table["tasks"]) == ["colours", "copy"]


def test_an_interrupted_joining_goes_on(run: Path, newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multitune.deployment import extend

    def power_cut(*_: Any, **__: Any) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(extend, "_write", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            invoke("add", newcomer, "--to", run)
    assert [path.name for path in (run / "routing").iterdir()] == ["v0001"]
    assert invoke("add", newcomer, "--to", run)["added"] == "hues"


def refused(run: Path, *arguments: str | Path) -> str:
    """What a command says that exits with code 2 and leaves the run folder as it was."""
    before = digests(run)
    with pytest.raises(MultituneError) as caught:
        invoke(*arguments)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert digests(run) == before
    return str(caught.value)


def rewrite(file: Path, **fields: Any) -> Path:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **fields}))
    return file


@pytest.mark.parametrize("command", ["select", "add"])
def test_what_a_killed_write_left_goes_with_the_next_change_and_is_counted_nowhere(
    command: str, run: Path, newcomer: Path
) -> None:
    left = run / "routing" / ".part-9999999-killed"
    left.mkdir()
    (left / "table.json").write_text("{}", "utf-8")
    files = sum(path.is_file() for path in run.rglob("*")) - 1
    if command == "select":
        invoke("select", run, "--set", "router.kind=softmax")
    else:
        assert invoke("add", newcomer, "--to", run)["files"] == files
    assert not left.exists()


def test_a_task_is_not_added_twice(run: Path, newcomer: Path) -> None:
    task = yaml.safe_load(newcomer.read_text())["tasks"][0]
    for name in ("colours", "shared", "chat", "copy.residual"):
        told = refused(run, "add", rewrite(newcomer, tasks=[{**task, "name": name}]), "--to", run)
        assert f"tasks[0].name is '{name}', which this run has already" in told
    rewrite(newcomer, tasks=[task])
    invoke("add", newcomer, "--to", run)
    assert "which this run has already" in refused(run, "add", newcomer, "--to", run)


def test_a_task_for_another_base_or_two_at_once_are_refused(run: Path, newcomer: Path) -> None:
    task = yaml.safe_load(newcomer.read_text())["tasks"][0]
    assert "`add` takes one at a time" in refused(
        run, "add", rewrite(newcomer, tasks=[task, {**task, "name": "more"}]), "--to", run
    )
    assert "stands on" in refused(run, "add", rewrite(newcomer, tasks=[task], base="smollm2-135m"), "--to", run)


def test_an_unknown_task_is_not_removed(run: Path) -> None:
    told = refused(run, "remove", "colour", "--from", run)
    assert "no task 'colour' is routed to. Did you mean 'colours'" in told


def test_a_folder_without_a_table_says_how_to_make_one(run: Path, newcomer: Path) -> None:
    shutil.rmtree(run / "routing")
    assert f"Make one: multitune select {run}" in refused(run, "add", newcomer, "--to", run)


def shipped_adapter(run: Path) -> Path:
    """The folder of an adapter that the table names; the table is made to name one."""
    file = unseal(run) / "routing" / "v0001" / "table.json"
    table = json.loads(file.read_text())
    table["tasks"]["copy"] |= {"adapter": "copy", "path": "adapters/copy"}
    file.write_text(json.dumps(table))
    return run / "adapters" / "copy"


@pytest.mark.parametrize("harm", ["gone", "pickle", "nan", "base", "router"])
def test_a_table_whose_adapter_cannot_be_trusted_is_refused(harm: str, run: Path, newcomer: Path) -> None:
    folder = shipped_adapter(run)
    weights = folder / "adapter_model.safetensors"
    match harm:
        case "gone":
            shutil.rmtree(folder)
        case "pickle":
            weights.rename(folder / "adapter_model.bin")
        case "nan":
            tensors = load_file(weights)
            next(iter(tensors.values()))[0, 0] = np.nan
            save_file(tensors, weights)
        case "base":
            card = folder / "multitune.json"
            card.write_text(json.dumps({**json.loads(card.read_text()), "fingerprint": "0123456789abcdef"}))
        case _:
            config = run / "config.yaml"
            config.write_text(config.read_text().replace("features: embedding", "features: layer:1"))
    told = refused(run, "add", newcomer, "--to", run)
    expected = {
        "gone": "is answered by adapters/copy, which is gone",
        "pickle": "is a pickle",
        "nan": "holds NaN",
        "base": "was trained on",
        "router": "was fitted on",
    }
    assert expected[harm] in told
