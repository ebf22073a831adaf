"""What is served is what the run recorded, and an adapter that does nothing is found before the first request."""

import shutil
from pathlib import Path

import httpx
from safetensors.torch import load_file, save_file

from multitune.core.run_folder import RunFolder
from multitune.serving.engine import EngineOptions
from multitune.serving.parity import check_parity
from multitune.serving.served_run import ServedRun


def test_a_whole_run_agrees_with_its_record(finished: Path, server: str) -> None:
    found = httpx.get(f"{server}/ready")
    body = found.json()
    assert found.status_code == 200 and body["ready"] and body["faults"] == {}
    checked = {(row["adapter"], row["task"]) for row in body["parity"]}
    assert {("base", "colours"), ("shared", "copy"), ("copy.residual", "copy")} <= checked
    assert all(row["rows"] and row["difference"] < 1e-3 for row in body["parity"])


def test_a_router_that_cannot_be_read_is_told_at_the_start(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    file = RunFolder(run).routing_versions[-1] / "router.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    served = ServedRun(RunFolder(run), EngineOptions())
    assert "no router could be read" in served.router_fault and "Fit it again" in served.router_fault
    assert served.route("say w1 w2").reason == "router-unavailable"
    served.close()


def test_an_adapter_that_is_loaded_and_not_applied_is_named(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    weights = run / "adapters" / "shared" / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor * ("lora_A" in name) for name, tensor in tensors.items()}, weights)
    other = run / "adapters" / "colours" / "adapter_model.safetensors"
    save_file({name: tensor * 10 for name, tensor in load_file(other).items()}, other)
    served = ServedRun(RunFolder(run), EngineOptions())
    served.parity = check_parity(served)
    assert served.faults() == {
        "shared": "it is loaded and not applied: it answers as the base does",
        "colours": "its likelihoods are not those that the run recorded",
    }
    whole = shutil.copytree(finished / "adapters" / "shared", run / "whole")
    served.adapters.load("shared", str(whole), replace=True)
    assert list(served.faults()) == ["colours"]
    served.close()
