"""Text of unknown origin, made safe for a terminal or a table, and text without what nobody else may read."""

import re

_PASSWORD = re.compile(r"(\w[\w+.-]*://[^\s:/@]*:)[^\s/@]+(?=@)")


def printable(text: object) -> str:
    """One line in which no control character acts."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def without_passwords(text: str) -> str:
    """A text in whose addresses, such as postgresql://user:password@host/name, the password is `***`."""
    return _PASSWORD.sub(r"\1***", text)
