"""Arguments of `trl sft`, in YAML or on a command line, are what the run file says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.core.errors import ConfigError
from multitune.planning import check_run
from multitune.tasks.task import Task

COMMAND = """
# LoRA on two lines
trl sft --model_name_or_path BASE --dataset_name rows.jsonl \\
    --learning_rate 2.0e-4 --num_train_epochs 2 --packing --max_length=128 \\
    --per_device_train_batch_size 2 --gradient_accumulation_steps 4 --eos_token '<|im_end|>' \\
    --use_peft --lora_r 4 --lora_alpha 16 --lora_target_modules q_proj k_proj --output_dir out
"""
Write = Callable[[str, Callable[[int], dict[str, Any]]], Any]
Import = Callable[[str, str], Any]


def test_a_command_line_is_read(imported: Import, write: Write) -> None:
    write("rows.jsonl", lambda i: {"prompt": f"say w{i}", "completion": f"w{i}"})
    config, notes = imported("run.sh", COMMAND)
    assert (config.method, config.lora.rank, config.lora.targets) == ("lora", 4, ("q_proj", "k_proj"))
    train = config.train
    assert (train.epochs, train.batch_size, train.max_length, train.learning_rate) == (2.0, 8, 128, 2e-4)
    assert train.gradient_checkpointing and config.quantization is None
    assert sum(check_run(config).sets[0].rows.values()) == 60
    assert any(note.startswith("eos_token: no counterpart") for note in notes)


def test_a_config_that_a_command_line_names_comes_first(imported: Import, write: Write, tmp_path: Path) -> None:
    write("rows.jsonl", lambda i: {"prompt": f"say w{i}", "completion": f"w{i}"})
    (tmp_path / "sft.yaml").write_text("dataset_name: rows.jsonl\nnum_train_epochs: 9\nlearning_rate: 0.001\n")
    config, _ = imported("run.txt", "trl sft --config sft.yaml --model_name_or_path BASE --num_train_epochs 1")
    assert (config.train.epochs, config.train.learning_rate, config.method) == (1.0, 1e-3, "full")


def test_a_mixture_keeps_its_fractions(imported: Import, write: Write) -> None:
    for name in ("one", "two"):
        write(f"{name}.jsonl", lambda i: {"prompt": f"say w{i}", "completion": f"w{i}"})
    entries = "".join(f"- {{path: json, data_files: {n}.jsonl, fraction: {f}}}\n" for n, f in (("one", 3), ("two", 1)))
    text = f"model_name_or_path: BASE\nuse_peft: true\nassistant_only_loss: false\ndatasets:\n{entries}"
    config, notes = imported("sft.yaml", text.replace("assistant_only_loss: false", "completion_only_loss: true"))
    assert config.mixture.schedule == "fixed" and config.mixture.shares == {"one": 3.0, "two": 1.0}
    assert config.lora.targets == "attention" and any(note.startswith("lora_target_modules: PEFT's") for note in notes)


def test_conversations_are_read_by_their_columns(imported: Import, write: Write) -> None:
    asked, said = [{"role": "user", "content": "w1"}], [{"role": "assistant", "content": "w2"}]
    for name, row in (("a", {"messages": [*asked, *said]}), ("b", {"prompt": asked, "completion": said})):
        write(f"{name}.jsonl", lambda _, row=row: row)
        config, _ = imported("sft.yaml", f"model_name_or_path: BASE\ndataset_name: {name}.jsonl\nuse_peft: true")
        (example,) = Task(config.tasks[0]).examples([row])
        assert (example.prompt, example.answer) == ("w1", "w2")


def test_a_hub_set_whose_columns_are_not_known_says_so(imported: Import) -> None:
    text = "model_name_or_path: BASE\ndataset_name: org/rows\nuse_peft: true\neval_strategy: steps\n"
    config, notes = imported("sft.yaml", text)
    assert (config.tasks[0].data.hub, config.tasks[0].data.validation) == ("org/rows", "test")
    assert any("its columns are not known here" in note for note in notes)


def test_rows_without_an_answer_are_refused(imported: Import, write: Write) -> None:
    write("text.jsonl", lambda i: {"text": f"w{i}"})
    with pytest.raises(ConfigError, match="have text, but a row needs a prompt and an answer"):
        imported("sft.yaml", "model_name_or_path: BASE\ndataset_name: text.jsonl\nuse_peft: true")


def test_the_base_is_held_in_as_many_bits(imported: Import, write: Write) -> None:
    write("rows.jsonl", lambda i: {"prompt": f"say w{i}", "completion": f"w{i}"})
    text = "model_name_or_path: BASE\ndataset_name: rows.jsonl\nuse_peft: true\nload_in_4bit: true\n"
    config, notes = imported("sft.yaml", f"{text}bnb_4bit_quant_type: nf4\nuse_bnb_nested_quant: true\n")
    assert config.quantization == "nf4" and not any("bnb" in note or "bit" in note for note in notes)
