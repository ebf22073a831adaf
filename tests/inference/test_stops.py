"""A generated answer ends at a stop string, in front of it, whichever way it was decoded."""

import numpy as np
import pytest

from multitune.core.records import Segments
from multitune.data.tokenizer import ChatFormat
from multitune.inference.generate import GenerateOptions, generate
from multitune.inference.stops import StopStrings
from multitune.model.bank import AdapterBank

EOS = 1


def rows(count: int) -> list[Segments]:
    rng = np.random.default_rng(5)
    stop = np.array([EOS], dtype=np.int32)
    return [Segments(rng.integers(2, 93, 4 + i % 3).astype(np.int32), stop) for i in range(count)]


def test_answers_are_those_without_stop_strings_cut_in_front_of_the_first(
    either: AdapterBank, chat: ChatFormat
) -> None:
    plain = generate(either, "first", rows(20), chat, GenerateOptions(12))
    word = max((word for text in plain.texts for word in text.split()), key=lambda w: sum(w in t for t in plain.texts))
    stops = (f" {word}", "never written")
    stopped = generate(either, "first", rows(20), chat, GenerateOptions(12, stop=stops))
    assert stopped.texts == [StopStrings(stops, None).cut(text).strip() for text in plain.texts]
    assert stopped.texts != plain.texts
    assert np.array_equal(stopped.losses, plain.losses)
    for text, full, cut, was in zip(stopped.texts, plain.texts, stopped.cut, plain.cut, strict=True):
        assert cut == (was and text == full)


def test_a_string_over_several_tokens_ends_the_answer_early(
    either: AdapterBank, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = generate(either, "first", rows(1), chat, GenerateOptions(12)).texts[0].split()
    assert len(plain) > 4
    steps = 0
    forward = either.backbone.model.forward

    def counted(*inputs: object, **named: object) -> object:
        nonlocal steps
        steps += 1
        return forward(*inputs, **named)

    monkeypatch.setattr(either.backbone.model, "forward", counted)
    stopped = generate(either, "first", rows(1), chat, GenerateOptions(12, stop=(" ".join(plain[1:3]),)))
    assert stopped.texts == [plain[0]]
    assert 0 < steps < 8  # of 12 tokens


@pytest.mark.parametrize(
    ("text", "strings", "cut"),
    [
        ("42\nQ: 7", ["\n"], "42"),
        ("a###b", ["###"], "a"),
        ("a b c", ["c", "b"], "a "),  # the first in the text, not in the list
        ("价格。下一个", ["。"], "价格"),
        ("🙂🙂 end", ["🙂 "], "🙂"),
        ("nothing", ["x"], "nothing"),
        ("whole", [], "whole"),
    ],
)
def test_a_text_is_cut_in_front_of_the_first_string(text: str, strings: list[str], cut: str) -> None:
    assert StopStrings(strings, None).cut(text) == cut


@pytest.mark.parametrize("string", ["。", "🙂", "\n\n", "###", "</answer>", " stop", "é"])
def test_a_string_is_seen_at_the_token_that_completes_it(string: str) -> None:
    from multitune.core.bases import resolve_base
    from multitune.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(resolve_base("smollm2-135m"))
    stops = StopStrings([string], tokenizer)
    tokens = tokenizer.encode(f"some words before it{string}", add_special_tokens=False)
    ended = [stops.ended(tokens[:end]) for end in range(1, len(tokens) + 1)]
    first = next(end for end in range(1, len(tokens) + 1) if string in tokenizer.decode(tokens[:end]))
    assert ended.index(True) == first - 1
