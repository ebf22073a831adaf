"""From a file and `--set` to a RunConfig and back, and the schema that editors read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.config.load import config_schema, dump_config, holds_config, load_config, parse_config, write_config
from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError

Load = Callable[..., RunConfig]
Tasks = Callable[..., str]

ROOT = Path(__file__).parent.parent.parent
RAW: dict[str, Any] = {
    "tasks": [{"name": "a", "kind": "classify", "data": "a.jsonl", "prompt": "p", "answer": "x", "limit": 5}]
}


def test_a_run_file_that_multitune_wrote_for_itself_may_not_be_changed_unawares(tmp_path: Path) -> None:
    config, file = parse_config(RAW, tmp_path), tmp_path / "config.yaml"
    write_config(file, config)
    assert load_config(file) == config and holds_config(file, config)
    file.write_text(file.read_text().replace("seed: 17", "seed: 18"))
    with pytest.raises(
        ConfigError, match=r"config\.yaml: it was changed .* delete its first line if it was on purpose"
    ):
        load_config(file)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    assert load_config(file).seed == 18 and not holds_config(file, config)


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_any_number_set_arrives_as_it_is(value: float) -> None:
    assert parse_config(RAW, ROOT, [f"train.learning_rate={value!r}"]).train.learning_rate == value


@given(st.integers(min_value=0))
def test_any_whole_number_set_arrives_as_it_is(value: int) -> None:
    assert parse_config(RAW, ROOT, [f"seed={value}"]).seed == value


@pytest.mark.parametrize("path", ["tasks.0", "tasks[0]", "tasks.a"])
def test_a_task_is_reached_by_place_or_by_name(path: str) -> None:
    assert parse_config(RAW, ROOT, [f"{path}.limit.test=7"]).tasks[0].limit.model_dump() == {
        "train": 5,
        "validation": None,
        "test": 7,
    }


def test_a_name_may_hold_dots(load: Load, tasks: Tasks) -> None:
    config = load(tasks("v1", "v1.5") + "mixture: {shares: {v1: 1}}", "tasks.v1.5.limit=3", "mixture.shares.v1.5=2")
    assert (config.tasks[1].limit.train, config.mixture.shares) == (3, {"v1": 1.0, "v1.5": 2.0})


def test_set_may_use_short_forms_and_whole_sections(load: Load, tasks: Tasks) -> None:
    config = load(tasks("a"), "tasks.a.limit=1e2", "lora={rank: 4, alpha: 8}", "track=[wandb]")
    assert (config.tasks[0].limit.train, config.lora.rank, config.track) == (100, 4, ("wandb",))


def test_the_last_set_wins(load: Load, tasks: Tasks) -> None:
    assert load(tasks("a") + "seed: 1", "seed=2", "seed=3").seed == 3


def test_set_reaches_into_what_a_template_brings(library: Path, load: Load) -> None:
    config = load("tasks: [{use: maths}]", "tasks.facts.data.revision=abc", "tasks.0.use=facts")
    assert (config.tasks[0].data.hub, config.tasks[0].data.revision) == ("example/facts", "abc")


def test_set_replaces_a_hub_id_by_a_file(load: Load, tasks: Tasks, tmp_path: Path) -> None:
    config = load(tasks("a").replace("a.jsonl", "org/set"), "tasks.a.data.train=b.csv")
    assert (config.tasks[0].data.hub, config.tasks[0].data.train) == (None, str(tmp_path / "b.csv"))


def test_set_changes_nothing_it_was_given() -> None:
    before = json.dumps(RAW)
    parse_config(RAW, ROOT, ["tasks.a.limit.train=9", "train.epochs=2"])
    assert json.dumps(RAW) == before


def test_set_on_one_alias_leaves_the_other(load: Load) -> None:
    text = """
tasks:
- &first {name: a, kind: generate, data: d.csv, prompt: p, answer: x, limit: {test: 4}}
- {<<: *first, name: b}
"""
    config = load(text, "tasks.a.limit.test=2")
    assert [task.limit.test for task in config.tasks] == [2, 4]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train.lerning_rate=1",
            r"--set train.lerning_rate=1: 'lerning_rate' is not a field. Did you mean 'learning_rate'",
        ),
        ("tain.epochs=1", r"'tain' is not a field. Did you mean 'train'"),
        ("tasks.tweet.limit=1", r"no item 'tweet'. Did you mean 'tweets'\? All: tweets"),
        ("tasks.3.limit=1", r"no item '3'. All: tweets"),
        ("tasks.tweets.limt=1", r"'limt' is not a field. Did you mean 'limit'"),
        ("adapters.0.steps=1", r"'mixture' has no part '0.steps'. Set the whole field"),
        ("seed", r"--set seed: write field=value, such as train.epochs=1"),
        ("=3", r"--set =3: write field=value"),
        (
            "tasks.tweets.limit={train:9,test:3}",
            r"'train:9' lacks the space .*Write 'tasks.tweets.limit={train: 9,test: 3}'",
        ),
        ("seed={", r"--set seed=\{ line 1, column 2: "),
        ("seed=soon", r"run.yaml: seed is 'soon'; it must be a valid integer"),
    ],
)
def test_a_wrong_set_is_told_with_the_nearest_name(load: Load, tasks: Tasks, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tasks("tweets") + "adapters: mixture", override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"run.yaml: empty. A run needs at least `tasks`"),
        ("# only a remark\n", r"run.yaml: empty"),
        ("- tasks\n", r"run.yaml: a list at the top level. A run is a mapping of fields"),
    ],
)
def test_a_file_without_fields_is_refused(load: Load, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(text)


def test_a_wrong_list_of_adapters_is_told_on_loading(load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match=r"run.yaml: adapters\[0\].tasks\[0\]: 'b' is not a task. All: a"):
        load(tasks("a") + "adapters: [{name: x, tasks: [b]}]")


def test_a_dumped_run_loads_as_an_equal_one(library: Path, load: Load, tasks: Tasks, tmp_path: Path) -> None:
    extra = """
general: [{use: maths, share: 0.1, prompt: "one\\n\\n  two: # {{ x }}\\n"}]
system: "yes"
mixture: {max_repeats: null}
adapters: [{name: x, tasks: [a], epochs: 1.e-1}]
lora: {targets: [q_proj]}
train: {learning_rate: 1e-5}
track: [mlflow]
"""
    config = load(tasks("a", "b") + extra)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.yaml").write_text(dump_config(config), "utf-8")
    assert load_config(tmp_path / "sub" / "config.yaml") == config


def test_a_dumped_run_needs_its_template_no_more(library: Path, load: Load) -> None:
    config = load("tasks: [{use: maths}]")
    (library / "maths.yaml").unlink()
    assert load(dump_config(config)) == config


def test_docs_hold_the_schema() -> None:
    written = json.loads((ROOT / "docs" / "schema.json").read_text("utf-8"))
    assert written == config_schema(), "run: python -m multitune.config.load > docs/schema.json"


def test_the_schema_takes_the_short_forms() -> None:
    fields = config_schema()["$defs"]["TaskConfig"]["properties"]
    assert {fields[name]["anyOf"][0]["type"] for name in ("data", "limit")} == {"string", "integer"}


def test_the_schema_asks_of_a_task_a_name_or_a_template_only() -> None:
    task = config_schema()["$defs"]["TaskConfig"]
    assert "required" not in task and task["anyOf"] == [{"required": ["name"]}, {"required": ["use"]}]


@pytest.mark.parametrize("section", config_schema()["$defs"])
def test_the_schema_describes_every_field(section: str) -> None:
    fields = config_schema()["$defs"][section]["properties"]
    assert [name for name, field in fields.items() if not field.get("description")] == []
