"""The rate along a run, and an optimizer that a checkpoint can put back."""

import pytest
import torch

from multitune.config.schema import TrainConfig
from multitune.training.optim import AdapterOptimizer, Budget, learning_rate_at


class Vector:
    """The smallest trainee: one vector with a given gradient."""

    def __init__(self, gradient: float = 1.0) -> None:
        self.weights = torch.ones(3)
        self.gradient = torch.full((3,), gradient)

    def masters(self) -> list[torch.Tensor]:
        return [self.weights]

    def gradients(self) -> list[torch.Tensor]:
        return [self.gradient]

    def publish(self) -> None:
        pass


def optimizer(trainee: Vector, **train: float) -> AdapterOptimizer:
    return AdapterOptimizer(trainee, Budget(10, 0.1, 0.0), TrainConfig(**train))


def test_the_rate_rises_through_the_warm_up_and_ends_near_zero() -> None:
    rates = [learning_rate_at(Budget(100, 1.0, 0.1), step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(rates) == 1.0 and rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 1e-3


def test_a_rate_to_convergence_is_constant_until_it_decays_at_the_cap_or_before() -> None:
    budget = Budget.until_convergence(120, 1.0, 0.1)
    rates = [learning_rate_at(budget, step) for step in range(120)]
    assert rates[12:100] == [1.0] * 88 and rates[-1] == pytest.approx(1 / 20)
    early = budget.ended(50)
    assert early.steps == 60
    assert [learning_rate_at(early, step) for step in (49, 50, 55, 59)] == pytest.approx([1.0, 1.0, 0.5, 0.1])
    assert budget.ended(110).steps == 120  # never beyond the cap


def test_the_first_adamw_step_moves_by_the_rate() -> None:
    trainee = Vector()
    optimizer(trainee, weight_decay=0.0).step(0)
    assert trainee.weights == pytest.approx([0.9] * 3, abs=1e-5)


def test_a_large_gradient_is_clipped_to_the_norm() -> None:
    trainee = Vector(gradient=100.0)
    _, norm = optimizer(trainee, max_grad_norm=1.0).step(0)
    assert norm == pytest.approx(100 * 3**0.5) and trainee.gradient.norm().item() == pytest.approx(1.0)


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    trainee = Vector(gradient=float("nan"))
    optimizer(trainee).step(0)
    assert trainee.weights.tolist() == [1.0] * 3


def test_a_restored_optimizer_goes_on_bit_by_bit() -> None:
    straight = Vector()
    moving = optimizer(straight)
    moving.step(0)
    saved = {key: tensor.clone() for key, tensor in moving.tensors().items()}
    moving.step(1)
    resumed = Vector()
    again = optimizer(resumed)
    again.restore(saved)
    again.step(1)
    assert torch.equal(straight.weights, resumed.weights)
