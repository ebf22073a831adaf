"""Matplotlib's SVG made part of a page: colours and type come from the page's style, and ids clash with no others.

A figure is drawn in stand-in colours, one for each role. In the finished picture they are CSS variables, so that the
same picture is right on light and dark paper and in print.
"""

import hashlib
import io
import logging
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Roles, each a variable of style.css; a figure is drawn in the colour that stands in for it.
ROLES = ("ink", "muted", "rule", "blue", "orange", "vermilion", "green", "grey", "purple", "sky", "paper")
VARIABLES = {f"#0102{place:02x}": role for place, role in enumerate(ROLES, start=1)}  # stand-in -> variable
INK, MUTED, RULE, BLUE, ORANGE, VERMILION, GREEN, GREY, PURPLE, SKY, PAPER = VARIABLES
FONT = 12.0  # points; a picture's unit is one point, and a page shows it as one pixel
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "multitune",
    "text.parse_math": False,  # a task may be called $x$
    "axes.unicode_minus": True,
    "font.size": FONT,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": FONT,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "path.simplify": True,
}
_HEAD = re.compile(r"^.*?<svg [^>]*?viewBox=\"([^\"]+)\"[^>]*>", re.DOTALL)
_FONT = re.compile(r"font(?:-family)?: ?(?:([\d.]+)px )?[^;\"]*'[^;\"]*")


@contextmanager
def drawing(width: float, height: float) -> "Generator[tuple[Figure, Axes]]":
    """A figure of so many pixels with one pair of axes, in the page's own style."""
    logging.getLogger("matplotlib").setLevel(
        logging.ERROR
    )  # it logs that it builds its font cache, once on every machine
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = SETTINGS
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that its own font lacks: the browser's font has them
        figure = Figure(figsize=(width / 72, height / 72))
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        yield figure, figure.add_subplot()


def finished(figure: "Figure", key: str) -> str:
    """The figure as an inline SVG without its size, title or scripts; `key` makes its ids differ from all others.

    Called within `drawing`.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    box = _HEAD.match(text)
    assert box, "matplotlib writes an svg element with a viewBox"
    width, height = (float(part) for part in box[1].split()[2:])
    text = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", text[box.end() :], flags=re.DOTALL)
    text = _own_ids(text, hashlib.sha256(key.encode()).hexdigest()[:8])
    text = _FONT.sub(lambda match: f"font-size: {match[1]}px" if match[1] else "", text)
    for stand_in, name in VARIABLES.items():
        text = text.replace(stand_in, f"var(--{name})")
    text = re.sub(r"\n\s*", "\n", text)
    opening = (
        f'<svg viewBox="{box[1]}" width="{width:.0f}" height="{height:.0f}" aria-hidden="true" focusable="false">'
    )
    return opening + text.strip()


def _own_ids(text: str, key: str) -> str:
    """Ids that are pointed at get the key in front, all others go."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r" id=\"([^\"]+)\"", lambda match: f' id="{key}-{match[1]}"' if match[1] in used else "", text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", text)
    return re.sub(r"(?:xlink:)?href=\"#([^\"]+)\"", rf'href="#{key}-\1"', text)
