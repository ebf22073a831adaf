"""An adapter leaves its run folder in every form, says how it is loaded, and never goes over something else."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from gguf import GGUFReader
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPTNeoXConfig
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.core.errors import InputError, ModelError
from multitune.core.run_folder import RunFolder
from multitune.deployment.export import FORMS, Form, export_adapter


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 20)[None]).logits


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_both_forms_are_the_same_model(finished: Path, base_folder: Path, tmp_path: Path) -> None:
    export_adapter(RunFolder(finished), "shared", tmp_path / "peft", "peft")
    export_adapter(RunFolder(finished), "shared", tmp_path / "merged", "merged")
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    adapted = PeftModel.from_pretrained(base, tmp_path / "peft")
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), logits(adapted), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("form", FORMS)
def test_what_is_in_the_way_stays(finished: Path, tmp_path: Path, form: Form) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(InputError, match="Choose another folder"):
        export_adapter(RunFolder(finished), "shared", tmp_path, form)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_adapter_is_answered_with_those_there_are(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"Did you mean 'shared'\? All: colours, colours.residual, copy, copy.residual, shared"
    ):
        export_adapter(RunFolder(finished), "shard", tmp_path / "out", "peft")


def test_an_export_for_peft_ends_with_how_vllm_loads_it(finished: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(finished), "--adapter", "shared", "--to", str(tmp_path / "out")])
    assert done.stdout.splitlines()[-1] == "vLLM loads it with: --enable-lora --max-lora-rank 8"


def test_an_export_for_llama_cpp_is_one_file_named_after_the_adapter(finished: Path, tmp_path: Path) -> None:
    options = ["--adapter", "shared", "--to", str(tmp_path / "out"), "--as", "gguf"]
    done = CliRunner().invoke(app, ["export", str(finished), *options], catch_exceptions=False)
    assert done.output.endswith(f"--lora {tmp_path / 'out' / 'shared.gguf'}\n")
    assert len(GGUFReader(tmp_path / "out" / "shared.gguf").tensors) == 2 * 2 * 7  # two layers of seven linear maps


@pytest.fixture
def strange(finished: Path, tmp_path: Path) -> RunFolder:
    """The finished run, as if its base were of a family that neither vLLM nor llama.cpp adapts."""
    GPTNeoXConfig().save_pretrained(tmp_path / "base")
    shutil.copytree(finished, tmp_path / "run")
    config = yaml.safe_load((finished / "config.yaml").read_text("utf-8"))
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({**config, "base": str(tmp_path / "base")}), "utf-8")
    return RunFolder(tmp_path / "run")


def test_a_family_that_llama_cpp_does_not_adapt_is_refused_and_nothing_is_left(strange: RunFolder) -> None:
    target = strange.path.parent / "out"
    with pytest.raises(ModelError, match="model type 'gpt_neox' cannot be converted"):
        export_adapter(strange, "shared", target, "gguf")
    assert {path.name for path in target.parent.iterdir()} == {"base", "run"}


def test_what_stands_against_vllm_does_not_stop_the_export(strange: RunFolder) -> None:
    target = strange.path.parent / "out"
    assert "'gpt_neox' is not known to take adapters" in export_adapter(strange, "shared", target, "peft")
    assert (target / "adapter_config.json").is_file()


def test_an_export_for_peft_needs_no_base(strange: RunFolder) -> None:
    shutil.rmtree(strange.path.parent / "base")
    target = strange.path.parent / "out"
    assert "is not known: base: no folder" in export_adapter(strange, "shared", target, "peft")
    assert (target / "adapter_config.json").is_file()
