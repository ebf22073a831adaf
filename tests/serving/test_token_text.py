"""Log-probabilities name every token apart, and the bytes of tokens make up the text that they stand for."""

from typing import Any

from transformers import PreTrainedTokenizerFast

from multitune.serving.responses import chat_logprobs, completion_logprobs
from multitune.serving.sampling import TokenLogprob
from multitune.serving.token_text import TokenText
from tests.conftest import byte_tokenizer

TOKENIZER = byte_tokenizer()
TEXT = "ja, 5 €"


def tokens(tokenizer: Any = TOKENIZER, text: str = TEXT) -> list[int]:
    return tokenizer(text)["input_ids"]


def test_the_bytes_of_tokens_are_those_of_the_text() -> None:
    found = chat_logprobs(TOKENIZER, [TokenLogprob(token, -0.5, ((token, -0.5),)) for token in tokens()]).content
    assert bytes(byte for one in found for byte in one.bytes).decode() == TEXT
    assert [one.bytes for one in found] == [one.top_logprobs[0].bytes for one in found]


def test_parts_of_characters_have_names_of_their_own() -> None:
    parts = tokens(text="€")
    likely = TokenLogprob(parts[1], -2.0, tuple((part, -1.0 - place) for place, part in enumerate(parts)))
    found = completion_logprobs(TOKENIZER, [likely])
    assert found.tokens == (r"bytes:\x82",)
    assert found.top_logprobs == ({r"bytes:\xe2": -1.0, r"bytes:\x82": -2.0, r"bytes:\xac": -3.0},)


def test_of_tokens_with_one_text_the_likeliest_is_named_and_the_chosen_has_its_own(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(PreTrainedTokenizerFast, "decode", lambda self, ids: "same" if ids[0] > 1 else "other")
    found = completion_logprobs(TOKENIZER, [TokenLogprob(1, -0.1, ((1, -0.1), (5, -1.0), (6, -9.0)))])
    assert found.top_logprobs == ({"other": -0.1, "same": -1.0},)
    chosen = completion_logprobs(TOKENIZER, [TokenLogprob(6, -9.0, ((1, -0.1), (5, -1.0)))])
    assert chosen.top_logprobs == ({"other": -0.1, "same": -9.0},)


def test_texts_begin_where_those_before_them_end() -> None:
    found = completion_logprobs(TOKENIZER, [TokenLogprob(token, -1.0, ()) for token in tokens(text="abc")][1:], 70)
    assert found.text_offset == (0, 1, 2) and found.token_logprobs[0] is None
    assert completion_logprobs(TOKENIZER, []).text_offset == ()


def test_bytes_as_sentencepiece_writes_them_are_read() -> None:
    class Pieces:
        def decode(self, ids: list[int]) -> str:
            return "\ufffd"

        def convert_ids_to_tokens(self, token: int) -> str:
            return "<0xE2>"

    assert TokenText.of(Pieces(), 3).bytes == b"\xe2"
