"""A run with several seeds: every adapter is trained with each, verdicts are over all, the first ones ship."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import multitune
from multitune.core.errors import InputError
from multitune.core.results.scores import OF_SEEDS
from multitune.core.run_folder import RunFolder
from multitune.reporting.markdown import run_markdown


@pytest.fixture(scope="module")
def seeded(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> multitune.Run:
    folder = tmp_path_factory.mktemp("seeded")
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({**run_fields, "seeds": 3, "output": str(folder / "runs")}), "utf-8")
    return multitune.train(file)


def test_each_adapter_is_trained_with_each_seed_and_all_of_them_differ(seeded: multitune.Run) -> None:
    names = {path.name for path in RunFolder(Path(seeded.path)).adapter("shared").parent.iterdir()}
    assert {"shared", "shared.seed-2", "shared.seed-3", "colours.residual.seed-3"} <= names
    weights = {
        (RunFolder(Path(seeded.path)).adapter(name) / "adapter_model.safetensors").read_bytes()
        for name in ("shared", "shared.seed-2", "shared.seed-3")
    }
    assert len(weights) == 3


def test_verdicts_are_over_all_seeds_and_scores_their_means(seeded: multitune.Run) -> None:
    for row in seeded.scores.transfer["shared"].tasks:
        assert row.seeds == 3 and row.verdict in OF_SEEDS and row.noise is not None
        of_seeds = seeded.scores.tasks[row.task].scores["shared"].seeds
        assert len(of_seeds) == 3 and row.together == pytest.approx(sum(of_seeds) / 3)


def test_only_the_first_training_is_a_candidate_to_ship(seeded: multitune.Run) -> None:
    assert all("seed-" not in subject for task in seeded.scores.tasks.values() for subject in task.scores)
    assert seeded.routing is not None
    assert all("seed-" not in adapter for adapter in seeded.routing.table.adapters.values())


def test_a_record_of_the_run_says_how_many_seeds_stand_behind_it(seeded: multitune.Run) -> None:
    assert "over 3 seeds of training" in run_markdown(RunFolder(Path(seeded.path)))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"seeds": 0}, "seeds is 0; it must be greater than or equal to 1"),
        ({"seeds": 2, "method": "full"}, "each would be a whole model in memory"),
        ({"seeds": 2, "adapters": ["shared", {"name": "shared.seed-2", "tasks": ["copy"]}]}, "training 2 of 'shared'"),
    ],
)
def test_seeds_that_cannot_be_trained_are_refused(
    run_fields: dict[str, Any], tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**run_fields, **change, "output": str(tmp_path)}), "utf-8")
    with pytest.raises(InputError, match=fault):
        multitune.check(file)
