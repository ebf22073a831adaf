"""A run as Markdown for a pull request: what was gained or lost, what was kept, what ships, how to repeat it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multitune.core.run_folder import RunFolder
from multitune.reporting.forms import plain, read_router_report, read_scores, read_table, read_versions
from multitune.reporting.lines import summary_line

# What Markdown would act upon; an underscore within a word does nothing and stays.
_ACTIVE = re.compile(r"[\\`*{}\[\]<>#|~!&]|(?<!\w)_|_(?!\w)")


def inert(text: object) -> str:
    """Text of unknown origin for Markdown, table cells included: it stands there and does nothing."""
    return _ACTIVE.sub(lambda match: "\\" + match[0], plain(text))


def table(columns: Mapping[str, bool], rows: Iterable[Sequence[str]]) -> str:
    """A table; `columns` says of each title whether it is of numbers. Cells must be Markdown already."""
    head = f"| {' | '.join(columns)} |"
    line = f"|{'|'.join('---:' if number else '---' for number in columns.values())}|"
    return "\n".join([head, line, *(f"| {' | '.join(row)} |" for row in rows)])


def score(value: float | None) -> str:
    """Three decimals; a dash where nothing was measured."""
    return "–" if value is None else f"{value:.3f}"


def signed(row: Mapping[str, Any]) -> str:
    """A difference and its interval."""
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def run_markdown(folder: RunFolder) -> str:
    """The whole of it.

    Raises:
        RunFolderError: the run was not evaluated, or is damaged.
    """
    scores = read_scores(folder.require())
    parts = [f"### multitune: {inert(folder.path.resolve().name)}", *transfer_parts(scores), *kept_parts(scores)]
    return "\n\n".join([*parts, *routing_parts(folder), _repeat(folder)]) + "\n"


def transfer_parts(scores: Mapping[str, Any]) -> list[str]:
    """For each compared adapter a line and its table, and how to read them."""
    parts: list[str] = []
    for name, part in scores["transfer"].items():
        parts += [f"**{inert(name)}**: {summary_line(part['summary'])}", transfer_table(part["tasks"])]
    return [*parts, reading(scores)] if parts else []


def reading(scores: Mapping[str, Any]) -> str:
    """How the differences of a run are to be read."""
    return (
        "Difference: together − alone, or − base where no adapter learned the task alone, with "
        f"{scores['confidence']:.0%} intervals from {scores['resamples']} paired resamples of the {scores['split']} "
        "rows; p by exact McNemar or the same bootstrap, adjusted by Holm over the tasks. A verdict needs both."
    )


def transfer_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The transfer table of one adapter."""
    columns = {"task": False, "metric": False} | dict.fromkeys(
        ("n", "base", "alone", "together", "difference", "p"), True
    )
    cells = (
        [
            inert(row["task"]),
            inert(row["metric"]),
            f"{row['examples']}",
            *(score(row[key]) for key in ("base", "alone", "together")),
            signed(row),
            "< 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}",
            inert(row["verdict"]),
        ]
        for row in rows
    )
    return table({**columns, "verdict": False}, cells)


def kept_parts(scores: Mapping[str, Any], adapter: str | None = None) -> list[str]:
    """What was kept of what the base knew: sets that nothing trained on, and the loss on general data.

    Args:
        scores: of the run.
        adapter: the one that it is about; all when None.
    """
    parts: list[str] = []
    rows = [
        [
            inert(name),
            inert(kept["metric"]),
            f"{kept['examples']}",
            score(kept["scores"]["base"]["score"]),
            inert(subject),
            score(kept["scores"][subject]["score"]),
            signed(change),
        ]
        for name, kept in scores["retention"].items()
        for subject, change in kept["change"].items()
        if adapter in (None, subject)
    ]
    if rows:
        columns = {"kept": False, "metric": False, "n": True, "base": True, "adapter": False}
        parts.append(table({**columns, "after": True, "difference": True}, rows))
    for name, kept in scores["general"].items():
        losses = [
            f"{inert(subject)} {score(loss)}"
            for subject, loss in kept["loss"].items()
            if subject == "base" or adapter in (None, subject)
        ]
        parts.append(f"Loss on general data ({inert(name)}, {kept['examples']} rows): {', '.join(losses)}.")
    return parts


def routing_parts(folder: RunFolder) -> list[str]:
    """What each task ships with and why, and how well a router finds it; nothing where there is no routing table."""
    routing = read_table(folder)
    if routing is None:
        return []
    cells = ([inert(name), inert(row["adapter"]), inert(row["why"])] for name, row in routing["tasks"].items())
    shown = table({"task": False, "ships with": False, "because, on validation": False}, cells)
    report = read_router_report(folder)
    lines = [
        f"by {inert(view)}: right task {found['accuracy']:.1%}, right adapter {found['same_adapter']:.1%}, "
        f"turned away {found['turned_away']:.1%}"
        for view, found in report["views"].items()
    ]
    lines += [
        f"texts of no task ({inert(name)}): AUROC {found['auroc']:.2f}, routed all the same {found['routed']:.0%}"
        for name, found in report.get("general", {}).items()
    ]
    return [shown, "Router\n" + "\n".join(f"- {line}" for line in lines)]


def _repeat(folder: RunFolder) -> str:
    return f"Repeat: `multitune train` on the run's `{folder.config.name}`, with {packages(folder)}."


def packages(folder: RunFolder) -> str:
    """What the run was made with, in one line."""
    versions = read_versions(folder)
    named = [f"{inert(name)} {inert(number)}" for name, number in versions["packages"].items() if number]
    return ", ".join([*named, f"Python {inert(versions['python'])}"])
