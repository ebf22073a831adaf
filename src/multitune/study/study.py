"""A study from its file to its findings: baselines, a search among combinations, the proof on test."""

from collections.abc import Mapping
from itertools import chain, islice
from pathlib import Path

import numpy as np

from multitune.config.load import dump_config
from multitune.config.schema import RunConfig
from multitune.config.study import StudyConfig
from multitune.config.text import write_yaml
from multitune.core.errors import ConfigError
from multitune.core.events import Observe, unwatched
from multitune.core.files import write_text
from multitune.core.locks import only_one
from multitune.core.records import Split
from multitune.core.results.events import PhaseEvent
from multitune.core.results.run import DataRecord
from multitune.core.results.study import Findings, PlannedPart, StudyCost, StudyPlan, Variant
from multitune.core.run_folder import StudyFolder
from multitune.core.seals import sealed_yaml
from multitune.core.versions import versions
from multitune.study.arms import Arm, require_same_data
from multitune.study.executors import Executor, LocalExecutor
from multitune.study.findings import Outcome, compared, gather, longer_alone
from multitune.study.grouping import best_grouping
from multitune.study.jobs import clear_jobs, mean_tokens
from multitune.study.plan import (
    Baselines,
    Planner,
    SetSize,
    baselines,
    finalists,
    most_arms,
    require_budget,
    searched,
    serving,
    variants,
)
from multitune.study.runner import StudyRunner
from multitune.study.search import Board, chosen_by, gains_over_alone, guided, largest_first, look_again
from multitune.training.prepare import PreparedRun, prepare_run

MOST_TASKS = 20  # whose combinations can all be kept in a table


def run_study(
    study: StudyConfig, run: RunConfig, executor: Executor | None = None, observe: Observe = unwatched
) -> Findings:
    """Train what is missing, and write down what was found; the same call goes on after a kill.

    Args:
        study: of `load_study`.
        run: the same.
        executor: who trains; this process when None.
        observe: gets every event.

    Raises:
        InputError: the study does not fit its data or its budget, the data changed since it began, or another
            process is at work in its folder.
        TrainingError, StorageError, Interrupted: finished arms are kept.
    """
    with only_one(study_folder(study).lock):
        return _studied(open_runner(study, run, executor, observe))


def _studied(runner: StudyRunner) -> Findings:
    study = runner.planner.study
    base = baselines(runner.planner)
    chosen = searched(runner.planner)
    runner.train([*base.arms, *base.repeats, *chosen])
    board = Board(runner.planner.tasks)
    full = [arm for arm in dict.fromkeys([*chosen, base.together]) if arm == runner.planner.arm(arm.tasks)]
    if study.search == "guided":
        full = guided(runner, board, base, full)
    first = best_grouping(gains_over_alone(runner, board, full, base, chosen_by(runner)), study.worth)
    searched_arms = {key: arm for key, arm in runner.asked.items() if arm not in base.repeats}
    outcome = Outcome(base, full, board, look_again(runner, board, base, first))
    split: Split = "test" if study.test else "validation"
    last, extra = finalists(runner.planner, outcome.serves), variants(runner.planner)
    runner.train([*last, *extra])
    runner.answer([*base.base, *last, *extra], split)
    longer = longer_alone(runner, outcome)
    gathered = gather(runner, outcome, longer, split)
    varied = tuple(_variants(runner, base, extra, split))
    findings = gathered.model_copy(update={"variants": varied, "cost": _cost(runner, base, searched_arms)})
    findings.write(runner.folder.findings)
    write_text(runner.folder.recommended, dump_config(recommended_run(runner, outcome, longer)))
    clear_jobs(runner.folder.jobs)
    return findings


def study_folder(study: StudyConfig) -> StudyFolder:
    """Where a study is kept."""
    return StudyFolder((Path(study.output) / study.name).absolute())


def open_runner(
    study: StudyConfig, run: RunConfig, executor: Executor | None = None, observe: Observe = unwatched
) -> StudyRunner:
    """Read the data, and begin the study's folder or find what it holds.

    Raises:
        InputError: too many tasks, or the rows changed since the study began.
    """
    if len(run.tasks) > MOST_TASKS:
        raise ConfigError(
            f"run: {study.run} has {len(run.tasks)} tasks; combinations of at most {MOST_TASKS} can be searched. "
            "Leave some out, or join those that are alike"
        )
    observe(PhaseEvent(name="prepare"))
    prepared = prepare_run(_without_what_a_study_sets(run))
    folder = study_folder(study)
    record = prepared.data_record()
    require_same_data(folder, record)
    resolved = {"study": study.model_dump(mode="json"), "run": run.model_dump(mode="json")}
    write_text(folder.config, sealed_yaml(write_yaml(resolved)))
    versions().write(folder.versions)
    before = DataRecord.read(folder.data).sets if folder.data.is_file() else {}
    DataRecord(sets={**before, **record.sets}).write(folder.data)
    planner = Planner(study, prepared.config, set_sizes(prepared))
    return StudyRunner(prepared, planner, folder, executor or LocalExecutor(observe), observe)


def set_sizes(prepared: PreparedRun) -> dict[str, SetSize]:
    """Rows and mean tokens of every task and general set."""
    rows = {name: len(item.tokens["train"]) for name, item in prepared.tasks.items()}
    return {name: SetSize(n, mean_tokens(prepared, name)) for name, n in rows.items()}


def plan_report(study: StudyConfig, run: RunConfig) -> StudyPlan:
    """What a study would train, without training: arms and tokens by purpose, against all combinations.

    Raises:
        InputError: the study does not fit its data or its budget.
    """
    prepared = prepare_run(_without_what_a_study_sets(run))
    planner = Planner(study, prepared.config, set_sizes(prepared))
    base = baselines(planner)
    left = require_budget(planner) if study.search == "guided" else 0.0
    parts: list[tuple[str, list[Arm]]] = [
        ("each task alone, equal passes", list(base.alone)),
        ("all together", [base.together]),
        ("combinations", [arm for arm in searched(planner) if arm != base.together]),
        ("schedules, seeds, general data", variants(planner)),
        (
            "the proof: all together, alone, at each budget and seed",
            finalists(planner, dict.fromkeys(planner.tasks, planner.tasks)),
        ),
    ]
    seen: set[Arm] = set()
    rows: list[PlannedPart] = []
    for name, arms in parts:
        fresh = [arm for arm in dict.fromkeys(arms) if arm not in seen]
        seen |= set(fresh)
        rows.append(PlannedPart(what=name, arms=len(fresh), tokens=sum(planner.tokens(arm) for arm in fresh)))
    combinations = 2 ** len(planner.tasks) - 1
    if study.search == "guided":
        rows.insert(3, _planned_search(planner, left))
    return StudyPlan(
        study=study.name,
        tasks={task: planner.sizes[task].rows for task in planner.tasks},
        parts=tuple(rows),
        arms_at_once=study.arms_at_once,
        combinations=combinations,
        everything_tokens=planner.everything(),
    )


def _planned_search(planner: Planner, left: float) -> PlannedPart:
    """What a guided search trains at most: tokens of its share, else of as many of the largest combinations."""
    most, what = most_arms(planner), "the search, at most"
    arms = int(most) if np.isfinite(most) else None
    tokens = left if np.isfinite(left) else None
    if arms is not None and tokens is None:
        groups = chain.from_iterable(largest_first(planner.tasks, dict.fromkeys(planner.tasks, 0.0)))
        tokens = sum(planner.tokens(planner.arm(group)) for group in islice(groups, arms))
    return PlannedPart(what=what, arms=arms, tokens=tokens)


def _without_what_a_study_sets(run: RunConfig) -> RunConfig:
    """The run that a study varies: adapters, seeds and budgets are those of its arms, whose lengths are fixed."""
    train = run.train.model_copy(update={"alone": "equal_passes"})
    return run.model_copy(update={"retention": (), "adapters": "shared", "seeds": 1, "train": train})


def recommended_run(runner: StudyRunner, outcome: Outcome, longer: Mapping[str, Arm]) -> RunConfig:
    """The run that trains what serves each task best, with the arms' own budgets, seeds and schedules."""
    planner = runner.planner
    seed = planner.study.seeds[0]
    kept = {group for task, group in outcome.serves.items() if task not in longer}
    arms = [*(serving(planner, group[0], group, seed) for group in outcome.groups if group in kept), *longer.values()]
    adapters = [arm.adapter("-".join(arm.tasks)[:60]) for arm in arms]
    name = f"{planner.study.name}-recommended"
    return runner.prepared.config.model_copy(update={"name": name, "adapters": tuple(adapters)})


def _variants(runner: StudyRunner, base: Baselines, arms: list[Arm], split: Split) -> list[Variant]:
    """All tasks together under each schedule and share of general data, over the seeds, against each task alone."""
    planner = runner.planner
    kinds: dict[tuple[str, float], list[Arm]] = {}
    for arm in arms:
        kinds.setdefault((arm.schedule, arm.general), []).append(arm)
    found: list[Variant] = []
    for (schedule, general), seeds in kinds.items():
        plain = [planner.arm(planner.tasks, arm.seed) for arm in seeds]  # as the finalists train it
        pairs = {
            task: [
                (planner.alone(task, planner.study.alone[0], like), arm)
                for like, arm in zip(plain, seeds, strict=True)
            ]
            for task in planner.tasks
        }
        validation = [np.mean([one.score for one in runner.record(arm).validation.values()]) for arm in seeds]
        found.append(
            Variant(
                **dict(compared(runner, pairs, base, split)),
                schedule=schedule,
                general=general,
                seeds=tuple(arm.seed for arm in seeds),
                validation=float(np.mean(validation)),
            )
        )
    return found


def _cost(runner: StudyRunner, base: Baselines, arms: Mapping[str, Arm]) -> StudyCost:
    """What the search took, against training every combination once."""
    planner = runner.planner
    records = [runner.record(arm) for arm in arms.values() if arm.steps]
    tokens, seconds = sum(r.tokens for r in records), sum(r.seconds for r in records)
    everything = planner.everything()
    whole = everything * seconds / tokens
    every = [runner.record(arm).tokens for arm in arms.values() if arm in (planner.arm(arm.tasks), *base.alone)]
    return StudyCost(
        spent_tokens=tokens,
        spent_seconds=seconds,
        everything_tokens=everything,
        everything_seconds=whole,
        ratio=whole / seconds,
        measured_share=sum(every) / everything,
    )
