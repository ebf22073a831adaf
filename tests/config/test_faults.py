"""Each fault of a run file is one line with its place, its value and the remedy."""

from collections.abc import Callable

import pytest

from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError

Load = Callable[..., RunConfig]
Tasks = Callable[..., str]


def faults(load: Load, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    lines = str(caught.value).split("\n")
    assert all("run.yaml: " in line for line in lines)
    return [line.partition("run.yaml: ")[2] for line in lines]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("xyzzy: 1", "xyzzy is not a field. All: name, seed, seeds, base"),
        ("learning_rate: 1", "learning_rate is not a field here. It is `train.learning_rate`"),
        ("train: {rank: 8}", "train.rank is not a field here. It is `lora.rank`"),
        ("train: {seed: 8}", "train.seed is not a field here. It is `seed`"),
        ("datasets: [a]", "datasets is not a field. Here it is `tasks`: one entry per data set"),
        ("deepspeed: x.json", "deepspeed is not a field. It has no counterpart: a run is one process on one device"),
        ("load_in_4bit: true", "load_in_4bit is not a field. Here it is `quantization`: nf4 (4 bits, with double"),
        ("quantization: 4", "quantization is 4. Did you mean 'nf4'? All: nf4, int8"),
        ("quantization: nf4\nmethod: full", "quantization is 'nf4', but `method: full` trains the weights themselves"),
        ("lora: {r: 8}", "lora.r is not a field. Here it is `lora.rank`"),
        ("trian: {}", "trian is not a field. Did you mean 'train'? All: name, "),
        ("train: {epoch: 1}", "train.epoch is not a field. Did you mean 'epochs'? All: epochs, max_steps, "),
        ("mixture: {schedule: aneal}", "mixture.schedule is 'aneal'. Did you mean 'anneal'? All: round_robin, "),
        ("device: 3", "device is 3. All: auto, cpu, cuda, mps"),
        ("train: {epochs: -1}", "train.epochs is -1; it must be greater than 0"),
        ("evaluate: {confidence: 1}", "evaluate.confidence is 1; it must be less than 1"),
        ("train: {epochs: .inf}", "train.epochs is inf; it must be a finite number"),
        ("train: {epochs: three}", "train.epochs is 'three'; it must be a valid number"),
        ("train: {batch_size: 1.5}", "train.batch_size is 1.5; it must be a valid integer"),
        ("train:", "train is empty. Fill it or remove the line"),
        ("train: 3", "train is 3; it must be a mapping of fields"),
        ("base: 7", "base is 7; it must be text; put it in quotes"),
        ("system: true", "system is true; it must be text; put it in quotes"),
        ("name: a b", "name is 'a b'. Use at most 64 letters, digits, '.', '_' and '-'"),
        ("track: wandb", "track is 'wandb'; it must be a list"),
        ("adapters: shred", "adapters is 'shred'. Did you mean 'shared'? All: shared, per_task, residual, mixture"),
        ("adapters: {a: 1}", "adapters is {'a': 1}; it must be a list"),
        ("adapters: [shard]", "adapters[0] is 'shard'. Did you mean 'shared'? All: shared, per_task, residual"),
        ("adapters: [{name: x, tasks: a}]", "adapters[0].tasks is 'a'; it must be a list"),
        ("adapters: [{name: x, tasks: [a], general: 2}]", "adapters[0].general is 2; it must be less than 1"),
        ("adapters: 5", "adapters is 5. All: shared, per_task, residual, mixture"),
        ("adapters: [{name: x, tasks: []}]", "adapters[0].tasks is empty. Give at least 1"),
        ("adapters: [{nam: x, name: x, tasks: [a]}]", "adapters[0].nam is not a field. Did you mean 'name'?"),
        ("lora: {targets: atention}", "lora.targets is 'atention'. Did you mean 'attention'? All: all, attention"),
        ("lora: {targets: [1]}", "lora.targets[0] is 1; it must be text; put it in quotes"),
        ("mixture: {shares: {a: 0}}", "mixture.shares.a is 0; it must be greater than 0"),
        ("mixture: {shares: [a]}", "mixture.shares is ['a']; it must be a mapping of names"),
        ("1: 2", "[1] is a field's name, which must be text. Put it in quotes"),
    ],
)
def test_a_fault_is_one_line_with_its_remedy(load: Load, tasks: Tasks, text: str, fault: str) -> None:
    lines = faults(load, tasks("a") + text)
    assert len(lines) == 1 and lines[0].startswith(fault)


def test_a_run_without_tasks_says_so(load: Load) -> None:
    assert faults(load, "seed: 1") == ["tasks is missing. The tasks to learn."]


def test_an_empty_list_of_tasks_says_so(load: Load) -> None:
    assert faults(load, "tasks: []") == ["tasks is empty. Give at least 1"]


def test_all_faults_are_told_at_once(load: Load) -> None:
    lines = faults(
        load,
        "seed: -1\ntasks:\n- {name: a, kind: clasify, data: a, prompt: p, answer: 3, metrik: f1, labels: [1]}\n- 7\n",
    )
    assert [line.partition(" ")[0] for line in lines] == [
        "seed",
        "tasks[0].kind",
        "tasks[0].answer",
        "tasks[0].labels[0]",
        "tasks[0].metrik",
        "tasks[1]",
    ]


def test_the_fields_of_a_section_are_listed_once(load: Load, tasks: Tasks) -> None:
    lines = faults(load, tasks("a") + "x1: 1\nnmae: a\ntrain: {x2: 1, epoch: 1}")
    assert [line.partition("All: ")[2][:11] for line in lines] == ["epochs, max", "", "name, seed,", ""]
    assert lines[3] == "nmae is not a field. Did you mean 'name'?"


def test_a_config_of_another_tool_is_known_as_a_whole(load: Load) -> None:
    (line,) = faults(load, "base_model: a/b\ndatasets: []\nmicro_batch_size: 1\nlearning_rate: 0.1")
    assert line.startswith("this is a config of Axolotl. `multitune import ") and "run.yaml` makes a run file" in line


def test_an_override_by_another_tools_key_names_ours(load: Load, tasks: Tasks) -> None:
    with pytest.raises(
        ConfigError, match=r"--set num_epochs=3: 'num_epochs' is not a field. Here it is `train.epochs`"
    ):
        load(tasks("a"), "num_epochs=3")


def test_a_long_value_is_cut(load: Load, tasks: Tasks) -> None:
    (line,) = faults(load, tasks("a") + f"dtype: {'x' * 500}")
    assert "x…. All: auto, float32, bfloat16" in line and len(line) < 120


def test_each_line_of_a_validator_has_its_place(load: Load, tasks: Tasks) -> None:
    lines = faults(load, tasks("a", "a") + "train: {pack_tokens: 100}")
    assert [line.partition(" ")[0] for line in lines] == ["tasks:", "train.pack_tokens"]
