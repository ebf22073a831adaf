"""Stop strings: where a text that is being generated ends, although no token closed the turn."""

from collections.abc import Sequence
from typing import Any, final


@final
class StopStrings:
    """The strings at which an answer ends, in front of them."""

    def __init__(self, strings: Sequence[str], tokenizer: Any) -> None:
        """Take the strings, none of them empty, and what decodes tokens."""
        self._strings, self._tokenizer = tuple(strings), tokenizer
        # A string of n bytes lies in n tokens at most; some decoders leave out the space before the first one.
        self._tail = 1 + max((len(string.encode()) for string in strings), default=0)

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether the latest of the tokens completes a string; asked behind each of them."""
        if not self._strings:
            return False
        text = str(self._tokenizer.decode(tokens[-self._tail :], skip_special_tokens=True))
        return any(string in text for string in self._strings)

    def cut(self, text: str) -> str:
        """A text up to the first string in it."""
        return text[: min((at for string in self._strings if (at := text.find(string)) >= 0), default=len(text))]
