"""Text of unknown origin: safe for a terminal or a table, in one normal form, without what nobody else may read."""

import re
import unicodedata
from collections.abc import Sequence

LEAST_CUT = 100  # characters of texts that a source may have cut
HIDDEN = "***"  # in the place of a password
_VARIABLE = r"(?!\$\{\w+\}(?:[@&;\s]|$))"  # not `${NAME}`, which stands for a password and is none
_SECRET = r"(?:\w*(?:password|passwd|passphrase|pwd|secret|token|key))"  # what a parameter with one is called
_PASSWORD = re.compile(rf"(\w[\w+.-]*://[^\s:/@]*:){_VARIABLE}[^\s/@]+(?=@)")
_ADDRESS = re.compile(rf"^(\s*\w[\w+.-]*://[^:/@]*:){_VARIABLE}.+(?=@)", re.DOTALL)
_PARAMETER = re.compile(rf"([?&;]{_SECRET}=){_VARIABLE}[^&;\s]+", re.IGNORECASE)


def printable(text: object) -> str:
    """One line in which no control character acts."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def normal_form(text: str) -> str:
    """The text in the one spelling that Unicode has for it (NFC), for keys, labels and comparison."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def text_key(text: str) -> str:
    """A text without its case and spacing, in normal form: what makes two texts the same."""
    return " ".join(normal_form(text).casefold().split())


def printable_lines(text: str) -> str:
    """`printable` for a text of several lines."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def likely_cut(sizes: Sequence[int]) -> int:
    """How many of a set's texts have the most characters of all, if so many that a source may have cut them, else 0.

    Args:
        sizes: characters of each text.
    """
    longest = max(sizes, default=0)
    cut = sum(size == longest for size in sizes)
    return cut if longest >= LEAST_CUT and 3 <= cut < len(sizes) and cut > len(sizes) / 50 else 0


def without_passwords(text: str) -> str:
    """A text in whose addresses, such as postgresql://user:password@host/name, the password is `***`."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1{HIDDEN}", text))


def without_password(address: str) -> str:
    """One address without its password, whatever characters that is made of."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _ADDRESS.sub(rf"\1{HIDDEN}", address))
