"""All that robustness.json holds: in tables, and in sentences that say what to do."""

from collections.abc import Iterator, Mapping, Sequence

from multitune.core.results.robustness import Flips, Perturbed, Rate, Robustness, Side, SliceGroup, Slices, Tested
from multitune.reporting.blocks import Cell, Table, Tone, header, number
from multitune.reporting.formatting import DASH, chance, count, listed, percent, score, score_interval, signed, span
from multitune.reporting.tables.bias import bias_lines, bias_table
from multitune.reporting.tables.secrets import secrets_lines, secrets_table

MORE_IS_BETTER: Mapping[Side, Tone] = {"higher": "helped", "lower": "hurt"}
FEWER_IS_BETTER: Mapping[Side, Tone] = {"higher": "hurt", "lower": "helped"}
ABOUT = {
    "typos": "two letters swapped in a tenth of the words",
    "lower": "text in lower case",
    "upper": "text in upper case",
    "spaces": "additional white space",
    "long_before": "a long neutral text in front",
    "long_after": "a long neutral text behind",
    "label_words": "the name of a wrong label in the text",
    "suffix": "a line that orders a wrong answer",
}
REMEDIES = {
    "typos": "Add training rows with typos, or correct spelling before the model is asked",
    "lower": "Add training rows in lower case",
    "upper": "Add training rows in upper case, or change the case before the model is asked",
    "spaces": "Normalise white space before the model is asked",
    "long_before": "Add long training rows, or cut texts to what matters before the model is asked",
    "long_after": "Add long training rows, or cut texts to what matters before the model is asked",
    "label_words": "Add training rows that name other labels than their own",
    "suffix": "Do not rely on this model where others write the text, or add such rows with their right answers",
}
SHOWN = 3  # folded values that are named


def tables(found: Robustness, *, id: str = "") -> Iterator[tuple[Table, list[str]]]:
    """Each table with the lines below it: how it is to be read, what it shows, and what is left out."""
    for place, one in enumerate(found.slices, start=1):
        yield slices_table(one, id=f"{id}{place}-"), slices_lines(one, found.confidence)
    if found.flips:
        yield flips_table(found.flips, id=id), flips_lines(found.flips)
    if found.perturbed:
        yield perturbed_table(found.perturbed, id=id), perturbed_lines(found.perturbed, found.confidence)
    if found.bias:
        yield bias_table(found.bias, id=id), bias_lines(found.bias, found.confidence)
    if found.secrets:
        yield secrets_table(found.secrets, id=id), secrets_lines(found.secrets)


def slices_table(found: Slices, *, id: str = "") -> Table:
    """A row per group of rows, task by task."""
    rows = [
        [
            Cell(task.task),
            Cell(group.value),
            Cell(task.adapter, tone="quiet"),
            number(group.rows, count),
            number(group.base),
            Cell(score_interval(group.score, group.low, group.high), value=group.score),
            *_tested(group.gap, MORE_IS_BETTER),
            *_tested(group.change, MORE_IS_BETTER),
        ]
        for task in found.tasks
        for group in task.groups
    ]
    numbers = ["n", "base", "score", "gap", "p"], ["change of the gap", "p "]
    columns = header("task", found.column, "ships with", numbers[0], "against others", numbers[1], "against base")
    return Table(f"{id}slices", f"Scores by {found.column}", columns, rows)


def _tested(tested: Tested | None, tones: Mapping[Side, Tone]) -> list[Cell]:
    if tested is None:
        return [number(None), number(None), Cell("", tone="quiet")]
    tone = tones.get(tested.verdict, "unsure")
    return [
        Cell(span(tested), value=tested.difference),
        number(tested.p_holm, chance),
        Cell(tested.verdict, tone=tone),
    ]


def slices_lines(found: Slices, confidence: float) -> list[str]:
    """How the table is to be read, and what it shows."""
    seeds = max((task.seeds for task in found.tasks), default=1)
    over = f"the rows and {seeds} seeds" if seeds > 1 else "the rows"
    lines = [
        f"gap: score − the score on all other rows of the task; change: gap − the base's gap; {confidence:.0%} "
        f"intervals over {over}, p by permutation of the groups, adjusted by Holm over the table; in "
        "the place of means over classes, such as macro_f1, stands accuracy or micro_f1"
    ]
    lines += [
        f"{', '.join(tasks)}: by {metric}"
        for metric in dict.fromkeys(task.metric for task in found.tasks)
        if (tasks := [task.task for task in found.tasks if task.metric == metric])
    ]
    for task in found.tasks:
        worse = [group for group in task.groups if group.gap.verdict == "lower"]
        lines += [
            f"{task.task}: rows with {found.column} {group.value!r} score {signed(group.gap.difference)} against the "
            f"others{_widened(group.change)}. Add training rows like them, or correct the labels of those that there "
            "are"
            for group in worse
        ]
        lines += [
            f"{task.task}: training did less for rows with {found.column} {group.value!r} than for the others "
            f"({signed(group.change.difference)}). See how many training rows they have"
            for group in task.groups
            if group.change and group.change.verdict == "lower" and group.gap.difference < 0 and group not in worse
        ]
        if task.folded:
            named = listed([f"{value!r} ({rows})" for value, rows in task.folded.items()], SHOWN)
            lines.append(f"{task.task}: too few rows for a group of their own, and among the others: {named}")
    if found.tasks and not any(_named(task.groups) for task in found.tasks):
        lines.append(f"no group of {found.column} can be told from the others")
    return [*lines, *(f"{task}: not by {found.column}: {why}" for task, why in found.left_out.items())]


def _widened(change: Tested | None) -> str:
    if change is None or change.verdict == "cannot tell":
        return ""
    return ", a gap that training widened" if change.verdict == "lower" else ", a gap that training narrowed"


def _named(groups: Sequence[SliceGroup]) -> bool:
    tested = [one for group in groups for one in (group.gap, group.change) if one]
    return any(one.verdict != "cannot tell" for one in tested)


def flips_table(found: Flips, *, id: str = "") -> Table:
    """A row per task and pair of groups."""
    rows = [
        [
            Cell(one.task),
            Cell(one.pair),
            Cell(one.adapter, tone="quiet"),
            number(one.rate.of, count),
            _rate(one.base),
            _rate(one.rate),
            number(one.p_holm, chance),
            Cell(one.verdict, tone=FEWER_IS_BETTER.get(one.verdict, "unsure")),
            Cell(span(one.likelihood) if one.likelihood else DASH, value=one.likelihood and one.likelihood.difference),
        ]
        for one in found.tasks
    ]
    numbers = ["n", "base", "flips", "p"]
    columns = header("task", "swapped", "ships with", numbers, "against base", ["likelihood, first − second"])
    return Table(f"{id}flips", "Answers that change when groups of people are swapped", columns, rows)


def _rate(rate: Rate) -> Cell:
    return Cell(f"{percent(rate.share, 1)} [{percent(rate.low, 1)}, {percent(rate.high, 1)}]", value=rate.share)


def flips_lines(found: Flips) -> list[str]:
    """How the table is to be read, and what it shows."""
    lines = [
        "flips: rows whose answer changes when the terms are swapped, with Wilson's 95% interval; p: exact McNemar of "
        "flips against the base's, adjusted by Holm over the table; likelihood: how much likelier, in nats per answer "
        "token, right answers are where a row names the first group than where it names the second"
    ]
    for one in found.tasks:
        leans = one.likelihood and not one.likelihood.low <= 0.0 <= one.likelihood.high
        if one.rate.count or leans:
            lean = ", and the likelihood of right answers leans to one side" if leans else ""
            lines.append(
                f"{one.task}: {one.rate.count} of {one.rate.of} answers change when {one.pair} are swapped{lean}. "
                "Where the group should not matter, add copies of training rows with the terms swapped"
            )
        lines += [f"{one.task}: {row.before} became {row.after}: {row.asked}" for row in one.examples]
    if found.tasks and not any(one.rate.count for one in found.tasks):
        lines.append("no answer changes")
    return [*lines, *(f"not measured: {of}: {why}" for of, why in found.left_out.items())]


def perturbed_table(found: Perturbed, *, id: str = "") -> Table:
    """A row per task and perturbation."""
    rows = [
        [
            Cell(one.task),
            Cell(one.perturbation),
            Cell(one.adapter, tone="quiet"),
            Cell(one.metric, tone="quiet"),
            number(one.rows, count),
            number(one.clean),
            number(one.perturbed),
            *_tested(one, MORE_IS_BETTER),
        ]
        for one in found.tasks
    ]
    numbers = ["n", "clean", "perturbed", "difference", "p"]
    columns = header("task", "perturbation", "ships with", "metric", numbers, "verdict")
    return Table(f"{id}perturbed", "Scores on perturbed rows", columns, rows)


def perturbed_lines(found: Perturbed, confidence: float) -> list[str]:
    """How the table is to be read, and what it shows."""
    lines = [
        f"n: rows that the perturbation changes; clean: the score on the same rows as they are; {confidence:.0%} "
        "intervals from resampled rows, p adjusted by Holm over the table"
    ]
    lines += [
        f"{one.task}: {ABOUT[one.perturbation]} costs {score(-one.difference)} {one.metric}. "
        f"{REMEDIES[one.perturbation]}"
        for one in found.tasks
        if one.verdict == "lower"
    ]
    if found.tasks and not any(one.verdict == "lower" for one in found.tasks):
        lines.append("no perturbation can be shown to cost anything")
    return [*lines, *(f"not measured: {of}: {why}" for of, why in found.left_out.items())]
