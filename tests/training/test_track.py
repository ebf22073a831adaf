"""What trackers get to see of a run."""

from pathlib import Path

import pytest

from multitune.core.errors import MissingExtraError
from multitune.core.results.events import AdapterStep, StepEvent, ValidatedTask, ValidationEvent
from multitune.training.track import TrackerWatch, flat_numbers, several

SHARED = AdapterStep(loss=1.5, lr=0.1, grad_norm=2.0, tasks={"a": 1.0}, shares={"a": 0.4, "b": 0.6})
STEP = StepEvent(step=3, steps=9, seconds=2.0, tokens=100, adapters={"shared": SHARED})


def test_a_step_becomes_one_number_per_adapter_and_task() -> None:
    numbers = flat_numbers(STEP)
    assert numbers["train/tokens_per_second"] == 50.0
    assert numbers["train/shared/a/loss"] == 1.0 and numbers["share/shared/b"] == 0.6


def test_a_validation_without_metric_shows_its_loss_alone() -> None:
    event = ValidationEvent(step=3, adapter="x", tasks={"a": ValidatedTask(loss=1.0)}, best=())
    assert flat_numbers(event) == {"validation/x/a/loss": 1.0}


def test_several_watchers_all_see_an_event() -> None:
    seen: list[object] = []
    several([seen.append, seen.append])(STEP)
    assert seen == [STEP, STEP]


def test_a_tracker_that_is_not_installed_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match="pip install trackio"):
        TrackerWatch(["trackio"], "run", tmp_path, {})


def test_tensorboard_gets_a_file(tmp_path: Path) -> None:
    watch = TrackerWatch(["tensorboard"], "run", tmp_path, {"seed": 1})
    watch(STEP)
    watch.finish()
    assert list(tmp_path.rglob("events.out.tfevents*"))
