"""A model's output parsed into a value: a label, several, a number or entities; None when it cannot be parsed."""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence

from multitune.core.text import normal_form

Span = tuple[str, str]  # (text, TYPE)
NO_LABEL = "none"  # the answer where none of the labels applies

_SCALE = {"k": 1e3, "thousand": 1e3, "mn": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9, "trillion": 1e12}
# The first that fits at a place. None may stand inside a longer row of digits and marks, such as 1,2,3 or 2020.01.05.
_DIGITS = "|".join(
    (
        r"(?:\d+\ {1,2})?(?<![\d./,])\d+[/⁄]\d+(?![\d/⁄]|[.,]\d)",  # 1/2, and 3 1/2
        r"[1-9]\d{0,2}(?:[\u00a0\u202f\u2009'’_]\d{3})+(?!\d)(?:[.,]\d+)?",  # 1’234,5
        r"[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?",  # 1,234.5
        r"[1-9]\d?(?:,\d{2})+,\d{3}(?!\d|,\d)(?:\.\d+)?",  # 1,20,456
        r"[1-9]\d{0,2}(?:\.\d{3}){2,}(?!\d|\.\d)(?:,\d+)?",  # 1.234.567
        r"[1-9]\d{0,2}(?:\.\d{3})+,\d+(?![\d.,]\d)",  # 1.234,5
        r"(?<!\d\.)\d+\.\d+(?!\d|\.\d)",  # 1.5
        r"(?<!\d[.,])\d+,\d+(?!\d|[.,]\d)",  # 1,5
        r"\d+",
        r"(?<!\d)\.\d+",
    )
)
# Groups of three with plain spaces, where a text has no other digit: in a sentence they may be two numbers.
_SPACED = re.compile(r"(\D*?[1-9]\d{0,2})((?:\ \d{3})+)((?:[.,]\d+)?\D*)")
_NUMBER = re.compile(
    rf"""
    (?P<open>\(\s*)?
    (?P<sign>(?:(?<!\w)[-+−])?(?:[$€£¥₹]\s?)?(?:(?<!\w)[-+−])?)  # after a letter or digit a dash is a hyphen
    (?P<digits>{_DIGITS})
    (?P<power>e[-+]?\d+)?
    \s?\)?\s?
    (?:(?P<percent>%|per\ ?cent\b)|(?P<scale>{"|".join(_SCALE)})\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SPAN = re.compile(r"(?P<text>.*\S)\s*,\s*(?P<type>[A-Za-z][\w-]*)")


def read_number(text: str) -> float | None:
    """The number a text ends on, or the first one after its last `####`; None without a finite number.

    It counts for what it says: `12.5%` is 0.125, `$1.5 million` is 1500000, `1/2` is 0.5, and a text that begins with
    `(3.2)` is -3.2. Digits may be those of any script. Of a point and a comma, the last one is the decimal mark; one
    that stands several times parts thousands (or, as in India, hundreds of thousands). A comma alone parts thousands
    before exactly three digits and is the decimal mark elsewhere; a point alone is the decimal mark. So `1,234` is
    1234, `1.234` is 1.234, `1,5` is 1.5 and `1.234,5` is 1234.5.
    """
    found, marked = _numbers(text)
    if not found:
        return None
    return _value(found[0] if marked else found[-1])


def holds_one_number(text: str) -> bool:
    """Whether a text holds a single number, or says by `####` which one is meant."""
    found, marked = _numbers(text)
    return marked or len(found) == 1


def has_decimal_comma(text: str) -> bool | None:
    """Whether the comma in a text such as `1,5` is a decimal mark, or parts thousands; None where there is none."""
    found, _ = _numbers(text)
    digits = found[-1]["digits"] if found else ""
    return None if digits.count(",") != 1 or "." in digits else "." in _pointed(digits)


def _numbers(text: str) -> tuple[list[re.Match[str]], bool]:
    """All numbers of a text, and whether it is what follows a `####`."""
    _, mark, marked = text.rpartition("####")
    written = _ascii_digits(marked if mark else text).strip()
    if whole := _SPACED.fullmatch(written):
        written = whole[1] + whole[2].replace(" ", "") + whole[3]
    return list(_NUMBER.finditer(written)), bool(mark)


def _ascii_digits(text: str) -> str:
    if text.isascii():
        return text
    marks = {"٫": ".", "٬": ",", "．": ".", "，": ","}
    return "".join(marks.get(char) or _fraction(char) or str(unicodedata.decimal(char, char)) for char in text)


def _fraction(char: str) -> str:
    """A fraction that is one character, in digits; empty for all others."""
    if not unicodedata.decomposition(char).startswith("<fraction>"):
        return ""
    return f" {unicodedata.normalize('NFKC', char)}"


def _pointed(digits: str) -> str:
    """Digits with marks, as Python writes them."""
    bare = re.sub(r"[\s'’_]", "", digits)
    comma, point = bare.rfind(","), bare.rfind(".")
    if comma >= 0 and point >= 0:
        first, last = (",", ".") if point > comma else (".", ",")
        return bare.replace(first, "").replace(last, ".")
    if bare.count(",") > 1 or bare.count(".") > 1:
        return bare.replace(",", "").replace(".", "")
    thousands = bare == digits and re.fullmatch(r"[1-9]\d{0,2},\d{3}", bare)
    return bare.replace(",", "" if thousands else ".")


def _amount(digits: str) -> float:
    whole, _, part = digits.rpartition(" ")
    over, slash, under = re.split(r"([/⁄])", part) if re.search("[/⁄]", part) else ("", "", "")
    if not slash:
        return float(_pointed(digits))
    return (float(whole) if whole else 0.0) + (float(over) / float(under) if float(under) else math.nan)


def _value(match: re.Match[str]) -> float | None:
    power = match["power"]
    value = float(_pointed(match["digits"]) + power) if power else _amount(match["digits"])
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
    lines = span_lines(normal_form(text))
    matches = [match for line in lines if (match := _SPAN.fullmatch(line))]
    if not text.strip() or (lines and not matches):
        return None
    return tuple((" ".join(match["text"].split()), match["type"].upper()) for match in matches)


def span_lines(text: str) -> list[str]:
    """The lines of a text that should each hold one entity: all that are not empty, and no line of a mere `none`."""
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    return [] if [line.strip(".").casefold() for line in lines] == ["none"] else lines


def free_text(text: str) -> str:
    """A text without empty lines around it and white space behind it; the indentation of its first line stays."""
    return re.sub(r"^(?:[^\S\n]*\n)+", "", text).rstrip()


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """The one label that a text, or else its first line, names: as it stands, in any case, or but for punctuation."""
    written = normal_form(text.strip())
    for candidate in dict.fromkeys((written, written.partition("\n")[0])):
        for form in _FORMS:
            wanted = form(candidate)
            matches = [label for label in labels if form(label) == wanted]
            if wanted and len(matches) == 1:
                return matches[0]
    return None


def label_lines(text: str) -> tuple[str, ...]:
    """The labels of an answer that names one per line, each once, sorted; () for `none`."""
    lines = {stripped for line in normal_form(text).splitlines() if (stripped := line.strip())}
    return () if [line.strip(".").casefold() for line in lines] == [NO_LABEL] else tuple(sorted(lines))


def label_text(labels: Sequence[str]) -> str:
    """The answer that names these labels."""
    return "\n".join(labels) or NO_LABEL


def read_labels(text: str, labels: Sequence[str]) -> tuple[str, ...] | None:
    """The labels that a text names, one per line, sorted; None where it is empty or a line names none of them."""
    found = [read_label(line, labels) for line in label_lines(text)]
    named = {label for label in found if label is not None}
    return tuple(sorted(named)) if text.strip() and None not in found else None


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


_FORMS: tuple[Callable[[str], str], ...] = (str.strip, lambda text: text.strip().casefold(), _words)
