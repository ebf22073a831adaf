"""An adapter leaves its run folder as PEFT's format or merged, and never over something else."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from multitune.cli.export import Form, export_adapter
from multitune.core.errors import InputError
from multitune.core.rundir import RunFolder


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 20)[None]).logits


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_both_forms_are_the_same_model(finished: Path, base_folder: Path, tmp_path: Path) -> None:
    export_adapter(RunFolder(finished), "shared", tmp_path / "peft", Form.PEFT)
    export_adapter(RunFolder(finished), "shared", tmp_path / "merged", Form.MERGED)
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    adapted = PeftModel.from_pretrained(base, tmp_path / "peft")
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), logits(adapted), atol=1e-4, rtol=1e-4
    )


def test_what_is_in_the_way_stays(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(InputError, match="Choose another folder"):
        export_adapter(RunFolder(finished), "shared", tmp_path, Form.PEFT)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_adapter_is_answered_with_those_there_are(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"Did you mean 'shared'\? All: colours, colours.residual, copy, copy.residual, shared"
    ):
        export_adapter(RunFolder(finished), "shard", tmp_path / "out", Form.PEFT)
