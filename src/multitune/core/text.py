"""Text of unknown origin: safe for a terminal or a table, in one normal form, without what nobody else may read."""

import re
import unicodedata

_PASSWORD = re.compile(r"(\w[\w+.-]*://[^\s:/@]*:)[^\s/@]+(?=@)")


def printable(text: object) -> str:
    """One line in which no control character acts."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def normal_form(text: str) -> str:
    """The text in the one spelling that Unicode has for it (NFC), for keys, labels and comparison."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def text_key(text: str) -> str:
    """A text without its case and spacing, in normal form: what makes two texts the same."""
    return " ".join(normal_form(text).casefold().split())


def without_passwords(text: str) -> str:
    """A text in whose addresses, such as postgresql://user:password@host/name, the password is `***`."""
    return _PASSWORD.sub(r"\1***", text)
