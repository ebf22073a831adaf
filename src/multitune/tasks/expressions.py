"""Columns of a row as Jinja expressions read and print them."""

import json
import keyword

JINJA_WORDS = {"true", "false", "none", "True", "False", "None", "row", "loop", "self", "in", "is", "not", "and", "or"}


def column(name: str) -> str:
    """A column as Jinja reads it: `text`, or `row["Tweet text"]` where the name is no word of its own."""
    plain = name.isidentifier() and name not in JINJA_WORDS and not keyword.iskeyword(name)
    return name if plain else f"row[{json.dumps(name, ensure_ascii=False)}]"


def shown(name: str) -> str:
    """A column printed."""
    return f"{{{{ {column(name)} }}}}"


def optional(name: str, before: str = "", after: str = "") -> str:
    """A column printed where a row has it and it is not empty, with text before and after it."""
    parts = [json.dumps(text, ensure_ascii=False) for text in (before, after)]
    joined = " ~ ".join(part for part in (parts[0], column(name), parts[1]) if part != '""')
    return f'{{{{ ({joined}) if {column(name)} | default("") else "" }}}}'
