"""Laws of balancing: where tasks do not conflict nothing changes, weights are a distribution, resumed runs agree."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError
from multitune.core.events import Event
from multitune.core.records import PackRow, Segments
from multitune.core.run_folder import RunFolder
from multitune.core.seeds import generator
from multitune.training.balance import Famo, TaskGradients, by_task, project
from multitune.training.job import JobOptions, train_run
from multitune.training.prepare import prepare_run

Configure = Callable[..., RunConfig]
RANDOM = generator(17, "test")


def row(task: int, weight: float = 0.25) -> PackRow:
    return PackRow(Segments(np.arange(3, dtype=np.int32), np.arange(2, dtype=np.int32)), 0, task, weight / 2)


def trained(config: RunConfig, folder: Path, adapter: str = "shared", **options: Any) -> dict[str, torch.Tensor]:
    train_run(prepare_run(config), RunFolder(folder), JobOptions(**options))
    return load_file(folder / "adapters" / adapter / "adapter_model.safetensors")


def steps(folder: Path) -> list[Event]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [{k: v for k, v in event.items() if k != "seconds"} for event in events if event["kind"] == "step"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def power_cut(event: Event) -> None:
    if event["kind"] == "step" and event["step"] == 5:
        raise RuntimeError("power cut")


@pytest.mark.parametrize("second", [[0.0, 3.0, 0.0], [1.0, 3.0, 0.0], [2.0, 0.0, 0.0]])
def test_gradients_that_agree_or_are_orthogonal_are_summed(second: list[float]) -> None:
    gradients = [torch.tensor([2.0, 0.0, 0.0]), torch.tensor(second)]
    total, conflicts = project(gradients, RANDOM)
    assert torch.equal(total, gradients[0] + gradients[1]) and conflicts == 0


def test_of_two_gradients_that_conflict_each_loses_what_points_against_the_other() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    total, conflicts = project([one, other], RANDOM)
    assert torch.allclose(total, torch.tensor([0.5, 1.5])) and conflicts == 2
    assert torch.equal(project([one, -one], RANDOM)[0], torch.zeros(2))


@given(seed=st.integers(0, 1000))
def test_the_projection_of_two_gradients_points_against_neither(seed: int) -> None:
    one, other = torch.from_numpy(generator(seed, "gradients").normal(size=(2, 5)).astype(np.float32))
    total = project([one, other], RANDOM)[0]
    assert total @ one >= -1e-5 and total @ other >= -1e-5


def test_the_gradient_of_one_task_comes_back_as_it_was() -> None:
    gradient = torch.tensor([0.3, -0.7])
    gradients = TaskGradients(gradient)
    gradients.take()
    assert torch.equal(gradient, torch.zeros(2))
    gradients.take()  # a task that has nothing to do with this adapter
    assert gradients.settle(RANDOM) == 0.0
    assert torch.equal(gradient, torch.tensor([0.3, -0.7]))


def test_rows_are_parted_by_task_across_adapters() -> None:
    assert by_task([row(2), row(0), row(2), row(1)]) == [[1], [3], [0, 2]]


def test_famo_raises_the_weight_of_the_task_that_improves_least() -> None:
    famo, rows = Famo(3), [row(task) for task in (0, 1, 2, 2)]
    tokens = np.array([10, 10, 20])
    for step in range(20):
        famo.weigh(rows)
        famo.note(np.array([2.0 * 0.8**step, 3.0 * 0.9**step, 1.0 * 0.98**step]) * tokens, tokens)
    famo.weigh(rows)
    gained = famo.weights / [0.25, 0.25, 0.5]
    assert gained[2] > gained[1] > gained[0]


@given(tasks=st.lists(st.integers(0, 3), min_size=1, max_size=12), seed=st.integers(0, 100))
def test_famo_weights_are_a_distribution_over_the_tasks_of_a_step(tasks: list[int], seed: int) -> None:
    famo, random = Famo(4), generator(seed, "losses")
    rows = [row(task, 1 / len(tasks)) for task in tasks]
    for _ in range(5):
        weighed = famo.weigh(rows)
        assert famo.weights.sum() == pytest.approx(1.0) and (famo.weights >= 0).all()
        assert {t for t in range(4) if famo.weights[t]} == set(tasks)
        tokens = np.bincount(tasks, minlength=4)
        famo.note(random.uniform(0.1, 5.0, 4) * tokens, tokens)
        assert all(r.weight > 0 for r in weighed)


def test_famo_lets_the_log_losses_weigh_as_its_weights_say() -> None:
    famo, rows = Famo(2), [row(0, 0.5), row(1, 0.5)]
    famo.weigh(rows)
    famo.note(np.array([1.0, 4.0]), np.array([1, 1]))  # nothing to compare with yet: the logits rest
    first, second = (r.weight for r in famo.weigh(rows))
    assert famo.weights == pytest.approx([0.5, 0.5])
    assert first / second == pytest.approx(4.0) and 2 * (first + second) == pytest.approx(1.0)


@pytest.mark.parametrize("balance", ["famo", "pcgrad"])
def test_a_balanced_run_that_died_goes_on_to_the_same_bits(balance: str, configure: Configure, tmp_path: Path) -> None:
    config = configure(train={"balance": balance})
    straight = trained(config, tmp_path / "straight")
    with pytest.raises(RuntimeError, match="power cut"):
        trained(config, tmp_path / "died", observe=power_cut)
    assert same(straight, trained(config, tmp_path / "died", resume=True))
    assert steps(tmp_path / "straight") == steps(tmp_path / "died")


@pytest.mark.parametrize("balance", ["famo", "pcgrad"])
def test_with_one_task_balancing_changes_no_bit(balance: str, configure: Configure, tmp_path: Path) -> None:
    recipe = [{"name": "one", "tasks": ["colours"]}]
    plain = trained(configure(adapters=recipe), tmp_path / "sum", "one")
    balanced = trained(configure(adapters=recipe, train={"balance": balance}), tmp_path / balance, "one")
    assert same(plain, balanced)


@pytest.mark.parametrize("balance", ["famo", "pcgrad"])
def test_with_several_tasks_balancing_moves_the_adapter_elsewhere(
    balance: str, configure: Configure, tmp_path: Path
) -> None:
    plain = trained(configure(adapters="shared"), tmp_path / "sum")
    assert not same(plain, trained(configure(adapters="shared", train={"balance": balance}), tmp_path / balance))
    told = steps(tmp_path / balance)[-1]["adapters"]["shared"]
    assert sum(told["weights"].values()) == pytest.approx(1.0) if balance == "famo" else 0 <= told["conflicts"] <= 1


def test_plain_sum_is_the_default_and_tells_nothing_new(configure: Configure, tmp_path: Path) -> None:
    config = configure(adapters="shared")
    assert config.train.balance == "sum"
    trained(config, tmp_path / "run")
    assert {"weights", "conflicts"}.isdisjoint(steps(tmp_path / "run")[0]["adapters"]["shared"])


def test_a_whole_backbone_can_be_weighed_but_not_projected(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.balance is 'pcgrad'.*Use `sum` or `famo`, or `method: lora`"):
        configure(method="full", adapters="shared", train={"balance": "pcgrad"})
    config = configure(method="full", adapters="shared", train={"balance": "famo"})
    train_run(prepare_run(config), RunFolder(tmp_path / "full"), JobOptions())
    assert sum(steps(tmp_path / "full")[-1]["adapters"]["shared"]["weights"].values()) == pytest.approx(1.0)
