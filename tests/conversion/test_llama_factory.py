"""What a config of LLaMA-Factory and its dataset_info.json say is what the run file says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.core.errors import ConfigError
from multitune.planning import check_run
from multitune.tasks.task import Task

CONFIG = """
model_name_or_path: BASE
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 4
lora_target: q_proj,v_proj
dataset: mine,talk
template: qwen3_nothink
cutoff_len: 128
max_samples: 50
output_dir: saves/x
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
val_size: 0.1
eval_strategy: steps
eval_steps: 5
report_to: none
"""
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
INFO = {
    "mine": {"file_name": "mine.json", "columns": {"prompt": "question", "response": "answer", "system": "rules"}},
    "talk": {"file_name": "talk.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": TAGS},
    "better": {"file_name": "better.json", "ranking": True},
    "plain": {"file_name": "mine.json", "columns": {"prompt": "question"}},
    "web": {"hf_hub_url": "org/web", "subset": "en", "split": "part"},
}
Write = Callable[[str, Callable[[int], dict[str, Any]]], Any]
Import = Callable[[str, str], Any]


@pytest.fixture(autouse=True)
def data(write: Write, tmp_path: Path) -> None:
    write("data/mine.json", lambda i: {"question": f"say w{i}", "answer": f"w{i}", "rules": "copy" if i % 2 else ""})
    turns = [{"role": "user"}, {"role": "assistant"}]
    write("data/talk.jsonl", lambda i: {"messages": [{**turn, "content": f"w{i}"} for turn in turns]})
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(INFO), "utf-8")


def test_settings_are_kept(imported: Import) -> None:
    config, notes = imported("factory.yaml", CONFIG)
    assert (config.lora.rank, config.lora.alpha, config.lora.targets) == (4, 8.0, ("q_proj", "v_proj"))
    train = config.train
    assert (train.batch_size, train.max_length, train.validate_every, train.learning_rate) == (16, 128, 5, 1e-4)
    assert (config.dtype, config.seed, config.tasks[0].limit.train) == ("bfloat16", 42, 50)
    assert any(note.startswith("template: no counterpart") for note in notes)
    assert any("rows longer than 128 tokens are left out" in note for note in notes)


def test_check_accepts_it_and_rows_read_as_they_should(imported: Import) -> None:
    config, _ = imported("factory.yaml", CONFIG)
    assert [one.name for one in check_run(config).sets] == ["mine", "talk"]
    mine = Task(config.tasks[0])
    rows = [
        {"question": "say w1", "answer": "w1", "rules": "copy"},
        {"question": "say w2", "answer": "w2", "rules": ""},
    ]
    assert [row.prompt for row in mine.questions(rows)] == ["copy\n\nsay w1", "say w2"]


def test_instruction_and_input_are_joined_as_there(imported: Import, write: Write, tmp_path: Path) -> None:
    write("data/plain.json", lambda i: {"instruction": "copy", "input": f"w{i}", "output": f"w{i}"})
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"plain": {"file_name": "plain.json"}}), "utf-8")
    config, _ = imported("factory.yaml", CONFIG.replace("mine,talk", "plain"))
    assert [row.prompt for row in Task(config.tasks[0]).questions([{"instruction": "copy", "input": "w1"}])] == [
        "copy\nw1"
    ]


def test_earlier_rounds_stand_in_the_prompt(imported: Import, tmp_path: Path) -> None:
    columns = {"prompt": "question", "response": "answer", "history": "before"}
    info = {"mine": {"file_name": "mine.json", "columns": columns}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    config, notes = imported("factory.yaml", CONFIG.replace("mine,talk", "mine"))
    rows = [{"question": "w3", "before": [["w1", "w2"]]}, {"question": "w3", "before": None}, {"question": "w3"}]
    assert [row.prompt for row in Task(config.tasks[0]).questions(rows)] == ["w1\nw2\n\nw3", "w3", "w3"]
    assert any("their answers carry no loss" in note for note in notes)


def test_probabilities_of_data_sets_become_shares(imported: Import) -> None:
    config, _ = imported("factory.yaml", CONFIG + "mix_strategy: interleave_under\ninterleave_probs: 0.7,0.3\n")
    assert config.mixture.schedule == "fixed" and config.mixture.shares == {"mine": 0.7, "talk": 0.3}


def test_rows_to_validate_on_are_kept(imported: Import, write: Write, tmp_path: Path) -> None:
    write("data/held.json", lambda i: {"question": f"copy w{i}", "answer": f"w{i}", "rules": ""})
    held = {**INFO, "held": {"file_name": "held.json"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(held), "utf-8")
    config, _ = imported("factory.yaml", CONFIG.replace("mine,talk", "mine") + "eval_dataset: held\n")
    assert str(config.tasks[0].data.validation).endswith("data/held.json")


def test_a_hub_set_stays_one(imported: Import) -> None:
    config, _ = imported("factory.yaml", CONFIG.replace("mine,talk", "web"))
    source = config.tasks[0].data
    assert (source.hub, source.config, source.train) == ("org/web", "en", "part")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("stage: sft", "stage: dpo", "stage is 'dpo'; a run is supervised fine-tuning"),
        ("mine,talk", "mime", r"no data set 'mime'. Did you mean 'mine'\?"),
        ("mine,talk", "plain", "'plain' names no column for response, but a row needs a prompt and an answer"),
        ("mine,talk", "better", "'better' holds preferences"),
        ("cutoff_len", "dataset_dir: nowhere\ncutoff_len", r"no dataset_info.json, .* Looked for .*nowhere"),
    ],
)
def test_what_cannot_be_converted_is_told(imported: Import, old: str, new: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        imported("factory.yaml", CONFIG.replace(old, new))


@pytest.mark.parametrize(
    ("lines", "quantization", "note"),
    [
        ("quantization_bit: 4\ndouble_quantization: true", "nf4", None),
        ("quantization_bit: 8\nquantization_method: bnb", "int8", None),
        ("quantization_bit: 4\nquantization_type: fp4", "nf4", "fp4: no counterpart, 4 bits are nf4"),
        (
            "quantization_bit: 2\nquantization_method: hqq",
            None,
            "2 bits: no counterpart, `quantization` is nf4 (4) or",
        ),
    ],
)
def test_bits_of_the_base_are_kept_where_there_are_such(
    imported: Import, lines: str, quantization: str | None, note: str | None
) -> None:
    config, notes = imported("factory.yaml", f"{CONFIG}{lines}\n")
    assert config.quantization == quantization
    assert note is None or any(line.startswith(note) for line in notes)
    assert any("bits: " in line for line in notes) == (quantization is None)


def test_a_whole_model_that_is_trained_keeps_all_its_bits(imported: Import) -> None:
    text = CONFIG.replace("finetuning_type: lora", "finetuning_type: full").replace("mine,talk", "mine")
    config, notes = imported("factory.yaml", f"{text}quantization_bit: 8\n")
    assert config.quantization is None
    assert any(line.startswith("8 bits: no counterpart, the whole model is trained") for line in notes)
