"""Text is what a plain greedy loop writes, whether or not prompts share their beginnings, and in any batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from multitune.core.errors import MultituneError
from multitune.core.records import Segments
from multitune.data.tokenizer import ChatFormat
from multitune.inference.generate import GenerateOptions, generate
from multitune.inference.labels import answer_losses
from multitune.model.backbone import Backbone
from multitune.model.bank import AdapterBank
from multitune.tasks.output_parsing import free_text
from tests.greedy import greedy_loop

VOCAB = 93
EOS = 1


def random_rows(seed: int, count: int) -> list[Segments]:
    """Prompts that begin alike, one of which is the beginning of another, with answers of one to four tokens."""
    rng = np.random.default_rng(seed)
    stem = rng.integers(2, VOCAB, 5)
    prompts = [np.concatenate([stem, rng.integers(2, VOCAB, rng.integers(1, 12))]) for _ in range(count)]
    prompts[-1] = np.concatenate([prompts[0], [7]])
    answers = [np.append(rng.integers(2, VOCAB, rng.integers(0, 4)), EOS) for _ in prompts]
    return [Segments(p.astype(np.int32), a.astype(np.int32)) for p, a in zip(prompts, answers, strict=True)]


def texts_of(bank: AdapterBank, adapter: str, rows: Sequence[Segments], chat: ChatFormat, *how: int) -> list[str]:
    return generate(bank, adapter, rows, chat, GenerateOptions(*how)).texts


def ends_often(bank: AdapterBank) -> None:
    """Make the closing token likely, so that rows of a batch end at different steps."""
    head = bank.backbone.model.lm_head.weight
    head.data[EOS] = head.data.abs().sum() * torch.ones(head.shape[1])  # dominates whenever the state sums above 0


@pytest.mark.parametrize("adapter", ["base", "first"])
@pytest.mark.parametrize("pack_tokens", [20, 2048])
def test_generation_equals_a_plain_greedy_loop(
    either: AdapterBank, chat: ChatFormat, adapter: str, pack_tokens: int
) -> None:
    rows = random_rows(11, 8)
    texts = texts_of(either, adapter, rows, chat, 8, 3, pack_tokens)
    loops = [greedy_loop(either, adapter, row.prompt, 8, EOS) for row in rows]
    assert texts == [free_text(str(chat.tokenizer.decode(ids, skip_special_tokens=True))) for ids in loops]


def test_an_answer_that_had_not_ended_at_the_limit_is_marked(either: AdapterBank, chat: ChatFormat) -> None:
    rows = random_rows(14, 6)
    loops = [greedy_loop(either, "first", row.prompt, 8, EOS) for row in rows]
    assert generate(either, "first", rows, chat, GenerateOptions(8)).cut == [len(ids) == 8 for ids in loops]
    shorter = generate(either, "first", rows, chat, GenerateOptions(2)).cut
    assert shorter == [len(ids) >= 2 for ids in loops]


def test_the_loss_that_comes_with_a_text_is_that_of_the_answer(either: AdapterBank, chat: ChatFormat) -> None:
    rows = random_rows(18, 6)
    losses = generate(either, "first", rows, chat, GenerateOptions(4, 2, 32)).losses
    assert losses == pytest.approx(answer_losses(either, "first", rows, 2048), rel=1e-5)


def test_adapters_answer_differently(either: AdapterBank, chat: ChatFormat) -> None:
    answers = [texts_of(either, name, random_rows(12, 5), chat, 6) for name in ("base", "first", "second")]
    assert len({tuple(texts) for texts in answers}) == 3


def test_the_batch_an_example_is_in_changes_no_answer(either: AdapterBank, chat: ChatFormat) -> None:
    answers = [texts_of(either, "second", random_rows(13, 9), chat, 6, size) for size in (1, 4, 9)]
    assert answers[0] == answers[1] == answers[2]


def test_an_answer_ends_before_the_closing_token(either: AdapterBank, chat: ChatFormat) -> None:
    ends_often(either)
    rows = random_rows(14, 12)
    lengths = [len(text.split()) for text in texts_of(either, "base", rows, chat, 20)]
    assert min(lengths) == 0 and len(set(lengths)) > 2
    assert lengths == [len(greedy_loop(either, "base", row.prompt, 20, EOS)) for row in rows]


def test_a_row_that_has_ended_costs_nothing_more(
    bank: AdapterBank, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends_often(bank)
    rows = random_rows(14, 12)
    sizes = decoded(bank, monkeypatch)
    texts = texts_of(bank, "base", rows, chat, 20)
    # A token is read to find the next one; the last of an answer that is cut off is not.
    assert sum(sizes) == sum(min(len(text.split()), 19) for text in texts)


def test_what_the_base_recommends_for_sampling_has_no_say(either: AdapterBank, chat: ChatFormat) -> None:
    rows = random_rows(15, 4)
    before = texts_of(either, "base", rows, chat, 8)
    own = either.backbone.model.generation_config
    own.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, no_repeat_ngram_size=1)
    assert texts_of(either, "base", rows, chat, 8) == before
    assert either.backbone.model.generation_config is own


def test_a_batch_too_large_for_the_memory_is_halved(
    either: AdapterBank, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(16, 9)
    expected = texts_of(either, "first", rows, chat, 2)
    sizes = decoded(either, monkeypatch, most=2)
    assert texts_of(either, "first", rows, chat, 2, 8) == expected
    assert sizes == [8, 4, 2, 2, 2, 2, 1]


def test_a_prompt_too_large_for_the_memory_is_one_clear_error(
    either: AdapterBank, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded(either, monkeypatch, most=0)
    row = Segments(np.arange(2, 11, dtype=np.int32), np.array([EOS], dtype=np.int32))
    with pytest.raises(MultituneError, match=r"adapter 'first': a prompt of 9 tokens .* Lower train.max_length"):
        generate(either, "first", [row], chat, GenerateOptions(4))


def test_a_pack_too_large_for_the_memory_is_one_clear_error(
    bank: AdapterBank, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(bank.backbone.model, "forward", full)
    with pytest.raises(MultituneError, match=r"adapter 'first': 64 tokens of prompts .* Lower train.pack_tokens"):
        generate(bank, "first", random_rows(16, 3), chat, GenerateOptions(4))


def decoded(bank: AdapterBank, monkeypatch: pytest.MonkeyPatch, most: int | None = None) -> list[int]:
    """How many rows decoding is asked for at once from now on, copies aside; above `most` it runs out of memory."""
    sizes: list[int] = []

    def limited(rows: int) -> None:
        sizes.append(rows)
        if most is not None and rows > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    follow, whole = Backbone.follow, bank.backbone.model.generate

    def step(backbone: Backbone, tokens: Sequence[int], paths: Sequence[np.ndarray], cache: Any) -> torch.Tensor:
        limited(len({tuple(path[:-1]) for path in paths}))
        return follow(backbone, tokens, paths, cache)

    def batch(ids: torch.Tensor, **options: Any) -> Any:
        limited(len(ids.unique(dim=0)))
        return whole(ids, **options)

    monkeypatch.setattr(Backbone, "follow", step)
    monkeypatch.setattr(bank.backbone.model, "generate", batch)
    return sizes


def test_damaged_weights_are_named_and_not_decoded(either: AdapterBank, chat: ChatFormat) -> None:
    either["second"].weights.fill_(float("nan"))
    either["second"].publish()
    with pytest.raises(MultituneError, match="adapter 'second': its outputs are not finite"):
        generate(either, "second", random_rows(17, 2), chat, GenerateOptions(4))


@pytest.mark.parametrize("either", ["row by row"], indirect=True)
def test_the_head_gets_compact_rows_from_transformers_generate(either: AdapterBank, chat: ChatFormat) -> None:
    compact: list[bool] = []
    head = either.backbone.model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: compact.append(inputs[0].is_contiguous()))
    generate(either, "first", random_rows(5, 3), chat, GenerateOptions(3))
    assert compact and all(compact)  # else PyTorch copies the vocabulary once per row
