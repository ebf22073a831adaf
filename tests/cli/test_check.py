"""What `check` says of a run agrees with the run."""

import json
from pathlib import Path

import pytest

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.errors import MissingExtraError
from multitune.core.results.run import CheckReport
from multitune.data.tokenizer import ChatFormat
from multitune.model.demand import Work
from multitune.planning import check_run, work
from multitune.tasks.task import Task
from multitune.training.memory import step_costs
from multitune.training.prepare import prepare_run

LONG = "copy {{ text }}{% if text == 'w0 w0' %}{% for i in range(40) %} w1{% endfor %}{% endif %}"


@pytest.fixture
def report(run_file: Path) -> CheckReport:
    return check_run(load_config(run_file))


def test_the_steps_are_the_most_that_training_takes(report: CheckReport, finished: Path) -> None:
    events = [json.loads(line) for line in (finished / "events.jsonl").read_text("utf-8").splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    taken = {one.name: sum(one.name in e["adapters"] for e in steps) for one in report.adapters}
    assert all(taken[one.name] <= one.steps for one in report.adapters)  # to convergence some end before
    assert taken["shared"] == next(one.steps for one in report.adapters if one.name == "shared")


def test_the_executed_tokens_are_about_those_of_training(report: CheckReport, finished: Path) -> None:
    events = [json.loads(line) for line in (finished / "events.jsonl").read_text("utf-8").splitlines()]
    executed = sum(event["tokens"] for event in events if event["kind"] == "step")
    assert report.estimate.executed_tokens == pytest.approx(executed, rel=0.2)


def test_the_shares_of_every_moment_add_up_to_one(report: CheckReport) -> None:
    for adapter in report.adapters:
        moments = zip(*(one.shares for one in adapter.sets), strict=True)
        assert [sum(moment) for moment in moments] == pytest.approx([1.0, 1.0, 1.0])


def test_rows_that_are_too_long_are_counted(run_file: Path) -> None:
    report = check_run(load_config(run_file, [f'tasks.copy.prompt="{LONG}"']))
    copy = next(one for one in report.sets if one.name == "copy")
    assert (sum(copy.rows.values()), sum(copy.too_long.values())) == (39, 1)


def test_a_retention_set_is_counted_where_rows_are_scored_alone(run_file: Path, report: CheckReport) -> None:
    config = load_config(run_file, ["retention=[{use: arithmetic, limit: 30}]"])
    kept = check_run(config)
    assert kept.sets[-1].rows == {"train": 0, "validation": 0, "test": 30}
    assert kept.adapters == report.adapters
    with_it, without = worked(config), worked(load_config(run_file))
    assert with_it.scored_tokens > without.scored_tokens
    assert with_it.trained_tokens == without.trained_tokens


def test_rows_that_robustness_adds_are_counted(run_file: Path) -> None:
    prepared = prepare_run(load_config(run_file))
    costs = step_costs(prepared, prepared.config.train.pack_tokens)
    plain, more = (work(prepared, costs, answers) for answers in ({}, {"copy": 100}))
    assert more.scored_tokens > plain.scored_tokens and more.scored_passes > plain.scored_passes
    assert more.trained_tokens == plain.trained_tokens


def worked(config: RunConfig) -> Work:
    prepared = prepare_run(config)
    return work(prepared, step_costs(prepared, config.train.pack_tokens), {})


def test_a_setting_outside_its_range_is_a_warning(report: CheckReport) -> None:
    assert any(line.startswith("train.epochs is 1") for line in report.warnings)


def test_a_tracker_that_is_not_installed_is_found_before_the_data_is_read(run_file: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"track: needs trackio, .* pip install trackio"):
        check_run(load_config(run_file, ["track=[trackio]", "tasks.copy.data=nowhere.jsonl"]))


def test_the_data_tells_what_was_carved(report: CheckReport) -> None:
    assert any("carved from 40 rows" in line for line in report.notes)


def test_every_adapter_is_sized_by_its_own_rank(run_file: Path) -> None:
    lists = ("[{name: one, rank: 4}]", "[{name: one, rank: 4}, {name: two, rank: 12}]")
    one, both = (check_run(load_config(run_file, [f"adapters={adapters}"])).estimate for adapters in lists)
    assert both.trainable_parameters == 4 * one.trainable_parameters
    assert both.memory_bytes > one.memory_bytes


def test_a_second_check_of_the_same_files_renders_and_tokenises_nothing(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    first = check_run(load_config(run_file))
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.arrow")}
    assert {file.parent.name for file in made} == {"examples", "tokens"}

    def refuse(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(Task, "render", refuse)
    monkeypatch.setattr(ChatFormat, "encode_prompts", refuse)
    again = check_run(load_config(run_file, ["train.batch_size=3"]))
    assert again.sets == first.sets and again.notes == first.notes
    assert made == {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.arrow")}
