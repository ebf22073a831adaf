"""Telephone numbers: international ones, those of North America, and others that a word nearby announces."""

import re
from collections.abc import Callable

_AFTER = re.compile(r"[\s,;-]{0,3}\(?(?:office|fax|mobile|cell|desk|home|work|tel)\b", re.IGNORECASE)
_EXTENSION = r"(?:[ ]{0,2}(?:x|ext\.?|extension)[ ]?\d{1,6})?"
_END = r"(?![\w%]|[.,/:]\d|-\d)"
# Country codes as the ITU assigned them.
_COUNTRY = (
    r"(?:1|7|2(?:0|7|1[1-368]|[2346]\d|5[0-8]|9[01789])|3(?:[0-469]|5\d|7\d|8[0-35-79])"
    r"|4(?:[013-9]|2[013])|5(?:[1-8]|0\d|9\d)|6(?:[0-6]|7[02-9]|8\d|9[0-2])|8(?:[1246]|5[02356]|80|86)"
    r"|9(?:[0-58]|6[0-8]|7[0-7]|9[2-68]))"
)
_INTERNATIONAL = re.compile(
    rf"(?:\(?\+|00(?=\d|[ -]))[ -]?{_COUNTRY}\)?(?:[ ./-]{{0,3}}\(?\d{{1,12}}+\)?){{1,6}}{_EXTENSION}{_END}"
)
_NORTH_AMERICA = re.compile(
    rf"(?:1[ .-]?)?(?:\([2-9]\d\d\)[ ]?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{{4}}{_EXTENSION}{_END}"
)
_WITH_TRUNK_ZERO = re.compile(rf"\(?0(?!\.)\d{{1,4}}\)?(?:([ .-])\d{{2,8}})(?:\1\d{{2,8}}){{1,3}}{_END}")
_ANY = re.compile(rf"\(?\d{{1,5}}\)?(?:[ .-]{{0,2}}\(?\d{{1,5}}+\)?){{1,6}}{_EXTENSION}{_END}")
_DATE = re.compile(
    r"(?:\d{1,2}[ ./-]\d{1,2}[ ./-](?:19|20)\d\d|(?:19|20)\d\d[ ./-]?[01]\d[ ./-]?[0-3]\d(?:\d{4}|\d{6})?"
    r"|(?:(?:19|20)\d\d[ ./-]*)+)(?!\d)"
)
_NOT_SPACE = re.compile(r"[().-]")
_SPACE = re.compile(r"[ -]")
_DECIMAL = re.compile(r"\d\.\d.*[ ()-]|[ ()-].*\d\.\d")  # points beside other separators, as in columns of amounts
_INSIDE = re.compile(r"\d \Z")  # before a group of a longer number
_FICTION = re.compile(r"1?\d{3}55501\d\d")  # numbers that North America keeps for films and manuals


def announced_after(after: str) -> bool:
    """Whether what follows a number says that it is one, as in `467 3395 office`."""
    return _AFTER.match(after) is not None


def match(text: str, start: int, announced: Callable[[], bool]) -> int | None:
    """Where the telephone number that begins at a place ends; None where there is none.

    Args:
        text: in which it may stand.
        start: of its first digit, plus sign or bracket.
        announced: asks whether a word nearby says that it is one; other formats are then taken as well.
    """
    if _DATE.match(text, start):
        return None
    first = text[start]
    if first == "0" and _INSIDE.search(text[max(0, start - 2) : start]) and not announced():
        return None
    if first in "+(0" and (found := _within(_INTERNATIONAL.match(text, start), 9, 16)) and _international(found[0]):
        return found.end()
    if (found := _within(_NORTH_AMERICA.match(text, start), 10, 18)) and (_NOT_SPACE.search(found[0]) or announced()):
        return None if _FICTION.fullmatch(plain(found[0])) else found.end()
    if first in "(0" and (found := _within(_WITH_TRUNK_ZERO.match(text, start), 9, 11)):
        return found.end()
    if (found := _within(_ANY.match(text, start), 7, 17)) and not _DECIMAL.search(found[0]) and announced():
        return found.end()
    return None


def _within(found: re.Match[str] | None, least: int, most: int) -> re.Match[str] | None:
    return found if found and least <= len(plain(found[0])) <= most else None


def _international(number: str) -> bool:
    """Whether it is written as one: after 00, which other numbers begin with too, groups have to follow."""
    return not number.startswith("00") or _SPACE.search(number) is not None


def plain(number: str) -> str:
    """A number's digits, without the extension and what stands for international dialling."""
    digits = re.sub(r"\D", "", re.split(r"x|ext", number, maxsplit=1)[0])
    return digits.removeprefix("00")
