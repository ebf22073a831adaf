"""A memory budget: fewer activations, the same bytes of the result, and one message where nothing fits."""

from pathlib import Path

import pytest

from multitune.core.errors import ConfigError
from multitune.core.run_folder import RunFolder
from multitune.model.memory import memory_parts
from multitune.model.shape import model_shape
from multitune.planning import check_run
from multitune.training.job import train_run
from multitune.training.memory import layers_of, memory_demand, step_costs
from multitune.training.prepare import PreparedRun, prepare_run
from multitune.training.trainee import open_bank
from tests.training.conftest import Configure


def budget_for(run: PreparedRun, layers: int) -> int:
    """Bytes that the run takes when so many layers are computed again."""
    shape = model_shape(run.ref, run.config.lora.targets)
    demand = memory_demand(run, step_costs(run, run.config.train.pack_tokens))
    bank = open_bank(prepare_run(run.config.model_copy(update={"memory": None})))
    return int(memory_parts(shape, demand, bank.backbone.device, bank.backbone.dtype, layers).total) + 1


@pytest.fixture
def plain(configure: Configure) -> PreparedRun:
    return prepare_run(configure())


def test_a_run_within_its_budget_ends_with_the_same_bytes(
    configure: Configure, plain: PreparedRun, tmp_path: Path
) -> None:
    tight = prepare_run(configure(memory=budget_for(plain, 1)))
    assert layers_of(tight) == 1 and layers_of(plain) == 0
    files: list[dict[str, bytes]] = []
    for name, run in (("plain", plain), ("tight", tight)):
        folder = RunFolder(tmp_path / name)
        train_run(run, folder)
        found = sorted((tmp_path / name).glob("adapters/*/*.safetensors"))
        files.append({path.parent.name: path.read_bytes() for path in found})
    assert len(files[0]) == 3 and files[0] == files[1]


def test_the_first_layers_are_the_ones_that_are_computed_again(configure: Configure, plain: PreparedRun) -> None:
    bank = open_bank(prepare_run(configure(memory=budget_for(plain, 1))))
    layers = bank.backbone.model.model.layers
    assert ["forward" in vars(layer) for layer in layers] == [True, False]


def test_check_says_which_layers_and_what_that_costs(configure: Configure, plain: PreparedRun) -> None:
    need = check_run(configure(memory=budget_for(plain, 1), audit="off")).estimate
    assert need.recomputed is not None and need.memory_budget is not None and need.memory is not None
    assert (need.recomputed.layers, need.recomputed.of) == (1, 2) and 1 < need.recomputed.slowdown < 1.5
    assert need.memory_bytes <= need.memory_budget and need.memory_bytes == pytest.approx(need.memory.total)


def test_a_budget_that_everything_fits_into_changes_nothing(configure: Configure) -> None:
    assert check_run(configure(memory="16GiB", audit="off")).estimate.recomputed is None


def test_a_budget_that_nothing_fits_names_the_parts_before_anything_is_written(
    configure: Configure, plain: PreparedRun, tmp_path: Path
) -> None:
    config = configure(memory=budget_for(plain, 1) - 1_000_000)
    message = r"memory: .* is too little for this run.*base .*adapters .*optimizer .*activations .*libraries"
    with pytest.raises(ConfigError, match=message):
        train_run(prepare_run(config), RunFolder(tmp_path / "run"))
    with pytest.raises(ConfigError, match=message):
        check_run(config)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_what_would_fit_fits(configure: Configure, plain: PreparedRun) -> None:
    wide = {"pack_tokens": 2048, "max_length": 2048, "batch_size": 400}
    large = prepare_run(configure(train=wide))
    budget = (budget_for(large, 1) + budget_for(plain, 1)) // 2
    with pytest.raises(ConfigError, match=r"What would fit: .*pack_tokens: (\d+)") as caught:
        layers_of(prepare_run(configure(train=wide, memory=budget)))
    tokens = int(str(caught.value).split("pack_tokens: ")[1].split(",")[0])
    smaller = {**wide, "pack_tokens": tokens, "max_length": tokens}
    assert layers_of(prepare_run(configure(train=smaller, memory=budget))) <= 2


def test_a_run_goes_on_within_another_budget(configure: Configure, plain: PreparedRun, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    train_run(plain, folder)
    train_run(prepare_run(configure(memory=budget_for(plain, 1))), folder, resume=True)
    assert len(list(tmp_path.glob("run/adapters/*/*.safetensors"))) == 3


def test_a_budget_and_all_layers_exclude_each_other(configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"memory chooses the layers.*remove one of the two"):
        configure(memory="1GiB", train={"gradient_checkpointing": True})


def test_a_budget_without_a_unit_it_knows_is_refused_with_an_example(configure: Configure) -> None:
    with pytest.raises(ConfigError, match="such as 16GiB"):
        configure(memory="much")
