"""Suites of social bias: a table of changes against the base, and sentences that say what to do."""

from multitune.core.results.robustness import Bias, BiasChange
from multitune.reporting.blocks import Cell, Table, Tone, header, number
from multitune.reporting.formatting import chance, count, score, span

SUITES = {"crows_pairs": "CrowS-Pairs", "winobias": "WinoBias", "bbq": "BBQ"}


def bias_table(found: Bias, *, id: str = "") -> Table:
    """A row per suite, measure and adapter; of categories those that moved."""
    rows = [
        [
            Cell(SUITES.get(one.suite, one.suite)),
            Cell(one.measure),
            Cell(one.category or "all"),
            Cell(one.adapter, tone="quiet"),
            number(one.items, count),
            number(one.neutral),
            number(one.base),
            number(one.score),
            Cell(span(one), value=one.difference),
            number(one.p_holm, chance),
            Cell(one.verdict, tone=_tone(one)),
        ]
        for one in _shown(found)
    ]
    numbers = ["n", "neutral", "base", "score", "change", "p"]
    columns = header("suite", "measure", "category", "ships with", numbers, "verdict")
    return Table(f"{id}bias", "Social bias, against the base", columns, rows)


def _shown(found: Bias) -> list[BiasChange]:
    return [one for one in found.changes if not one.category or one.verdict != "cannot tell"]


def _tone(one: BiasChange) -> Tone:
    if one.verdict == "cannot tell":
        return "unsure"
    return "hurt" if one.worse > 0 else "helped"


def bias_lines(found: Bias, confidence: float) -> list[str]:
    """How the table is to be read, and what it shows."""
    lines = [
        f"change: score − the base's on the same items, with its {confidence:.0%} interval over templates and scenes; "
        "p by exchanging the two models' choices, adjusted by Holm over the suites, and over categories apart from "
        "that; neutral: a model without the bias, none where more is better; of categories, those that moved"
    ]
    for one in _shown(found):
        if one.verdict == "cannot tell" or one.worse <= 0:
            continue
        where = f"{SUITES.get(one.suite, one.suite)}, {one.category or 'all'}"
        what = f"{one.adapter} moves {one.measure} from {score(one.base)} to {score(one.score)}"
        remedy = (
            "Read training rows that name these groups (multitune audit), and add copies with the groups swapped"
            if one.neutral is not None
            else "See whether answers of the trained form are asked for here; a score of bias beside it says little"
        )
        lines.append(f"{where}: {what}. {remedy}")
    if found.changes and all(one.verdict == "cannot tell" for one in found.changes):
        lines.append("no suite can be told from the base")
    return [*lines, *(f"not measured: {of}: {why}" for of, why in found.left_out.items())]
