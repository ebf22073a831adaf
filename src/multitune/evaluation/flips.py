"""Counterfactual flips: how many answers change where two groups of people change places in a row's text.

Garg et al. 2019, arXiv:1809.10610, call the ideal counterfactual token fairness. Where a task asks about the group
itself, a changed answer is right: a rate is for a person to judge.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from multitune.audit.personal_data import excerpt
from multitune.audit.statistics import wilson
from multitune.audit.swaps import PAIRS, swap
from multitune.core.bases import BASE
from multitune.core.events import Observe, unwatched
from multitune.core.multiplicity import holm
from multitune.core.records import Example, Prediction
from multitune.core.results.events import ProgressEvent
from multitune.core.results.robustness import SIDES, FlipExample, Flips, Rate, TaskFlips
from multitune.core.results.scores import Difference
from multitune.evaluation.changed_rows import (
    LEAST_ROWS,
    PICKED,
    ChangedRow,
    Texts,
    changed_rows,
    shown_texts,
    why_unchangeable,
)
from multitune.evaluation.probe import Probe, TaskRows
from multitune.evaluation.stats import BootstrapPlan, mcnemar, mean_differences, percentile_interval

SHOWN = 3  # examples


def plan_flips(tasks: Mapping[str, TaskRows]) -> tuple[dict[tuple[str, str], list[ChangedRow]], dict[str, str]]:
    """The rows to answer, by task and pair of groups; and what is left out, with why."""
    planned: dict[tuple[str, str], list[ChangedRow]] = {}
    left_out: dict[str, str] = {}
    for name, of in tasks.items():
        if why := why_unchangeable(of.task):
            left_out[name] = why
            continue
        if of.task.kind not in PICKED:
            left_out[name] = f"answers of kind {of.task.kind} may name the group, and then have to change"
            continue
        for pair in PAIRS:
            rows = changed_rows(of.task, of.examples, of.rows, lambda _, texts, pair=pair: _swapped(texts, pair))
            if len(rows) >= LEAST_ROWS:
                planned[name, pair] = rows
            elif rows:
                left_out[f"{name}, {pair}"] = f"rows that name one of them: {len(rows)}; {LEAST_ROWS} are needed"
        if not any(key.split(", ")[0] == name for key in left_out) and not any(task == name for task, _ in planned):
            left_out[name] = f"no row names {', '.join(PAIRS[:-1])} or {PAIRS[-1]}"
    return planned, left_out


def measure_flips(probes: Mapping[str, Probe], plan: BootstrapPlan, observe: Observe = unwatched) -> Flips:
    """Let what each task ships with, and the base, answer the rows with groups swapped; p adjusted over all.

    Args:
        probes: task -> its rows, answers and models.
        plan: resamples, confidence and seed of the interval of the likelihood.
        observe: gets the progress.

    Raises:
        MultituneError: see `LanguageModel`.
    """
    planned, left_out = plan_flips({name: probe.of for name, probe in probes.items()})
    found: dict[tuple[str, str], TaskFlips] = {}
    for key, rows in planned.items():
        found[key] = _measured(probes[key[0]], *key, rows, plan)
        observe(ProgressEvent(what="tasks and pairs of groups, swapped", done=len(found), of=len(planned)))
    p_holm = holm({key: one.p for key, one in found.items() if one.adapter != BASE})
    decided: list[TaskFlips] = []
    for key, one in found.items():
        p = p_holm.get(key, 1.0)
        higher = (one.rate.count > one.base.count) - (one.rate.count < one.base.count)
        verdict = SIDES[higher if p < 1.0 - plan.confidence else 0]
        decided.append(one.model_copy(update={"p_holm": p, "verdict": verdict}))
    return Flips(tasks=tuple(decided), left_out=left_out)


def _swapped(texts: Texts, pair: str) -> Texts:
    return {column: swap(text, pair).text for column, text in texts.items()}


def _measured(probe: Probe, task: str, pair: str, changed: Sequence[ChangedRow], plan: BootstrapPlan) -> TaskFlips:
    rows = probe.readable(changed)
    adapter, answers = probe.answers.adapter, probe.answers
    assert answers.base, "flips are measured beside the base"
    before = {adapter: answers.trainings[0], BASE: answers.base}
    clean = {name: [all_[row.place] for row in rows] for name, all_ in before.items()}
    after = {name: probe.answer(name, rows) for name in before}
    flipped = {name: [a.value != b.value for a, b in zip(clean[name], after[name], strict=True)] for name in before}
    p = mcnemar(flipped[BASE], flipped[adapter])
    return TaskFlips(
        task=task,
        adapter=adapter,
        pair=pair,
        rate=_rate(flipped[adapter]),
        base=_rate(flipped[BASE]),
        p=p,
        p_holm=p,
        verdict="cannot tell",
        likelihood=_likelihood(clean[adapter], after[adapter], [_side(probe.of, row, pair) for row in rows], plan),
        examples=tuple(
            _example(probe.of.examples[row.place], row, a, b)
            for row, a, b in zip(rows, clean[adapter], after[adapter], strict=True)
            if a.value != b.value
        )[:SHOWN],
    )


def _rate(flipped: Sequence[bool]) -> Rate:
    low, high = wilson(sum(flipped), len(flipped))
    return Rate(count=sum(flipped), of=len(flipped), low=low, high=high)


def _side(of: TaskRows, row: ChangedRow, pair: str) -> int:
    """1 where a row as it is names the first group alone, −1 the second alone, 0 both."""
    swaps = [swap(text, pair) for text in shown_texts(of.task, of.rows[row.place]).values()]
    return int(any(one.first for one in swaps)) - int(any(one.second for one in swaps))


def _likelihood(
    clean: Sequence[Prediction], after: Sequence[Prediction], sides: Sequence[int], plan: BootstrapPlan
) -> Difference | None:
    """How much likelier right answers are where a row names the first group; None on too few rows that name one."""
    gains = [
        side * (b.loss - a.loss)
        for a, b, side in zip(clean, after, sides, strict=True)
        if side and a.loss is not None and b.loss is not None
    ]
    if len(gains) < LEAST_ROWS:
        return None
    return percentile_interval(mean_differences([0.0] * len(gains), gains, plan), fmean(gains), plan.confidence)


def _example(before: Example, row: ChangedRow, a: Prediction, b: Prediction) -> FlipExample:
    """Shown around the first change, with personal data masked."""
    both = zip(before.prompt, row.example.prompt, strict=False)
    first = next((place for place, (was, now) in enumerate(both) if was != now), 0)
    return FlipExample(
        id=a.id, asked=excerpt(row.example.prompt, first, first), before=str(a.value), after=str(b.value)
    )
