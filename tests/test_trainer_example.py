"""The trainer example: transformers' own Trainer draws as the sampler says, and goes on to the same weights."""

from pathlib import Path

import pytest
import torch

from examples.trainer.mixture import STEPS, MixtureTrainer, make_trainer, texts, train


class Recorded(torch.utils.data.Dataset):
    """Rows of a set that note which of them were asked for."""

    def __init__(self, rows: torch.utils.data.Dataset) -> None:
        self.rows, self.asked = rows, list[int]()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> object:
        self.asked.append(place)
        return self.rows[place]


def weights(trainer: MixtureTrainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.fixture(scope="module")
def whole(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MixtureTrainer:
    torch.manual_seed(0)
    return train(str(base_folder), tmp_path_factory.mktemp("whole") / "out")


def test_the_trainer_takes_as_many_steps_as_the_sampler_has(whole: MixtureTrainer) -> None:
    assert whole.state.global_step == STEPS == whole.sampler.steps


def test_the_trainer_reads_the_rows_that_the_sampler_names(base_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(str(base_folder), tmp_path, schedule="proportional")
    trainer.train_dataset = recorded = Recorded(trainer.train_dataset)
    trainer.train()
    counts = dict.fromkeys(texts(), 0)
    for place in recorded.asked:
        counts[trainer.sampler.set_of(place)] += 1
    assert counts == trainer.sampler.counts(STEPS)


def test_validation_losses_move_the_shares(whole: MixtureTrainer) -> None:
    shares = whole.sampler.shares(STEPS - 1)
    assert shares["small"] > shares["large"] and sum(shares.values()) == pytest.approx(1.0)


def test_a_training_that_was_stopped_ends_in_the_same_weights(
    whole: MixtureTrainer, base_folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    make_trainer(str(base_folder), tmp_path / "out", max_steps=20).train()
    resumed = train(str(base_folder), tmp_path / "out")
    assert resumed.state.global_step == STEPS
    assert resumed.sampler.state_dict() == whole.sampler.state_dict()  # all validation losses included
    assert torch.equal(weights(resumed), weights(whole))
