"""A study end to end on a tiny model: what it trains, that it resumes, and what its findings rest on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.config.study import StudyConfig
from multitune.core.errors import ConfigError, RunFolderError, StorageError, TrainingError
from multitune.core.locks import only_one
from multitune.core.predictions import read_predictions
from multitune.core.run_folder import StudyFolder
from multitune.study import jobs, runner
from multitune.study.grouping import Grouping
from multitune.study.plan import baselines, require_budget
from multitune.study.search import Board, guided, look_again
from multitune.study.study import open_runner, plan_report, run_study
from tests.conftest import unseal
from tests.study.conftest import TASKS, Study


def folder_of(study_folder: Path) -> StudyFolder:
    return StudyFolder(study_folder / "studies" / "study")


def studied(settings: StudyConfig, run: RunConfig) -> dict[str, Any]:
    """The findings, as findings.json holds them."""
    return run_study(settings, run).plain()


def trained_keys(folder: StudyFolder) -> set[str]:
    return {place.parent.name for place in folder.path.glob("arms/*/arm.json")}


def test_an_exhaustive_study_trains_every_combination_and_reports_what_was_measured(
    study: Study, study_folder: Path
) -> None:
    settings, run = study(search="exhaustive", groups={"start": ["first", "also_first"]})
    found = studied(settings, run)
    full = [arm for arm in found["arms"] if arm["budget"] in ("together", "equal_passes")]
    assert {tuple(arm["tasks"]) for arm in full} >= {
        ("first",), ("also_first",), ("last",), TASKS,
        ("first", "also_first"), ("first", "last"), ("also_first", "last"),
    }  # fmt: skip
    folder = folder_of(study_folder)
    by_key = {arm["key"]: arm for arm in found["arms"]}
    for key, arm in by_key.items():
        for task in arm["tasks"]:
            said = read_predictions(folder.arm(key) / "predictions" / f"{task}.validation.jsonl")
            assert arm["validation"][task]["score"] == pytest.approx(sum(p.score for p in said) / len(said))
    pair = next(arm for arm in full if arm["tasks"] == ["first", "last"])
    alone = next(arm for arm in full if arm["tasks"] == ["first"])
    points = 100 * (pair["validation"]["first"]["score"] - alone["validation"]["first"]["score"])
    assert found["helps"]["points"][0][2] == pytest.approx(points)
    assert found["synergy"]["groups"][0]["name"] == "start"
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert load_config(folder.recommended).adapters


def test_a_guided_study_trains_no_more_than_its_budget_and_recommends_only_what_it_trained(study: Study) -> None:
    settings, run = study(budget={"arms": 1})
    found = studied(settings, run)
    several = {tuple(arm["tasks"]) for arm in found["arms"] if len(arm["tasks"]) > 1}
    assert TASKS in several and len(several) <= 2
    trained = several | {(task,) for task in TASKS}
    assert {tuple(group) for group in found["recommended"]["groups"]} <= trained


@pytest.mark.parametrize("share", [0.95, 1.0, 1.4])
def test_a_guided_search_keeps_within_its_share(study: Study, share: float) -> None:
    settings, run = study()
    # Of three tasks the baselines are half of everything: only a copy, which is not checked, may go beyond the whole.
    settings = settings.model_copy(update={"budget": settings.budget.model_copy(update={"share": share})})
    runner = open_runner(settings, run)
    base = baselines(runner.planner)
    runner.train(base.arms)
    guided(runner, Board(TASKS), base, [])
    searched = [arm for arm in runner.asked.values() if arm not in (*base.arms, *base.repeats)]
    assert searched
    assert sum(map(runner.planner.tokens, searched)) <= require_budget(runner.planner)


def test_a_study_that_is_run_again_trains_nothing(
    study: Study, study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run = study()
    first = studied(settings, run)
    monkeypatch.setattr(jobs, "train_run", lambda *_, **__: pytest.fail("trained again"))
    left = next(study_folder.glob("**/arms")) / ".part-9999999-killed"
    left.write_text("half", "utf-8")
    again = studied(settings, run)
    assert not left.exists(), "what a killed write left is deleted"
    for part in ("arms", "recommended", "comparisons", "helps"):
        assert again[part] == first[part]


def test_an_arm_that_cannot_be_stored_is_one_clear_error(study: Study, study_folder: Path) -> None:
    settings, run = study()
    studied(settings, run)
    arms = next(study_folder.glob("**/arms"))
    folder = StudyFolder(arms.parent)
    arm = next(path for path in sorted(arms.iterdir()) if folder.adapter(path.name).is_dir())
    shutil.rmtree(arm)
    arm.write_text("in the way", "utf-8")
    with pytest.raises(StorageError, match=f"{arm.name}.* could not be written"):
        studied(settings, run)


def test_scores_of_an_arm_that_are_no_file_are_refused(study: Study, study_folder: Path) -> None:
    settings, run = study()
    studied(settings, run)
    scores = next(study_folder.glob("**/arms/*/validation.json"))
    scores.unlink()
    scores.mkdir()
    with pytest.raises(RunFolderError, match=r"validation\.json"):
        studied(settings, run)


def test_a_study_that_was_stopped_keeps_its_arms_and_ends_with_the_same_findings(
    study: Study, study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run = study(search="exhaustive", arms_at_once=2)
    whole = studied(settings, run)
    shutil.rmtree(study_folder / "studies")
    real, calls = jobs.train_run, 0

    def stops(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        real(*arguments, **options)
        if calls == 2:
            raise TrainingError("the power went out")

    monkeypatch.setattr(jobs, "train_run", stops)
    with pytest.raises(TrainingError):
        studied(settings, run)
    kept = trained_keys(folder_of(study_folder))
    stamps = {key: (folder_of(study_folder).arm(key) / "arm.json").stat().st_mtime_ns for key in kept}
    assert kept
    monkeypatch.setattr(jobs, "train_run", real)
    again = studied(settings, run)
    assert stamps == {key: (folder_of(study_folder).arm(key) / "arm.json").stat().st_mtime_ns for key in kept}
    for before, after in zip(whole["arms"], again["arms"], strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}
    assert whole["recommended"] == again["recommended"]
    assert not list(folder_of(study_folder).jobs.iterdir())


def test_a_study_that_was_killed_between_two_arms_of_a_job_ends_with_the_same_bits(
    study: Study, study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights() -> dict[str, bytes]:
        folder = folder_of(study_folder)
        files = [folder.adapter(key) / "adapter_model.safetensors" for key in trained_keys(folder)]
        return {file.parent.parent.name: file.read_bytes() for file in files if file.is_file()}

    settings, run = study(search="exhaustive", arms_at_once=4)
    studied(settings, run)
    whole = weights()
    shutil.rmtree(study_folder / "studies")
    real, stored = runner.store_result, list[str]()

    def stops(folder: StudyFolder, result: Any, *rest: Any) -> None:
        if result.arm.steps and stored:
            raise TrainingError("the power went out")
        real(folder, result, *rest)
        stored.extend([result.key] if result.arm.steps else [])

    with monkeypatch.context() as context:
        context.setattr(runner, "store_result", stops)
        with pytest.raises(TrainingError):
            studied(settings, run)
    assert weights().keys() == {*stored}, "one arm is kept, the others of its job are not"
    studied(settings, run)
    assert weights() == whole
    assert not list(folder_of(study_folder).jobs.iterdir())


def test_a_second_process_is_kept_out_of_a_study_that_is_under_way(study: Study, study_folder: Path) -> None:
    settings, run = study()
    with only_one(folder_of(study_folder).lock), pytest.raises(RunFolderError, match="another process is at work"):
        studied(settings, run)
    assert not trained_keys(folder_of(study_folder))


def test_what_a_killed_removal_left_of_a_job_goes_with_the_end_of_the_study(study: Study, study_folder: Path) -> None:
    settings, run = study()
    findings = studied(settings, run)
    left = folder_of(study_folder).jobs / "job-0123456789ab" / "adapters" / "shared"
    left.mkdir(parents=True)
    (left / "adapter_config.json").write_text("{}")
    assert studied(settings, run)["recommended"] == findings["recommended"]
    assert not list(folder_of(study_folder).jobs.iterdir())


def test_a_job_that_another_version_began_is_begun_again(study: Study, study_folder: Path) -> None:
    settings, run = study()
    whole = studied(settings, run)
    shutil.rmtree(study_folder / "studies")
    runner = open_runner(settings, run)
    arm = runner.planner.arm(TASKS)
    job = jobs.StudyJob({runner.key(arm): arm}, runner.folder.jobs / jobs.job_name([runner.key(arm)]))
    jobs.train_job(runner.prepared, job)
    config = unseal(job.folder) / "config.yaml"
    config.write_text(config.read_text().replace("outside_cost: 0.1", "outside_cost: 0.2"))
    runner.train([arm])
    before = next(one for one in whole["arms"] if one["key"] == runner.key(arm))
    assert runner.record(arm).plain()["validation"] == before["validation"]


def test_a_study_that_grows_by_a_task_keeps_the_arms_of_the_others(study: Study, study_folder: Path) -> None:
    settings, run = study(search="exhaustive")
    two = run.model_copy(update={"tasks": run.tasks[:2]})
    run_study(settings, two)
    before = trained_keys(folder_of(study_folder))
    studied(settings, run)
    assert before < trained_keys(folder_of(study_folder))
    runner = open_runner(settings, run)
    assert runner.key(runner.planner.arm(TASKS[:2])) in before


def test_changed_data_stops_a_half_finished_study_and_keeps_its_arms(study: Study, study_folder: Path) -> None:
    settings, run = study()
    studied(settings, run)
    before = trained_keys(folder_of(study_folder))
    file = study_folder / "last.train.jsonl"
    file.write_text(file.read_text() + '{"text": "w1 w2 w3 w4", "said": "red"}\n')
    with pytest.raises(RunFolderError, match=r"rows of 'last' changed .* finished arms are kept"):
        studied(settings, run)
    assert trained_keys(folder_of(study_folder)) == before


def test_a_key_follows_what_an_arm_learns_from_and_nothing_else(study: Study) -> None:
    settings, run = study()
    runner = open_runner(settings, run)
    arm = runner.planner.arm(("first", "last"))
    key = runner.key(arm)
    others = [replace(arm, seed=1), replace(arm, steps=arm.steps + 1), replace(arm, schedule="sqrt")]
    others.append(runner.planner.arm(("first", "also_first")))
    assert len({key, *map(runner.key, others)}) == 5
    elsewhere = settings.model_copy(update={"name": "other"}), run.model_copy(update={"name": "other", "track": ()})
    assert open_runner(*elsewhere).key(arm) == key
    slower = run.model_copy(update={"train": run.train.model_copy(update={"learning_rate": 0.02})})
    assert open_runner(settings, slower).key(arm) != key


def test_a_plan_counts_the_tokens_that_training_then_draws(study: Study) -> None:
    settings, run = study(search="exhaustive")
    plan = plan_report(settings, run)
    found = studied(settings, run)
    drawn = sum(arm["tokens"] for arm in found["arms"])
    assert sum(part.tokens for part in plan.parts) == pytest.approx(drawn)
    assert found["cost"]["measured_share"] == pytest.approx(1.0, rel=0.05)
    assert plan.combinations == 7


def test_a_plan_without_a_budget_counts_what_the_search_then_trains(study: Study) -> None:
    settings, run = study()
    plan = plan_report(settings, run)
    found = studied(settings, run)
    (search,) = [part for part in plan.parts if part.what == "the search, at most"]
    pairs = [arm["tokens"] for arm in found["arms"] if len(arm["tasks"]) == 2]
    assert (search.arms, len(pairs)) == (3, 3) and search.tokens == pytest.approx(sum(pairs))


def test_several_seeds_and_schedules_are_compared_on_test_rows(study: Study) -> None:
    settings, run = study(
        seeds=[3, 4], schedules=["proportional", "round_robin"], alone=["equal_passes", "equal_steps"]
    )
    found = studied(settings, run)
    assert [variant["schedule"] for variant in found["variants"]] == ["proportional", "round_robin"]
    assert found["variants"][0]["seeds"] == [3, 4] and found["reported"] == "test"
    table = found["comparisons"]["all together against equal_passes"]
    for row in table["tasks"]:
        arms = [arm for arm in found["arms"] if arm["tasks"] == [row["task"]] and arm["budget"] == "equal_passes"]
        assert {arm["seed"] for arm in arms} == {3, 4}
        assert row["group"] == list(TASKS)
        assert row["alone"] == pytest.approx(sum(arm["test"][row["task"]]["score"] for arm in arms) / 2)


def test_gains_are_measured_from_the_mean_of_a_task_alone_over_the_seeds(study: Study) -> None:
    settings, run = study(search="listed", combinations=[["first", "last"]], seeds=[3, 4, 5])
    found = studied(settings, run)
    alone = [arm for arm in found["arms"] if arm["tasks"] == ["first"] and arm["budget"] == "equal_passes"]
    pair = next(arm for arm in found["arms"] if arm["tasks"] == ["first", "last"] and arm["seed"] == 3)
    scores = {arm["seed"]: arm["validation"]["first"]["score"] for arm in alone}
    assert set(scores) == {3, 4, 5}
    helps = found["helps"]
    points = 100 * (pair["validation"]["first"]["score"] - sum(scores.values()) / 3)
    assert helps["points"][0][2] == pytest.approx(points)
    assert helps["low"][0][2] <= points + 1e-9 and points - 1e-9 <= helps["high"][0][2]


def test_what_one_seed_chose_is_chosen_again_by_the_others(study: Study) -> None:
    settings, run = study(seeds=[3, 4, 5], worth=0.0)
    runner = open_runner(settings, run)
    base = baselines(runner.planner)
    runner.train([*base.arms, *base.repeats])
    board = Board(TASKS)
    pair = ("first", "last")
    choice = Grouping((board.row(pair),), (board.row(pair),) * len(TASKS), gain=1.0)
    again = look_again(runner, board, base, choice)

    def loss(task: str, group: tuple[str, ...]) -> float:
        alone = group == (task,)
        arms = base.alone_on(task) if alone else [runner.planner.arm(group, seed) for seed in (4, 5)]
        return sum(runner.record(arm).validation[task].loss for arm in arms) / len(arms)

    for task, row in zip(TASKS, again.serves, strict=True):
        candidates = [group for group in ((task,), pair, TASKS) if task in group]
        assert board.combination(row) == min(candidates, key=lambda group: loss(task, group))
    one = settings.model_copy(update={"seeds": (3,)})
    assert look_again(open_runner(one, run), board, base, choice) is choice


def test_a_task_that_as_many_steps_alone_serve_better_is_recommended_so(study: Study, study_folder: Path) -> None:
    settings, run = study(alone=["equal_passes", "equal_steps"], worth=0.0)
    found = studied(settings, run)
    longer = found["recommended"]["longer_alone"]
    assert longer, "one step alone teaches less than three"
    for budget in ("equal_passes", "equal_steps"):
        total = found["comparisons"][f"recommended against {budget}"]["summary"]
        assert f"{total['mean_points']:+.1f} points [{total['points_low']:+.1f}, " in found["sentence"]
        assert f"] at {budget.replace('_', ' ')}" in found["sentence"]
    losses = {(tuple(arm["tasks"]), arm["steps"]): arm["validation"] for arm in found["arms"]}
    trained = {(one.tasks, one.steps) for one in load_config(folder_of(study_folder).recommended).adapters}
    planner = open_runner(settings, run).planner
    for task in TASKS:
        group = found["recommended"]["tasks"][task]["group"]
        served = planner.arm(group)
        together, alone = (
            losses[key][task]["loss"] for key in ((served.tasks, served.steps), ((task,), served.steps))
        )
        assert (alone <= together and len(group) > 1) == (task in longer)
        assert ((task,), longer[task]) in trained if task in longer else (served.tasks, served.steps) in trained


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"combinations": [["first", "lost"]]}, r"combinations\[0\]: 'lost' is not a task. Did you mean 'last'"),
        ({"groups": {"x": ["first", "first"]}}, r"groups.x: 'first' is listed twice"),
        ({"general": [0.1]}, "no general sets"),
        ({"search": "listed"}, "needs at least one"),
        ({"rungs": ["proxy_runs"]}, r"rungs was removed: no predictor .* Remove the line"),
        ({"serach": "guided"}, "Did you mean 'search'"),
        ({"set": {"train.epochz": 2}}, "not a field"),
    ],
)
def test_a_study_file_with_a_fault_is_refused(study: Study, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(**changes)


def test_a_study_of_one_task_is_refused(study: Study, study_folder: Path) -> None:
    raw = yaml.safe_load((study_folder / "run.yaml").read_text())
    (study_folder / "run.yaml").write_text(yaml.safe_dump({**raw, "tasks": raw["tasks"][:1]}), "utf-8")
    with pytest.raises(ConfigError, match=r"has one task \(first\); a study compares combinations"):
        study()


def test_a_budget_below_the_baselines_is_refused_before_anything_is_trained(study: Study, study_folder: Path) -> None:
    settings, run = study(budget={"share": 0.1})
    with pytest.raises(ConfigError, match=r"budget.share is 10% .* baselines .* take"):
        studied(settings, run)
