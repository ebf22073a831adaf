"""What a config of Axolotl says is what the run file says, and `check` accepts it."""

from collections.abc import Callable
from typing import Any

import pytest

from multitune.core.errors import ConfigError
from multitune.planning import check_run
from multitune.tasks.task import Task

CONFIG = """
base_model: BASE
model_type: LlamaForCausalLM
load_in_4bit: true
datasets:
  - path: alpaca.jsonl
    type: alpaca
  - path: chat.jsonl
    type: chat_template
  - path: json
    data_files: own.jsonl
    type:
      field_instruction: ask
      field_input: about
      field_output: reply
      format: "{instruction} about {input}"
      no_input_format: "{instruction}"
val_set_size: 0.2
output_dir: ./outputs/lora-out
adapter: qlora
lora_r: 4
lora_alpha: 16
lora_dropout: 0.05
lora_target_modules: [q_proj, v_proj]
sequence_len: 128
sample_packing: true
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 2
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 0.0003
bf16: true
gradient_checkpointing: true
warmup_ratio: 0.1
weight_decay: 0.01
deepspeed: zero2.json
logging_steps: 1
wandb_project:
seed: 7
"""
Write = Callable[[str, Callable[[int], dict[str, Any]]], Any]
Import = Callable[[str, str], Any]


@pytest.fixture
def data(write: Write) -> None:
    write("alpaca.jsonl", lambda i: {"instruction": f"copy w{i}", "input": "w1" if i % 2 else "", "output": f"w{i}"})
    write(
        "chat.jsonl",
        lambda i: {
            "messages": [
                {"role": "system", "content": "say"},
                {"role": "user", "content": f"w{i} w2"},
                {"role": "assistant", "content": f"w{i}"},
            ]
        },
    )
    write("own.jsonl", lambda i: {"ask": f"say w{i}", "about": "w3" if i % 2 else "", "reply": f"w{i}"})


@pytest.mark.usefixtures("data")
def test_settings_are_kept(imported: Import) -> None:
    config, _ = imported("axolotl.yml", CONFIG)
    assert (config.name, config.seed, config.method, config.dtype) == ("axolotl", 7, "lora", "bfloat16")
    assert config.quantization == "nf4"
    assert (config.lora.rank, config.lora.alpha, config.lora.targets) == (4, 16.0, ("q_proj", "v_proj"))
    train = config.train
    assert (train.epochs, train.batch_size, train.max_length, train.learning_rate) == (2.0, 8, 128, 3e-4)
    assert (train.warmup, train.weight_decay, train.loss, train.gradient_checkpointing) == (0.1, 0.01, "token", True)
    assert [task.split.validation for task in config.tasks] == [0.2] * 3
    assert (config.mixture.schedule, config.mixture.max_repeats) == ("proportional", None)


@pytest.mark.usefixtures("data")
def test_what_has_no_counterpart_is_named_with_what_to_do(imported: Import) -> None:
    _, notes = imported("axolotl.yml", CONFIG)
    for start in ("lora_dropout 0.05: no counterpart", "deepspeed: no counterpart"):
        assert any(note.startswith(start) for note in notes)
    assert any(note.startswith("sample_packing: not taken over; here it is `train.pack_tokens`") for note in notes)
    assert not any("wandb" in note or "seed" in note or "lora_r" in note for note in notes)


@pytest.mark.usefixtures("data")
def test_check_accepts_it_and_rows_read_as_they_should(imported: Import) -> None:
    config, _ = imported("axolotl.yml", CONFIG)
    assert [sum(one.rows.values()) for one in check_run(config).sets] == [60, 60, 60]
    alpaca, chat, own = map(Task, config.tasks)
    both, bare = {"instruction": "copy", "input": "w1", "output": "w2"}, {"instruction": "copy", "output": "w2"}
    assert [row.prompt for row in alpaca.questions([both, bare])] == ["copy\n\nw1", "copy"]
    asked = [{"role": "system", "content": "say"}, {"role": "user", "content": "w1"}]
    (example,) = chat.examples([{"messages": [*asked, {"role": "assistant", "content": "w2"}]}])
    assert (example.prompt, example.answer) == ("say\n\nw1", "w2")
    assert [row.prompt for row in own.questions([{"ask": "say", "about": "w3"}, {"ask": "say", "about": ""}])] == [
        "say about w3",
        "say",
    ]


def test_older_names_of_conversations_are_read(imported: Import, write: Write) -> None:
    turns = [("human", "w1"), ("gpt", "w2"), ("human", "w3"), ("gpt", "w4")]
    write("share.jsonl", lambda _: {"conversations": [{"from": who, "value": what} for who, what in turns]})
    config, _ = imported("a.yml", "base_model: BASE\ndatasets: [{path: share.jsonl, type: sharegpt}]\nadapter: lora")
    rows = [{"conversations": [{"from": who, "value": what} for who, what in turns]}]
    (example,) = Task(config.tasks[0]).examples(rows)
    assert (example.prompt, example.answer) == ("human: w1\n\ngpt: w2\n\nhuman: w3", "w4")


def test_segments_are_prompt_or_answer_by_their_label(imported: Import, write: Write) -> None:
    segments = [{"label": False, "text": "say w1 "}, {"label": True, "text": "w2"}]
    write("seg.jsonl", lambda _: {"segments": segments})
    config, _ = imported("a.yml", "base_model: BASE\ndatasets: [{path: seg.jsonl, type: input_output}]\nadapter: lora")
    (example,) = Task(config.tasks[0]).examples([{"segments": segments}])
    assert (example.prompt, example.answer) == ("say w1", "w2")


def test_a_format_of_ones_own_has_the_usual_columns_and_a_system_prompt(imported: Import, write: Write) -> None:
    write("rows.jsonl", lambda i: {"instruction": f"w{i}", "output": "w1"})
    entry = "{path: rows.jsonl, type: {system_prompt: Be brief., no_input_format: 'Q {instruction}'}}"
    config, _ = imported("a.yml", f"base_model: BASE\nadapter: lora\ndatasets: [{entry}]")
    rows = [{"instruction": "say", "input": "w1", "output": "w2"}, {"instruction": "say", "output": "w2"}]
    assert [row.prompt for row in Task(config.tasks[0]).questions(rows)] == [
        "Be brief.\n\nsay w1",
        "Be brief.\n\nQ say",
    ]
    entry = "{path: rows.jsonl, type: {field_system: rules}}"
    config, _ = imported("a.yml", f"base_model: BASE\nadapter: lora\ndatasets: [{entry}]")
    assert [row.prompt for row in Task(config.tasks[0]).questions([{**rows[1], "rules": "r"}, rows[1]])] == [
        "r\n\nsay",
        "say",
    ]


def test_a_pattern_of_layers_is_told(imported: Import, write: Write) -> None:
    write("rows.jsonl", lambda i: {"instruction": f"w{i}", "output": "w1"})
    text = "base_model: BASE\nadapter: lora\ndatasets: [{path: rows.jsonl, type: alpaca}]\n"
    config, notes = imported("a.yml", text + r"lora_target_modules: 'model.layers.[\d]+.(mlp|attn)'")
    assert config.lora.targets == "all" and any("names of layers are wanted" in note for note in notes)


def test_without_an_adapter_the_whole_model_is_trained(imported: Import, write: Write) -> None:
    write("rows.jsonl", lambda i: {"instruction": f"w{i}", "output": "w1"})
    config, _ = imported(
        "a.yml", "base_model: BASE\ndatasets: [{path: rows.jsonl, type: alpaca}]\nmicro_batch_size: 1"
    )
    assert (config.method, config.adapters) == ("full", "shared")


def test_a_hub_set_stays_one(imported: Import) -> None:
    text = "base_model: BASE\nadapter: lora\ndatasets: [{path: org/rows, type: alpaca, split: 'train[:9]', name: en}]"
    config, notes = imported("a.yml", text)
    source = config.tasks[0].data
    assert (source.hub, source.train, source.config) == ("org/rows", "train", "en")
    assert any("tasks.rows: taken whole" in note for note in notes)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("rl: dpo", "rl is set, but a run is supervised fine-tuning"),
        ("learning_rate: fast", "learning_rate is 'fast'; it must be a number"),
        ("val_set_size: some", "val_set_size is 'some'; it must be a share"),
        ("lora_r: 0", "lora.rank is 0; it must be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_converted_is_told(imported: Import, write: Write, line: str, fault: str) -> None:
    write("rows.jsonl", lambda i: {"instruction": f"w{i}", "output": "w1"})
    with pytest.raises(ConfigError, match=fault):
        imported("a.yml", f"base_model: BASE\nadapter: lora\ndatasets: [{{path: rows.jsonl, type: alpaca}}]\n{line}\n")


def test_a_type_without_an_answer_names_those_that_have_one(imported: Import) -> None:
    with pytest.raises(ConfigError, match=r"type 'completion' of rows has no counterpart: .*alpaca"):
        imported("a.yml", "base_model: BASE\ndatasets: [{path: rows.jsonl, type: completion}]\nadapter: lora")


@pytest.mark.parametrize(
    ("lines", "quantization"),
    [
        ("adapter: qlora", "nf4"),
        ("adapter: lora\nload_in_8bit: true\nload_in_4bit: false", "int8"),
        ("adapter: lora\nload_in_8bit: false", None),
    ],
)
def test_the_base_is_held_in_as_many_bits(
    imported: Import, write: Write, lines: str, quantization: str | None
) -> None:
    write("rows.jsonl", lambda i: {"instruction": f"w{i}", "output": "w1"})
    config, notes = imported("a.yml", f"base_model: BASE\ndatasets: [{{path: rows.jsonl, type: alpaca}}]\n{lines}\n")
    assert config.quantization == quantization and not any("bit" in note for note in notes)
