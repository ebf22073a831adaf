"""Scores on perturbed rows against the scores on the same rows as they are."""

from collections.abc import Mapping, Sequence

from multitune.config.robustness import Perturbation
from multitune.core.events import Observe, unwatched
from multitune.core.results.events import ProgressEvent
from multitune.core.results.robustness import SIDES, Perturbed, TaskPerturbed
from multitune.core.results.scores import TransferRow
from multitune.evaluation.changed_rows import LEAST_ROWS, ChangedRow, changed_rows, why_unchangeable
from multitune.evaluation.perturbations import change_of, suits
from multitune.evaluation.probe import Probe, TaskRows
from multitune.evaluation.stats import BootstrapPlan
from multitune.evaluation.transfer import Arms, adjusted, measure, side


def plan_perturbed(
    tasks: Mapping[str, TaskRows], names: Sequence[Perturbation], seed: int
) -> tuple[dict[tuple[str, Perturbation], list[ChangedRow]], dict[str, str]]:
    """The rows to answer, by task and perturbation; and what is left out, with why."""
    planned: dict[tuple[str, Perturbation], list[ChangedRow]] = {}
    left_out: dict[str, str] = {}
    for task, of in tasks.items():
        if why := why_unchangeable(of.task):
            left_out[task] = why
            continue
        for name in names:
            if not suits(name, of.task.kind):
                left_out[f"{task}, {name}"] = f"has no meaning for kind {of.task.kind}, or may change its right answer"
                continue
            rows = changed_rows(of.task, of.examples, of.rows, change_of(name, of.task, seed))
            if len(rows) < LEAST_ROWS:
                left_out[f"{task}, {name}"] = f"changes {len(rows)} rows; {LEAST_ROWS} are needed"
            else:
                planned[task, name] = rows
    return planned, left_out


def measure_perturbed(
    probes: Mapping[str, Probe], names: Sequence[Perturbation], plan: BootstrapPlan, observe: Observe = unwatched
) -> Perturbed:
    """Let what each task ships with answer its perturbed rows; p adjusted over tasks and perturbations.

    Args:
        probes: task -> its rows, answers and model.
        names: of the perturbations.
        plan: resamples, confidence and seed.
        observe: gets the progress.

    Raises:
        MultituneError: see `LanguageModel`.
    """
    planned, left_out = plan_perturbed({name: probe.of for name, probe in probes.items()}, names, plan.seed)
    found: dict[tuple[str, Perturbation], TransferRow] = {}
    for number, ((task, name), changed) in enumerate(planned.items(), start=1):
        probe = probes[task]
        rows = probe.readable(changed)
        if len(rows) < LEAST_ROWS:
            left_out[f"{task}, {name}"] = f"{len(changed) - len(rows)} rows grow longer than the base reads"
            continue
        clean = [probe.answers.trainings[0][row.place] for row in rows]
        arms = Arms(alone=clean, together=probe.answer(probe.answers.adapter, rows))
        found[task, name] = measure(task, [arms], probe.of.task.metric, plan).row
        observe(ProgressEvent(what="tasks and perturbations", done=number, of=len(planned)))
    results = adjusted(list(found.values()), plan.confidence)
    return Perturbed(
        tasks=tuple(
            TaskPerturbed(
                task=task,
                adapter=probes[task].answers.adapter,
                perturbation=name,
                metric=row.metric,
                rows=row.examples,
                clean=row.before,
                perturbed=row.together,
                difference=row.difference,
                low=row.low,
                high=row.high,
                p=row.p,
                p_holm=row.p_holm,
                verdict=SIDES[side(row, row.p_holm, plan.confidence)],
            )
            for (task, name), row in zip(found, results, strict=True)
        ),
        left_out=left_out,
    )
