"""Short forms mean what their long forms say, and paths start at the file's folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import parse_config
from multitune.config.schema import AdapterConfig, RunConfig
from multitune.config.shorthand import expand_short_forms, locate, read_template
from multitune.config.source import LimitConfig, SourceConfig
from multitune.core.errors import ConfigError

Load = Callable[..., RunConfig]


def source(folder: Path, data: Any) -> SourceConfig:
    task = {"name": "a", "kind": "generate", "prompt": "p", "answer": "a", "data": data}
    return parse_config({"tasks": [task]}, folder).tasks[0].data


def test_a_string_is_the_train_source(tmp_path: Path) -> None:
    assert source(tmp_path, "a.jsonl") == source(tmp_path, {"train": "a.jsonl"})


@pytest.mark.parametrize("limit", [200, 2e2])
def test_a_number_is_the_limit_of_train(limit: float, tmp_path: Path) -> None:
    task = {"name": "a", "kind": "generate", "prompt": "p", "answer": "a", "data": "a.csv", "limit": limit}
    assert parse_config({"tasks": [task]}, tmp_path).tasks[0].limit == LimitConfig(train=200)


@pytest.mark.parametrize("path", ["a.jsonl", "sub/a.csv", "sub/a.jsonl.gz", "sub/*", "s/u/b"])
def test_a_relative_path_starts_at_the_folder(path: str, tmp_path: Path) -> None:
    assert source(tmp_path, path) == SourceConfig(train=str(tmp_path / path))


def test_a_path_is_written_without_its_way_up(tmp_path: Path) -> None:
    assert source(tmp_path / "sub", "../a.csv").train == str(tmp_path / "a.csv")


def test_all_three_splits_are_located(tmp_path: Path) -> None:
    splits = {"train": "a.csv", "validation": "b.csv", "test": "/c.csv"}
    assert source(tmp_path, splits) == SourceConfig(
        train=str(tmp_path / "a.csv"), validation=str(tmp_path / "b.csv"), test="/c.csv"
    )


def test_an_address_is_not_a_path(tmp_path: Path) -> None:
    assert source(tmp_path, "https://example.org/a.jsonl").train == "https://example.org/a.jsonl"


def test_org_slash_name_is_a_hub_id(tmp_path: Path) -> None:
    assert source(tmp_path, "org/set-1.0") == SourceConfig(hub="org/set-1.0", train="train")


def test_a_folder_of_that_name_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "org" / "set").mkdir(parents=True)
    assert source(tmp_path, "org/set") == SourceConfig(train=str(tmp_path / "org" / "set"))


def test_the_splits_of_a_hub_id_are_names(tmp_path: Path) -> None:
    data = {"train": "org/set", "test": "heldout", "config": "main"}
    assert source(tmp_path, data) == SourceConfig(hub="org/set", train="train", test="heldout", config="main")


@pytest.mark.parametrize(
    ("url", "located"),
    [
        ("sqlite:///a.db", "sqlite:///{}/a.db"),
        ("sqlite+pysqlite:///sub/a.db?mode=ro", "sqlite+pysqlite:///{}/sub/a.db?mode=ro"),
        ("sqlite:////var/a.db", "sqlite:////var/a.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("postgresql://host/base", "postgresql://host/base"),
    ],
)
def test_a_database_file_starts_at_the_folder(url: str, located: str, tmp_path: Path) -> None:
    read = source(tmp_path, {"sql": url, "train": "select 1"})
    assert read == SourceConfig(sql=located.format(tmp_path), train="select 1")


def test_a_template_gives_the_fields_and_the_name_of_a_task(library: Path, load: Load) -> None:
    task = load("tasks: [{use: maths}]").tasks[0]
    assert (task.name, task.kind, task.data.hub) == ("maths", "number", "example/sums")


def test_a_task_overrides_its_template(library: Path, load: Load) -> None:
    task = load("general: [{use: maths, name: sums, share: 0.1, metric: null}]\ntasks: [{use: facts}]").general[0]
    assert (task.name, task.metric, task.share, task.prompt) == ("sums", None, 0.1, "{{ question }}")


def test_data_replaces_the_source_of_a_template_entirely(library: Path, load: Load) -> None:
    task = load("tasks: [{use: maths, data: a.csv}]").tasks[0]
    assert task.data == SourceConfig(train=str(library.parent / "a.csv"))


def test_a_number_limits_whichever_split_of_a_retention_set_is_answered(library: Path, load: Load) -> None:
    (kept,) = load("tasks: [{use: facts}]\nretention: [{use: maths}]", "retention.maths.limit=9").retention
    assert kept.limit == LimitConfig(train=9, validation=9, test=9)


def test_a_path_in_a_template_starts_at_the_library(library: Path, load: Load) -> None:
    (library / "here.yaml").write_text("{kind: generate, prompt: p, answer: a, data: {train: here.csv}}", "utf-8")
    assert load("tasks: [{use: here}]").tasks[0].data.train == str(library / "here.csv")


def test_unknown_templates_are_told_at_once_with_the_nearest(library: Path, load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("tasks: [{use: math}]\ngeneral: [{use: 3}]\nretention: [{use: fact}]")
    assert [line.partition("run.yaml: ")[2] for line in str(caught.value).split("\n")] == [
        "tasks[0].use: 'math' is not a task template. Did you mean 'maths'? All: facts, maths",
        "general[0].use: '3' is not a task template. All: facts, maths",
        "retention[0].use: 'fact' is not a task template. Did you mean 'facts'? All: facts, maths",
    ]


def test_a_template_is_not_reached_by_a_path(library: Path) -> None:
    with pytest.raises(ConfigError, match="is not a task template"):
        read_template("../library/maths")


def test_written_out_forms_stay_as_they_are(library: Path, tmp_path: Path) -> None:
    raw = {"tasks": [{"use": "maths", "limit": 3}, {"name": "b", "data": "b.csv"}, {"name": "c", "data": "o/s"}]}
    once = locate(expand_short_forms(raw, "here"), tmp_path)
    assert locate(expand_short_forms(once, "here"), tmp_path / "elsewhere") == once


def test_output_starts_at_the_folder(load: Load, tasks: Callable[..., str], tmp_path: Path) -> None:
    assert load(tasks("a")).output == str(tmp_path / "runs")


@pytest.mark.parametrize(
    ("base", "located"),
    [
        ("org/model", "org/model"),
        ("smollm2-135m", "smollm2-135m"),
        ("model.gguf", "{}/model.gguf"),
        ("./absent", "{}/absent"),
        ("present", "{}/present"),
        ("/models/m", "/models/m"),
    ],
)
def test_only_a_base_that_is_a_path_starts_at_the_folder(
    base: str, located: str, load: Load, tasks: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "present").mkdir()
    (tmp_path / "smollm2-135m").mkdir()
    assert load(tasks("a") + f"base: {base}").base == located.format(tmp_path)


def test_an_adapter_that_names_no_task_learns_all(load: Load, tasks: Callable[..., str]) -> None:
    (adapter,) = load(tasks("a", "b") + "adapters: [{name: x, rank: 4}]").adapters
    assert adapter == AdapterConfig(name="x", tasks=("a", "b"), rank=4)


def test_a_list_of_shares_is_an_adapter_for_each(load: Load, tasks: Callable[..., str]) -> None:
    text = tasks("a", "b") + f"general: [{tasks('g')[8:-3]}, share: 0.1}}]\nadapters: [per_task, {{name: x}}]"
    sweep = load(text, "adapters.x.general=[0, 0.05, 0.125]").adapters
    assert sweep == (
        "per_task",
        AdapterConfig(name="x.general-0", tasks=("a", "b"), general=0.0),
        AdapterConfig(name="x.general-5", tasks=("a", "b"), general=0.05),
        AdapterConfig(name="x.general-12.5", tasks=("a", "b"), general=0.125),
    )


@pytest.mark.parametrize(
    ("general", "fault"),
    [
        ("[0.1]", "adapters[0].general is 0.1, but the run has no general data. Name some in `general`"),
        ("[2]", "adapters[0].general is 2; it must be less than 1"),
        ("[x]", "adapters[0].general is 'x'"),
        ("[0, 0]", "adapters[1].name is 'x.general-0', which names another adapter"),
        ("[]", "adapters[0].general is []"),
    ],
)
def test_a_faulty_list_of_shares_is_one_line(general: str, fault: str, load: Load, tasks: Callable[..., str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tasks("a") + f"adapters: [{{name: x, general: {general}}}]")
    assert "\n" not in str(caught.value) and fault in str(caught.value)
