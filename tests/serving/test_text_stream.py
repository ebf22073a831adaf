"""Text comes in whole characters, and never with the beginning of what ends it."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from multitune.serving.text_stream import TextStream


@pytest.fixture(scope="module")
def by_byte() -> PreTrainedTokenizerFast:
    """A token for every byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def pieces(tokenizer: PreTrainedTokenizerFast, text: str, *stops: str) -> list[str]:
    stream = TextStream(tokenizer, stops)
    found: list[str] = []
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        found.append(stream.push(token))
        if stream.stopped:
            return found
    return [*found, stream.finish()]


def test_a_character_of_several_tokens_comes_whole(by_byte: PreTrainedTokenizerFast) -> None:
    found = pieces(by_byte, "naïve 東京 🙂!")
    assert "".join(found) == "naïve 東京 🙂!"
    assert {"ï", "東", "🙂"} <= set(found)


def test_the_beginning_of_a_stop_string_is_held_until_it_is_none(by_byte: PreTrainedTokenizerFast) -> None:
    assert pieces(by_byte, "a END", "END") == ["a", " ", "", "", ""]
    assert pieces(by_byte, "aENx", "END") == ["a", "", "", "ENx", ""]
    assert "".join(pieces(by_byte, "aEN", "END")) == "aEN"


def test_the_earliest_of_several_stop_strings_ends_the_text(by_byte: PreTrainedTokenizerFast) -> None:
    assert "".join(pieces(by_byte, "one two three", "three", "two")) == "one "


def test_bytes_that_are_no_character_are_told_at_the_end(by_byte: PreTrainedTokenizerFast) -> None:
    stream = TextStream(by_byte)
    tokens = by_byte("a東", add_special_tokens=False)["input_ids"]
    assert [stream.push(token) for token in tokens[:2]] == ["a", ""]
    assert stream.finish() == "\ufffd"
