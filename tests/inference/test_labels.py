"""Labels are found as by exhaustive scoring."""

import numpy as np
import pytest
import torch

from multitune.core.errors import MultituneError
from multitune.core.records import Segments
from multitune.inference.labels import answer_losses, score_labels
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
    monkeypatch.setattr("multitune.inference.labels.FEW_LABELS", 1000)
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
    monkeypatch.setattr("multitune.inference.labels.ROWS_AT_ONCE", 40)
    parts = score_labels(bank, "first", prompts, labels, 128)
    np.testing.assert_array_equal(parts.best, whole.best)
    np.testing.assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-5)


def test_no_prompts_give_no_scores(bank: AdapterBank) -> None:
    assert score_labels(bank, "base", [], random_labels(1, 3, 3), 64).log_likelihood.shape == (0, 3)


def test_labels_are_not_chosen_by_damaged_weights(bank: AdapterBank) -> None:
    bank["second"].weights.fill_(float("nan"))
    bank["second"].publish()
    with pytest.raises(MultituneError, match="adapter 'second': its outputs are not finite"):
        score_labels(bank, "second", random_prompts(17, 2), random_labels(1, 3, 3), 64)


def test_the_loss_of_an_answer_is_the_mean_over_its_tokens(bank: AdapterBank) -> None:
    prompt, label = random_prompts(18, 1)[0], random_labels(18, 1, 1)[0]
    loss = answer_losses(bank, "first", [Segments(prompt, label)], 64)[0]
    assert loss == pytest.approx(-one_by_one(bank, "first", prompt, label) / len(label), rel=1e-5)
