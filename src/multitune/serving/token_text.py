"""One token as log-probabilities name it: its text, and its bytes where it is only a part of a character."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from multitune.serving.text_stream import BROKEN


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token of the vocabulary."""

    text: str
    bytes: bytes  # its own, of which a text may be made only with those of its neighbours

    @classmethod
    def of(cls, tokenizer: Any, token: int) -> "TokenText":
        """What a tokenizer says of a token."""
        text = str(tokenizer.decode([token]))
        piece = str(tokenizer.convert_ids_to_tokens(token))
        return cls(text, _bytes_of(piece, text) if BROKEN in text else text.encode())

    @property
    def name(self) -> str:
        r"""Its text, or as OpenAI's completions name bytes that are no text: `bytes:\xe2\x82`."""
        if BROKEN not in self.text:
            return self.text
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self.bytes)


def _bytes_of(piece: str, text: str) -> bytes:
    """The bytes of a token by its entry in the vocabulary: `<0xE2>` as SentencePiece has it, else GPT-2's letters."""
    if fallback := re.fullmatch("<0x([0-9A-F]{2})>", piece):
        return bytes.fromhex(fallback[1])
    letters = _bytes_of_letters()
    return bytes(letters[letter] for letter in piece) if all(map(letters.__contains__, piece)) else text.encode()


@cache
def _bytes_of_letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for (Radford et al. 2019, GPT-2)."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}
