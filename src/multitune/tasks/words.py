"""Words of a text in any script, as metrics count them."""

from functools import cache
from typing import Any

from multitune.core.text import normal_form


@cache
def _patterns() -> tuple[Any, Any]:
    """(characters of scripts that put no space between words, words)."""
    import regex

    unspaced = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
    return regex.compile(unspaced), regex.compile(rf"{unspaced}|(?:(?!{unspaced})[\p{{L}}\p{{M}}\p{{N}}])+")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; in scripts without spaces each character is a word.

    Of English text they are those of rouge_score.
    """
    return _patterns()[1].findall(normal_form(text).lower())


def spaced(text: str) -> str:
    """A text with spaces around each character of a script that has none, for tokenizers that cut at spaces."""
    return text if text.isascii() else _patterns()[0].sub(r" \g<0> ", normal_form(text))
