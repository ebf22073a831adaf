"""A model's output parsed into a value: a label, a number or a list of entities; None when it cannot be parsed."""

import math
import re
from collections.abc import Callable, Sequence

Span = tuple[str, str]  # (text, TYPE)

_SCALE = {"k": 1e3, "thousand": 1e3, "mn": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9, "trillion": 1e12}
_NUMBER = re.compile(
    rf"""
    (?P<open>\(\s*)?
    (?P<sign>(?:(?<!\w)[-+−])?(?:[$€£¥]\s?)?(?:(?<!\w)[-+−])?)  # after a letter or digit a dash is a hyphen
    (?P<digits>(?:\d+(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+(?:,\d+(?!\d|\.\d))?)?|\.\d+)
    (?P<power>e[-+]?\d+)?
    \s?\)?\s?
    (?:(?P<percent>%|per\ ?cent\b)|(?P<scale>{"|".join(_SCALE)})\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SPAN = re.compile(r"(?P<text>.*\S)\s*,\s*(?P<type>[A-Za-z][\w-]*)")


def read_number(text: str) -> float | None:
    """The number a text ends on, or the first one after its last `####`; None without a finite number.

    It counts for what it says: `12.5%` is 0.125, `$1.5 million` is 1500000, and a text that begins with `(3.2)`
    is -3.2. Commas part thousands, so `1.234,5` is 1.2345.
    """
    _, mark, marked = text.rpartition("####")
    written = (marked if mark else text).strip()
    found = list(_NUMBER.finditer(written))
    if not found:
        return None
    return _value(found[0] if mark else found[-1])


def _value(match: re.Match[str]) -> float | None:
    value = float(match["digits"].replace(",", "") + (match["power"] or ""))
    # A parenthesis inside a sentence is a remark, not an accountant's minus.
    in_parenthesis = match["open"] is not None and match.start() == 0
    if in_parenthesis or "-" in match["sign"] or "−" in match["sign"]:
        value = -value
    if match["percent"]:
        value /= 100
    if match["scale"]:
        value *= _SCALE[match["scale"].lower()]
    return value if math.isfinite(value) else None


def read_spans(text: str) -> tuple[Span, ...] | None:
    """The entities of a text that lists one `span, TYPE` per line; lines of another form are passed over.

    Returns:
        Spans in order, white space made single and types in capitals; () for `none`, None when nothing can be read.
    """
    lines = span_lines(text)
    matches = [match for line in lines if (match := _SPAN.fullmatch(line))]
    if not text.strip() or (lines and not matches):
        return None
    return tuple((" ".join(match["text"].split()), match["type"].upper()) for match in matches)


def span_lines(text: str) -> list[str]:
    """The lines of a text that should each hold one entity: all that are not empty, and no line of a mere `none`."""
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    return [] if [line.strip(".").casefold() for line in lines] == ["none"] else lines


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """The one label that a text, or else its first line, names: as it stands, in any case, or but for punctuation."""
    written = text.strip()
    for candidate in dict.fromkeys((written, written.partition("\n")[0])):
        for form in _FORMS:
            wanted = form(candidate)
            matches = [label for label in labels if form(label) == wanted]
            if wanted and len(matches) == 1:
                return matches[0]
    return None


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


_FORMS: tuple[Callable[[str], str], ...] = (str.strip, lambda text: text.strip().casefold(), _words)
