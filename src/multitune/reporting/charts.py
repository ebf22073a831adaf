"""The pictures of a page: intervals, curves, shares over time, predicted against measured; each labelled directly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multitune.core.results.scores import GAINED, LOST
from multitune.reporting import svg
from multitune.reporting.blocks import Chart, Sheet
from multitune.reporting.formatting import interval, minus, signed
from multitune.reporting.training_curves import Curve, Shares, smoothed, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERDICTS: dict[str, str] = {**dict.fromkeys(GAINED, svg.BLUE), **dict.fromkeys(LOST, svg.VERMILION)}
LETTER = 6.9  # pixels that a letter takes on average
SMALL = (330.0, 210.0)  # a picture among many, in pixels
FOREST = ("task", "difference", "low", "high", "verdict")  # columns of its numbers


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a forest plot."""

    label: str
    difference: float
    low: float | None
    high: float | None
    verdict: str = "cannot tell"


def forest_chart(
    title: str, lines: Sequence[Line], axis: str, key: str, *, what: str, sheet: str, columns: Sequence[str] = FOREST
) -> Chart:
    """A forest plot for wide and for narrow pages; `what` it shows is for those who cannot see it."""
    by: dict[str, list[str]] = {}
    for line in lines:
        by.setdefault(line.verdict, []).append(f"{line.label} {minus(signed(line.difference))}")
    parts = [f"{verdict}: {', '.join(rows)}" for verdict, rows in by.items()]
    numbers = [[line.label, line.difference, line.low, line.high, line.verdict] for line in lines]
    return Chart(
        title=title,
        svg=_forest(lines, axis, key),
        label=f"{what}. {'; '.join(parts)}.",
        sheet=Sheet(sheet, columns, numbers),
        narrow=_forest(lines, axis, key, wide=False),
    )


def _forest(lines: Sequence[Line], axis: str, key: str, wide: bool = True) -> str:
    """Differences with their intervals around zero, one row each, coloured by verdict, with the figures to the right.

    On a narrow picture the label stands above its interval.
    """
    step = 28.0 if wide else 44.0
    width, height = (760.0 if wide else 340.0), step * len(lines) + 46
    with svg.drawing(width, height) as (figure, axes):
        left = min(240.0, max(len(line.label) for line in lines) * LETTER + 16) if wide else 12.0
        right = 196.0 if wide else 12.0
        figure.subplots_adjust(left / width, 40 / height, 1 - right / width, 1 - 6 / height)
        axes.axvline(0.0, color=svg.MUTED, linewidth=1)
        for place, line in enumerate(lines):
            _interval(axes, len(lines) - 1 - place, line, wide)
        _around_zero(axes, lines)
        axes.set_ylim(-0.6, len(lines) - (0.4 if wide else 0.25))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel(axis)
        return svg.finished(figure, f"forest {key} {wide}")


def _interval(axes: "Axes", y: float, line: Line, wide: bool) -> None:
    colour = VERDICTS.get(line.verdict, svg.GREY)
    if line.low is not None and line.high is not None:
        axes.plot([line.low, line.high], [y, y], color=colour, linewidth=2.5, solid_capstyle="round")
    marker = "o" if line.verdict in VERDICTS else "D"
    face = colour if line.verdict in VERDICTS else svg.PAPER
    axes.plot([line.difference], [y], marker, color=colour, markerfacecolor=face, markersize=7, markeredgewidth=1.8)
    figures = minus(f"{signed(line.difference)}  {interval(line.low, line.high)}".rstrip())
    label = line.label if len(line.label) <= 36 else line.label[:35] + "…"
    across = axes.get_yaxis_transform()  # x in shares of the axes, y in data
    if wide:
        axes.text(-0.012, y, label, transform=across, ha="right", va="center")
        axes.text(1.012, y, figures, transform=across, va="center", color=svg.MUTED)
    else:
        axes.text(0.0, y + 0.42, label, transform=across, va="center")
        axes.text(1.0, y + 0.42, figures, transform=across, va="center", ha="right")


def _around_zero(axes: "Axes", lines: Sequence[Line]) -> None:
    """Limits that hold every interval and zero, with some room."""
    ends = [0.0, *(v for line in lines for v in (line.low, line.high, line.difference) if v is not None)]
    room = 0.06 * ((max(ends) - min(ends)) or 1.0)
    axes.set_xlim(min(ends) - room, max(ends) + room)


def loss_curves(task: str, curves: Sequence[Curve], names: Mapping[str, str], key: str) -> str:
    """Losses of one task: training faint, validation strong with a dot for each, the kept checkpoint ringed.

    Args:
        task: for the key.
        curves: of the adapters that learn it.
        names: adapter -> what stands at the end of its line.
        key: of the page's part.
    """
    colours = (svg.BLUE, svg.ORANGE, svg.PURPLE, svg.GREEN, svg.GREY)
    with svg.drawing(*SMALL) as (figure, axes):
        longest = max(len(names[curve.adapter]) for curve in curves)
        figure.subplots_adjust(0.105, 0.19, 1 - min(110.0, longest * LETTER + 12) / SMALL[0], 0.96)
        ends: list[tuple[float, float, str, str]] = []
        for curve, colour in zip(curves, colours, strict=False):
            train = thinned(smoothed(curve.train))
            seen = curve.validation
            axes.plot([p[1] for p in train], [p[2] for p in train], color=colour, alpha=0.4, linewidth=1.2)
            axes.plot([p[1] for p in seen], [p[2] for p in seen], color=colour, marker="o", markersize=3.5)
            for _, rows, loss in (p for p in seen if p[0] == curve.chosen):
                axes.plot([rows], [loss], "o", markersize=10, mfc="none", mec=svg.INK, mew=1.4)
            if last := (seen or train)[-1:]:
                ends.append((last[0][1], last[0][2], names[curve.adapter], colour))
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.margins(x=0.02)
        _end_labels(axes, ends)
        axes.grid(axis="y")
        axes.set_xlabel("training rows of this task seen")
        _few_ticks(axes)
        return svg.finished(figure, f"loss {key} {task}")


def share_lines(line: Shares, key: str) -> str:
    """Configured share dashed, achieved share solid, over the steps of one adapter."""
    with svg.drawing(*SMALL) as (figure, axes):
        figure.subplots_adjust(0.13, 0.19, 0.76, 0.96)
        asked, got = thinned(line.configured), line.achieved
        axes.plot([p[0] for p in got], [p[1] for p in got], color=svg.BLUE, marker="o", markersize=3)
        axes.plot([p[0] for p in asked], [p[1] for p in asked], color=svg.INK, linestyle=(0, (4, 3)), linewidth=1.3)
        highest = max([p[1] for p in (*asked, *got)], default=1.0)
        axes.set_ylim(0, min(1.0, highest * 1.25) or 1.0)
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ends = [
            (p[-1][0], p[-1][1], word, c)
            for p, word, c in ((got, "achieved", svg.BLUE), (asked, "asked", svg.INK))
            if p
        ]
        _end_labels(axes, ends)
        axes.grid(axis="y")
        axes.set_xlabel("step")
        _few_ticks(axes)
        return svg.finished(figure, f"share {key} {line.adapter} {line.name}")


def _few_ticks(axes: "Axes") -> None:
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)


def _end_labels(axes: "Axes", ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Words at the ends of lines, moved apart where they would overlap."""
    bottom, top = axes.get_ylim()
    apart = (top - bottom) * 0.085
    below = -float("inf")
    reach = max((end[0] for end in ends), default=1.0)
    for _, y, word, colour in sorted(ends, key=lambda end: end[1]):
        below = max(y, below + apart)
        axes.text(reach + 0.03 * (axes.get_xlim()[1]), below, word, color=colour, va="center", clip_on=False)


def sizes(bars: Sequence[tuple[str, float, str]], key: str, strong: int = 0) -> str:
    """A few amounts as bars with their figures; the one at place `strong` is the one the page speaks of."""
    width, height = 340.0, 46.0 * len(bars) + 8
    with svg.drawing(width, height) as (figure, axes):
        figure.subplots_adjust(0.0, 0.0, 1.0, 1.0)
        most = max(value for _, value, _ in bars) or 1.0
        for place, (label, value, text) in enumerate(bars):
            y = len(bars) - 1 - place
            axes.barh(y - 0.18, value / most, height=0.34, color=svg.BLUE if place == strong else svg.GREY)
            axes.text(0.0, y + 0.27, label, va="center")
            axes.text(1.0, y + 0.27, text, va="center", ha="right", color=svg.MUTED)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.5, len(bars) - 0.4)
        axes.axis("off")
        return svg.finished(figure, f"sizes {key}")
