"""Tokens are drawn as often as their probability says, and those outside the nucleus never."""

import numpy as np
import pytest
import torch

from multitune.serving.sampling import SamplingOptions, logprobs_of, pick

CHANCE = [0.5, 0.25, 0.15, 0.1]


def shares(options: SamplingOptions, draws: int = 4000) -> list[float]:
    random, logits = np.random.default_rng(0), torch.tensor(CHANCE).log()
    drawn = [pick(logits, options, random) for _ in range(draws)]
    return (np.bincount(drawn, minlength=4) / draws).tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (SamplingOptions(temperature=0), [1, 0, 0, 0]),
        (SamplingOptions(), CHANCE),
        (SamplingOptions(top_p=0.75), [2 / 3, 1 / 3, 0, 0]),
        (SamplingOptions(top_p=0.76), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        (SamplingOptions(temperature=0.5), [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
    ],
)
def test_shares_of_draws(options: SamplingOptions, expected: list[float]) -> None:
    assert shares(options) == pytest.approx(expected, abs=0.03)


def test_a_nucleus_wider_than_the_first_look_is_drawn_in_full() -> None:
    logits, random = -1e-5 * torch.arange(5000), np.random.default_rng(0)
    drawn = [pick(logits, SamplingOptions(top_p=0.9), random) for _ in range(2000)]
    assert len(set(drawn)) > 1500 and 4400 < max(drawn) < 4500


def test_log_probabilities_come_before_temperature_with_the_likeliest() -> None:
    (found,) = logprobs_of(torch.tensor([CHANCE]).log(), [1], 2)
    assert found.logprob == pytest.approx(np.log(0.25))
    assert [token for token, _ in found.top] == [0, 1]
