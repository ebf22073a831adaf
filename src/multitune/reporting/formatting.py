"""The one formatter of numbers: scores, differences with intervals, p-values, shares, counts, sizes and times."""

import re
from collections.abc import Sequence

from multitune.core.results.scores import Difference, Verdict

DASH = "–"
NEGATIVE = re.compile(r"(?<![\w-])-(?=\d)")


def score(value: float | None, digits: int = 3) -> str:
    """Three decimals; a dash where nothing was measured."""
    return DASH if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """With its sign."""
    # Adding zero turns the -0.0 that rounding can leave into 0.0.
    return DASH if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"


def span(row: Difference, digits: int = 3) -> str:
    """A difference and its interval."""
    return f"{signed(row.difference, digits)} {interval(row.low, row.high, digits)}".rstrip()


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """`[low, high]`, or nothing where there is none."""
    return "" if low is None or high is None else f"[{signed(low, digits)}, {signed(high, digits)}]"


def side(low: float | None, high: float | None) -> Verdict:
    """What an interval says by itself, not adjusted for others."""
    if low is not None and low > 0:
        return "helped"
    return "hurt" if high is not None and high < 0 else "cannot tell"


def score_interval(value: float, low: float, high: float) -> str:
    """A score and its interval."""
    return f"{score(value)} [{score(low)}, {score(high)}]"


def chance(p: float | None) -> str:
    """A p-value, as `<0.001` below that."""
    return DASH if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share of one in hundredths."""
    return DASH if value is None else f"{value:.{digits}%}".replace(".0%", "%")


def millions(parameters: int) -> str:
    """Parameters as `135M`."""
    return f"{parameters / 1e6:,.0f}M"


def minus(text: str) -> str:
    """Text with a real minus in front of its negative numbers, for pages and pictures."""
    return NEGATIVE.sub("−", text)


def count(value: float | None) -> str:
    """A whole number with separators; in millions from a million on."""
    if value is None:
        return DASH
    if abs(value) >= 1e9:
        return f"{value / 1e9:,.2f} billion"
    return f"{value / 1e6:,.1f} million" if abs(value) >= 1e6 else f"{value:,.0f}"


def short_count(value: float | None) -> str:
    """A whole number for a narrow column: from a million on with a letter, as in 1.2M."""
    return count(value).replace(" million", "M").replace(" billion", "B")


def size(value: float | None) -> str:
    """Bytes in the unit that suits."""
    if value is None:
        return DASH
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= step:
            return f"{value / step:,.1f} {unit}"
    return f"{value:,.0f} bytes"


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds is None:
        return DASH
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b and c`; of many, the first ones and how many more."""
    names = list(names)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def cut(text: str, most: int) -> str:
    """Text of at most so many characters: of a longer one its start and its end, which says most of a prompt."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]} … [{len(text) - most:,} characters] … {text[head - most :]}"
