"""Tokens to text as they come: whole characters, and nothing that might still turn into a stop string."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

BROKEN = "\ufffd"  # what a decoder writes for bytes that are no whole character yet


@dataclass(slots=True)
class TextStream:
    """The text of one answer; what was given out is never taken back."""

    tokenizer: Any
    stops: Sequence[str] = ()
    stopped: bool = False
    _tokens: list[int] = field(default_factory=list[int])
    _decoded: int = 0  # tokens whose text is in `_text` for good
    _context: int = 0  # where the tokens begin that say how the next one is written
    _held: str = ""  # text that may begin a stop string

    def push(self, token: int) -> str:
        """Take a token, and give the text that is certain now; `stopped` when a stop string is whole."""
        self._tokens.append(token)
        before = self._text(self._context, self._decoded)
        now = self._text(self._context, len(self._tokens))
        if now.endswith(BROKEN) or len(now) <= len(before):
            return ""
        self._context, self._decoded = self._decoded, len(self._tokens)
        return self._release(self._held + now[len(before) :])

    def finish(self) -> str:
        """The rest of the text, at the end of an answer that no stop string ended."""
        before = self._text(self._context, self._decoded)
        rest = self._text(self._context, len(self._tokens))[len(before) :]
        text = self._release(self._held + rest)
        held, self._held = self._held, ""
        return text + held

    def _release(self, text: str) -> str:
        ends = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        longest = max((_overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - longest :]
        return text[: len(text) - longest]

    def _text(self, start: int, end: int) -> str:
        return str(self.tokenizer.decode(self._tokens[start:end], skip_special_tokens=True))


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text begin a stop string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
