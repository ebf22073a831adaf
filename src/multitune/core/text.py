"""Text of unknown origin, made safe for a terminal or a table."""


def printable(text: object) -> str:
    """One line in which no control character acts."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))
