"""Usual ranges per method, and the default learning rate."""

from collections.abc import Callable

import pytest

from multitune.config.ranges import learning_rate, range_warnings
from multitune.config.schema import RunConfig

Load = Callable[..., RunConfig]
Tasks = Callable[..., str]


@pytest.mark.parametrize(("method", "rate"), [("lora", 2e-4), ("full", 3e-5)])
def test_the_learning_rate_follows_the_method(method: str, rate: float, load: Load, tasks: Tasks) -> None:
    assert learning_rate(load(tasks("a") + f"method: {method}")) == rate


def test_a_given_learning_rate_is_taken(load: Load, tasks: Tasks) -> None:
    assert learning_rate(load(tasks("a"), "train.learning_rate=7e-4")) == 7e-4


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_defaults_are_usual(method: str, load: Load, tasks: Tasks) -> None:
    assert range_warnings(load(tasks("a") + f"method: {method}")) == []


@pytest.mark.parametrize(
    ("method", "setting", "warning"),
    [
        ("full", "train.learning_rate=2e-4", "train.learning_rate is 0.0002; usual for full is 2e-05 to 5e-05: "),
        ("lora", "train.learning_rate=3e-5", "train.learning_rate is 3e-05; usual for lora is 0.0001 to 0.0005: "),
        ("lora", "train.batch_size=8", "train.batch_size is 8; usual for lora is 16 to 64: "),
        ("full", "train.batch_size=128", "train.batch_size is 128; usual for full is 16 to 64: "),
        ("full", "train.epochs=2.5", "train.epochs is 2.5; usual for full is 3 to 10: "),
        ("lora", "train.epochs=11", "train.epochs is 11; usual for lora is 3 to 10: "),
        ("full", "train.weight_decay=0", "train.weight_decay is 0; usual for full is 0.01 to 0.1: "),
        ("lora", "train.weight_decay=0.2", "train.weight_decay is 0.2; usual for lora is 0 to 0.1: "),
        ("lora", "lora={rank: 4, alpha: 8}", "lora.rank is 4; usual for lora is 8 to 64: "),
        (
            "lora",
            "mixture={schedule: temperature, temperature: 9}",
            "mixture.temperature is 9; usual for lora is 1 to 5: ",
        ),
        ("full", "mixture.anneal_end=0.8", "mixture.anneal_end is 0.8; usual for full is 0 to 0.5: "),
        ("lora", "lora.rank=8", "lora.alpha is 32; usual for rank 8 is 16: "),
        (
            "lora",
            "adapters=[{name: x, tasks: [a], epochs: 1}]",
            "adapters[0].epochs is 1; usual for lora is 3 to 10: ",
        ),
    ],
)
def test_what_is_outside_is_told_with_the_range_and_a_reason(
    method: str, setting: str, warning: str, load: Load, tasks: Tasks
) -> None:
    (line,) = range_warnings(load(tasks("a") + f"method: {method}", setting))
    assert line.startswith(warning) and len(line) > len(warning) + 10


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        ("lora", "train.weight_decay=0"),
        ("lora", "train.learning_rate=5e-4"),
        ("full", "train.learning_rate=2e-5"),
        ("full", "train.weight_decay=0.1"),
        ("full", "lora.alpha=1"),
        ("full", "lora.rank=1"),
        ("lora", "mixture={schedule: sqrt, temperature: 9, anneal_end: 0.9}"),
        ("lora", "train={epochs: 1, max_steps: 50}"),
        ("lora", "adapters=[{name: x, tasks: [a], epochs: 1, steps: 50}]"),
    ],
)
def test_bounds_and_what_is_not_in_use_are_silent(method: str, setting: str, load: Load, tasks: Tasks) -> None:
    assert range_warnings(load(tasks("a") + f"method: {method}", setting)) == []
