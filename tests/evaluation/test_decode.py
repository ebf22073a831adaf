"""Labels are found as by exhaustive scoring, and text as by a plain greedy loop."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from multitune.core.errors import MultituneError
from multitune.core.records import Segments
from multitune.data.tokenizer import ChatFormat
from multitune.evaluation import decode
from multitune.evaluation.decode import GenerateOptions, generate, score_labels
from multitune.model.bank import AdapterBank

VOCAB = 93
EOS = 1


def random_prompts(seed: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    stem = rng.integers(2, VOCAB, 5)
    return [np.concatenate([stem, rng.integers(2, VOCAB, rng.integers(1, 12))]).astype(np.int32) for _ in range(count)]


def random_labels(seed: int, count: int, firsts: int) -> list[np.ndarray]:
    """Different labels of one to four tokens that share `firsts` first tokens, each with the closing token."""
    rng = np.random.default_rng(seed)
    starts = rng.choice(np.arange(2, VOCAB), firsts, replace=False)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        found[(int(rng.choice(starts)), *rng.integers(2, VOCAB, rng.integers(0, 4)).tolist(), EOS)] = None
    return [np.array(label, dtype=np.int32) for label in found]


def one_by_one(bank: AdapterBank, adapter: str, prompt: np.ndarray, label: np.ndarray) -> float:
    """Log-likelihood of a label by the model's plain forward pass."""
    ids = torch.from_numpy(np.concatenate([prompt, label]).astype(np.int64))[None]
    with bank.use(adapter) as model, torch.no_grad():
        log_p = model(ids).logits[0].log_softmax(-1)
    return sum(float(log_p[len(prompt) - 1 + i, token]) for i, token in enumerate(label))


def greedy_loop(bank: AdapterBank, adapter: str, prompt: np.ndarray, steps: int) -> list[int]:
    ids = prompt.tolist()
    with bank.use(adapter) as model, torch.no_grad():
        for _ in range(steps):
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == EOS:
                break
            ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("adapter", ["base", "first"])
def test_a_few_labels_are_scored_as_by_plain_forward_passes(bank: AdapterBank, adapter: str) -> None:
    prompts, labels = random_prompts(1, 4), random_labels(2, 5, 3)
    scores = score_labels(bank, adapter, prompts, labels, 64)
    expected = [[one_by_one(bank, adapter, prompt, label) for label in labels] for prompt in prompts]
    np.testing.assert_allclose(scores.log_likelihood, expected, rtol=1e-5)
    assert scores.exact.all()


@pytest.mark.parametrize(("count", "firsts"), [(9, 9), (40, 6), (60, 40), (30, 1)])
def test_the_bounded_search_finds_what_exhaustive_scoring_finds(
    bank: AdapterBank, monkeypatch: pytest.MonkeyPatch, count: int, firsts: int
) -> None:
    prompts, labels = random_prompts(count, 12), random_labels(firsts, count, firsts)
    found = score_labels(bank, "first", prompts, labels, 128)
    monkeypatch.setattr(decode, "FEW_LABELS", 1000)
    every = score_labels(bank, "first", prompts, labels, 128)
    assert every.exact.all()
    np.testing.assert_array_equal(found.best, every.best)
    np.testing.assert_allclose(found.log_likelihood[found.exact], every.log_likelihood[found.exact], rtol=1e-5)
    assert (found.log_likelihood >= every.log_likelihood - 1e-4).all()


def test_labels_whose_beginning_cannot_win_are_not_scored(bank: AdapterBank) -> None:
    labels = [np.array([token], dtype=np.int32) for token in range(2, 62)]  # all beginning: the bound is the score
    scores = score_labels(bank, "base", random_prompts(5, 12), labels, 128)
    assert scores.exact.sum(axis=1).tolist() == [1] * 12


def test_groups_of_examples_change_no_score(bank: AdapterBank, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, labels = random_prompts(7, 6), random_labels(8, 20, 10)
    whole = score_labels(bank, "first", prompts, labels, 128)
    monkeypatch.setattr(decode, "ROWS_AT_ONCE", 40)
    parts = score_labels(bank, "first", prompts, labels, 128)
    np.testing.assert_array_equal(parts.best, whole.best)
    np.testing.assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-5)


def test_no_prompts_give_no_scores(bank: AdapterBank) -> None:
    assert score_labels(bank, "base", [], random_labels(1, 3, 3), 64).log_likelihood.shape == (0, 3)


@pytest.mark.parametrize("adapter", ["base", "first"])
def test_generation_equals_a_plain_greedy_loop(bank: AdapterBank, chat: ChatFormat, adapter: str) -> None:
    prompts = random_prompts(11, 7)
    texts = generate(bank, adapter, prompts, chat, GenerateOptions(8, batch_size=3))
    loops = [greedy_loop(bank, adapter, prompt, 8) for prompt in prompts]
    assert texts == [chat.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in loops]


def test_adapters_answer_differently(bank: AdapterBank, chat: ChatFormat) -> None:
    prompts = random_prompts(12, 5)
    answers = [generate(bank, name, prompts, chat, GenerateOptions(6)) for name in ("base", "first", "second")]
    assert len({tuple(texts) for texts in answers}) == 3


def test_the_batch_an_example_is_in_changes_no_answer(bank: AdapterBank, chat: ChatFormat) -> None:
    prompts = random_prompts(13, 9)
    answers = [generate(bank, "second", prompts, chat, GenerateOptions(6, size)) for size in (1, 4, 9)]
    assert answers[0] == answers[1] == answers[2]


def test_an_answer_ends_before_the_closing_token(bank: AdapterBank, chat: ChatFormat) -> None:
    head = bank.backbone.model.lm_head.weight
    head.data[EOS] = head.data.abs().sum() * torch.ones(head.shape[1])  # dominates whenever the state sums above 0
    texts = generate(bank, "base", random_prompts(14, 12), chat, GenerateOptions(20))
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) == 0
    assert lengths == [len(greedy_loop(bank, "base", prompt, 20)) for prompt in random_prompts(14, 12)]


def test_what_the_base_recommends_for_sampling_has_no_say(bank: AdapterBank, chat: ChatFormat) -> None:
    prompts = random_prompts(15, 4)
    before = generate(bank, "base", prompts, chat, GenerateOptions(8))
    own = bank.backbone.model.generation_config
    own.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, no_repeat_ngram_size=1)
    assert generate(bank, "base", prompts, chat, GenerateOptions(8)) == before
    assert bank.backbone.model.generation_config is own


def test_a_batch_too_large_for_the_memory_is_halved(
    bank: AdapterBank, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = random_prompts(16, 9)
    expected = generate(bank, "first", prompts, chat, GenerateOptions(4))
    widths = memory_for(bank, monkeypatch, most=2)
    assert generate(bank, "first", prompts, chat, GenerateOptions(4, batch_size=8)) == expected
    assert widths == [8, 4, 2, 2, 2, 2, 1]


def test_a_prompt_too_large_for_the_memory_is_one_clear_error(
    bank: AdapterBank, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_for(bank, monkeypatch, most=0)
    with pytest.raises(MultituneError, match=r"adapter 'first': a prompt of 9 tokens .* Lower train.max_length"):
        generate(bank, "first", [np.arange(2, 11, dtype=np.int32)], chat, GenerateOptions(4))


def memory_for(bank: AdapterBank, monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let generation run out of memory above so many prompts; returns the batch sizes it is asked for."""
    real, asked = bank.backbone.model.generate, []

    def limited(ids: torch.Tensor, **options: Any) -> torch.Tensor:
        asked.append(len(ids))
        if len(ids) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(ids, **options)

    monkeypatch.setattr(bank.backbone.model, "generate", limited)
    return asked


def test_damaged_weights_are_named_and_not_decoded(bank: AdapterBank, chat: ChatFormat) -> None:
    bank["second"].weights.fill_(float("nan"))
    bank["second"].publish()
    prompts: Sequence[np.ndarray] = random_prompts(17, 2)
    with pytest.raises(MultituneError, match="adapter 'second': its outputs are not finite"):
        generate(bank, "second", prompts, chat, GenerateOptions(4))
    with pytest.raises(MultituneError, match="adapter 'second': its outputs are not finite"):
        score_labels(bank, "second", prompts, random_labels(1, 3, 3), 64)


def test_the_loss_of_an_answer_is_the_mean_over_its_tokens(bank: AdapterBank) -> None:
    prompt, label = random_prompts(18, 1)[0], random_labels(18, 1, 1)[0]
    loss = decode.answer_losses(bank, "first", [Segments(prompt, label)], 64)[0]
    assert loss == pytest.approx(-one_by_one(bank, "first", prompt, label) / len(label), rel=1e-5)


def test_the_head_gets_compact_rows_from_generate(bank: AdapterBank, chat: ChatFormat) -> None:
    compact: list[bool] = []
    head = bank.backbone.model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: compact.append(inputs[0].is_contiguous()))
    generate(bank, "first", random_prompts(5, 3), chat, GenerateOptions(3))
    assert compact and all(compact)  # else PyTorch copies the vocabulary once per row
