"""A tiny random base, two small tasks and general data, and one finished run of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner

from multitune.cli.main import app

WORDS = ["<pad>", "<end>", "\n", "say", "red", "blue", "copy", "general", *(f"w{i}" for i in range(40))]


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="\n"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture(scope="session")
def run_fields(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = tmp_path_factory.mktemp("data")
    colours = [{"text": f"w{i} w{(7 * i) % 40}", "label": ["red", "blue"][i % 2]} for i in range(40)]
    copies = [{"text": f"w{(3 * i) % 40} w{i}"} for i in range(40)]
    task = {"data": "", "prompt": "say {{ text }}", "answer": "{{ label }}", "kind": "classify"}
    copy = {**task, "name": "copy", "prompt": "copy {{ text }}", "answer": "{{ text }}", "kind": "generate"}
    general = {**copy, "name": "chat", "prompt": "general {{ text }}", "share": 0.2}
    return {
        "name": "tiny",
        "base": str(base_folder),
        "tasks": [
            {**task, "name": "colours", "data": write_rows(data / "colours.jsonl", colours)},
            {**copy, "data": write_rows(data / "copies.jsonl", copies)},
        ],
        "general": [{**general, "data": write_rows(data / "general.jsonl", copies)}],
        "lora": {"rank": 2, "alpha": 4},
        "train": {"epochs": 1, "batch_size": 16, "pack_tokens": 128, "max_length": 32},
        "evaluate": {"resamples": 100},
        "dtype": "float32",
        "device": "cpu",
    }


@pytest.fixture
def run_file(run_fields: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**run_fields, "output": str(tmp_path / "runs")}), "utf-8")
    return path


@pytest.fixture(scope="session")
def finished(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that `multitune train` finished; beside it stands what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({**run_fields, "output": str(folder / "runs")}), "utf-8")
    result = CliRunner().invoke(app, ["train", str(file)], catch_exceptions=False)
    (folder / "printed.txt").write_text(result.output, "utf-8")
    return folder / "runs" / "tiny"
