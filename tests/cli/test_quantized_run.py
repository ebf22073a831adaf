"""A run on a quantized base does all that a run does, and what leaves it stands on the base in all its bits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner, Result

import multitune
from multitune.cli.main import app
from multitune.core.bases import resolve_base
from multitune.core.errors import RunFolderError
from multitune.core.run_folder import RunFolder
from multitune.deployment.export import export_adapter
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter


@pytest.fixture(scope="session", params=["nf4", "int8"])
def run(request: pytest.FixtureRequest, run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that learned enough to answer otherwise than its base."""
    changes = {
        "quantization": request.param,
        "adapters": ["shared", "per_task"],
        "output": str(tmp_path_factory.mktemp("quantized")),
        "train": {**run_fields["train"], "epochs": 4, "learning_rate": 0.01},
    }
    return multitune.train({**run_fields, **changes}).path


def invoke(*words: str) -> Result:
    found = CliRunner().invoke(app, list(words))
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def test_it_learns_and_answers(run: Path) -> None:
    opened = multitune.open_run(run)
    scores = json.loads((run / "scores.json").read_text("utf-8"))["tasks"]["copy"]["scores"]
    assert scores["shared"]["loss"] < scores["base"]["loss"]
    assert opened.evaluate().tasks["copy"].scores["shared"].loss == scores["shared"]["loss"]
    assert opened.generate("copy w3 w4", adapter="shared")


def test_its_record_says_how_the_base_was_held(run: Path) -> None:
    kind = json.loads((run / "base.json").read_text("utf-8"))["quantization"]
    assert kind in ("nf4", "int8") and f"quantization: {kind}" in (run / "config.yaml").read_text("utf-8")
    assert json.loads((run / "versions.json").read_text("utf-8"))["packages"]["bitsandbytes"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_peft_loads_the_adapter_on_the_base_in_all_its_bits(run: Path, base_folder: Path, tmp_path: Path) -> None:
    done = invoke("export", str(run), "--adapter", "shared", "--to", str(tmp_path / "out"))
    assert "verified: " in done.output and "the base in all its bits" in done.output
    assert "The base was held in" in (tmp_path / "out" / "README.md").read_text("utf-8")
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert settings["base_model_name_or_path"] == str(base_folder)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_folder), tmp_path / "out")
    bank = AdapterBank(load_backbone(resolve_base(str(base_folder)), "cpu", "float32"))
    load_adapter(bank, run / "adapters" / "shared", "shared")
    ids = torch.arange(3, 20)[None]
    with torch.no_grad(), bank.use("shared") as ours:
        torch.testing.assert_close(theirs(input_ids=ids).logits, ours(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


def test_a_merged_export_says_which_base_it_is_merged_into_and_is_verified(run: Path, tmp_path: Path) -> None:
    done = invoke("export", str(run), "--adapter", "shared", "--to", str(tmp_path / "out"), "--as", "merged")
    assert done.exit_code == 0, done.output
    assert "merged into the base in all its bits, while the run trained and scored on it in" in done.output
    assert "the record, of a quantized base, is" in done.output
    assert invoke("verify", str(run), "--against", str(tmp_path / "out"), "--adapter", "shared").exit_code == 0


@pytest.mark.parametrize("name", ["copy", "base"])
def test_a_merged_export_of_something_else_is_found_out(run: Path, tmp_path: Path, name: str) -> None:
    export_adapter(RunFolder(run), "copy" if name == "copy" else "shared", tmp_path / "out", "merged")
    if name == "base":
        file = tmp_path / "out" / "model.safetensors"
        weights = load_file(file)
        base = load_backbone(resolve_base(multitune.load_config(run / "config.yaml").base), "cpu", "float32").model
        save_file({key: dict(base.named_parameters())[key].detach() for key in weights}, file, {"format": "pt"})
    assert invoke("verify", str(run), "--against", str(tmp_path / "out"), "--adapter", "shared").exit_code == 1


def test_it_does_not_go_on_with_another_quantization(run: Path) -> None:
    config = multitune.load_config(run / "config.yaml")
    for other in {None, "nf4", "int8"} - {config.quantization}:
        with pytest.raises(RunFolderError, match="was started with another config"):
            multitune.train(config.model_copy(update={"quantization": other}), resume=True)


def test_check_shows_how_the_base_is_held(run_fields: dict[str, Any]) -> None:
    plain, quantized = (multitune.check({**run_fields, "quantization": kind}) for kind in (None, "nf4"))
    assert (plain.quantization, quantized.quantization) == (None, "nf4")
    assert quantized.estimate.memory_bytes < plain.estimate.memory_bytes
