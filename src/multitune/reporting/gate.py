"""A new run or model against an old one on the rows that a run recorded: which tasks are worse beyond a margin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multitune.core.errors import InputError, suggest
from multitune.core.records import Prediction
from multitune.core.results.gate import Gate
from multitune.core.run_folder import RunFolder
from multitune.evaluation.gate import Gated, Side, gate_tasks
from multitune.evaluation.stats import BootstrapPlan
from multitune.reporting.answers import Answers, ScoredRun
from multitune.reporting.compare_runs import require_same_rows

Margin = float | Mapping[str, float]  # of all tasks; or task -> its own, with "" for all others
OTHERS = ""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A task's answers on both sides, with those of further trainings."""

    old: Answers
    new: Answers
    old_trainings: Sequence[Sequence[Prediction]]
    new_trainings: Sequence[Sequence[Prediction]]
    margin: float  # of the run file


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both sides, opened."""

    pairs: Mapping[str, _Pair]
    plan: BootstrapPlan
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def gate(
    old: Path | str,
    new: Path | str,
    *,
    margin: Margin | None = None,
    adapter: str | None = None,
    tasks: Sequence[str] = (),
    allow_missing: bool = False,
    model: str | None = None,
    key_env: str | None = None,
) -> Gate:
    """The verdict on each task; at least one side is a run.

    Args:
        old: a run; or a PEFT or model folder, a GGUF file, or the address of a server.
        new: likewise.
        margin: a loss of less than this counts as none; that of the new run's file when None.
        adapter: whose answers count in a run; what each task ships with when None.
        tasks: those to compare; all when empty.
        allow_missing: go on where the new run lacks tasks of the old one.
        model: as a server names it; the adapter's name when None.
        key_env: the environment variable that holds a server's key; see `open_endpoint`.

    Raises:
        InputError: the rows are not the same, tasks are missing, or a side cannot be opened or asked.
    """
    runs = [_run(old, "OLD"), _run(new, "NEW")]
    if runs[0] and runs[1]:
        sides = _two_runs(runs[0], runs[1], adapter, tasks, allow_missing)
    else:
        run, target, place = (runs[0], new, "NEW") if runs[0] else (runs[1], old, "OLD")
        if run is None:
            raise InputError(f"gate {old} {new}: neither is a run, whose record holds the rows. Give one run")
        sides = _with_target(run, str(target), place, adapter=adapter, tasks=tasks, model=model, key_env=key_env)
    require_same_rows(f"{old} and {new}", {task: (pair.old, pair.new) for task, pair in sides.pairs.items()})
    margins = _margins(margin, {task: pair.margin for task, pair in sides.pairs.items()})
    gated = {
        task: Gated(
            pair.old.metric,
            Side(pair.old.adapter, pair.old_trainings),
            Side(pair.new.adapter, pair.new_trainings),
            margins[task],
        )
        for task, pair in sides.pairs.items()
    }
    return Gate(
        old=str(old),
        new=str(new),
        split=next(iter(sides.pairs.values())).new.split,
        confidence=sides.plan.confidence,
        resamples=sides.plan.resamples,
        tasks=gate_tasks(gated, sides.plan),
        missing=sides.missing,
        added=sides.added,
    )


def _run(side: Path | str, place: str) -> RunFolder | None:
    """A run's folder; None for what is another kind of target."""
    if _is_address(side):
        return None
    folder = RunFolder(Path(side))
    if not folder.path.exists():
        raise InputError(
            f"{place} {side}: no such folder. Give a run, what `multitune export` made, or an http:// address"
        )
    return folder if folder.config.is_file() else None


def _is_address(side: Path | str) -> bool:
    return str(side).startswith(("http://", "https://"))


def _two_runs(
    old: RunFolder, new: RunFolder, adapter: str | None, tasks: Sequence[str], allow_missing: bool
) -> _Sides:
    one, other = ScoredRun(old), ScoredRun(new)
    _require_known(tasks, list(dict.fromkeys((*one.tasks, *other.tasks))))
    names = {run: [task for task in run.tasks if not tasks or task in tasks] for run in (one, other)}
    missing = tuple(task for task in names[one] if task not in names[other])
    if missing and not allow_missing:
        raise InputError(
            f"gate: {new.path} lacks {', '.join(missing)} of {old.path}. Give --allow-missing if that is meant, or "
            "name the tasks to compare with --task"
        )
    shared = [task for task in names[other] if task in names[one]]
    if not shared:
        raise InputError(f"gate: {old.path} and {new.path} have no task in common. Give runs of the same tasks")
    pairs: dict[str, _Pair] = {}
    for task in shared:
        a, b = one.answers(task, adapter), other.answers(task, adapter)
        margin = other.home(task).config.evaluate.margin
        pairs[task] = _Pair(a, b, one.trainings(task, a), other.trainings(task, b), margin)
    added = tuple(task for task in names[other] if task not in names[one])
    return _Sides(pairs, other.own.plan, missing, added)


def _with_target(
    run: RunFolder,
    target: str,
    place: str,
    *,
    adapter: str | None,
    tasks: Sequence[str],
    model: str | None,
    key_env: str | None,
) -> _Sides:
    """A run beside what was exported or is served, which answers every row now."""
    from multitune.deployment.target_answers import target_answers

    scored = ScoredRun(run)
    _require_known(tasks, scored.tasks)
    pairs: dict[str, _Pair] = {}
    answered = target_answers(run, target, place, adapter=adapter, tasks=tasks, model=model, key_env=key_env)
    for task, theirs in answered:
        name, split = task.item.name, task.split
        ours = Answers(task.adapter, scored.home(name).metric(name), split, list(task.ours))
        asked = Answers("served" if _is_address(target) else "exported", ours.metric, split, theirs)
        old, new = (ours, asked) if place == "NEW" else (asked, ours)
        pairs[name] = _Pair(old, new, [old.predictions], [new.predictions], task.run.config.evaluate.margin)
    return _Sides(pairs, scored.own.plan)


def _require_known(tasks: Sequence[str], known: Sequence[str]) -> None:
    for task in tasks:
        if task not in known:
            raise InputError(f"--task {task}: no such task. {suggest(task, known)}")


def _margins(given: Margin | None, of_run: Mapping[str, float]) -> dict[str, float]:
    """Task -> its margin: as given for it, as given for all, or that of the run file."""
    asked = given if isinstance(given, Mapping) else {} if given is None else {OTHERS: given}
    for task, margin in asked.items():
        if task != OTHERS and task not in of_run:
            raise InputError(f"--margin {task}={margin:g}: no such task is compared. {suggest(task, of_run)}")
        if not 0.0 < margin <= 1.0:
            name = f"{task}=" if task else ""
            raise InputError(f"--margin {name}{margin:g}: give a number above 0 and at most 1, such as 0.02")
    return {task: asked.get(task, asked.get(OTHERS, margin)) for task, margin in of_run.items()}
