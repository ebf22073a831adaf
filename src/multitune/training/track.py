"""Experiment trackers (TensorBoard, W&B, MLflow, trackio) as watchers of a run's events, through accelerate's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multitune.core.events import Observe
from multitune.core.extras import missing_extra, missing_package
from multitune.core.results.events import Event, StepEvent, ValidationEvent

_CLASSES = {
    "tensorboard": "TensorBoardTracker",
    "wandb": "WandBTracker",
    "mlflow": "MLflowTracker",
    "trackio": "TrackioTracker",
}


class TrackerWatch:
    """Sends every step and validation to the trackers that the config names."""

    def __init__(self, names: Sequence[str], run_name: str, folder: Path, config: dict[str, Any]) -> None:
        require_trackers(names)
        self._names, self._run_name, self._folder, self._config = names, run_name, folder / "tracking", config
        self._trackers: list[Any] = []

    def __call__(self, event: Event) -> None:
        """Log one event; those without numbers are passed over."""
        values = flat_numbers(event)
        if not values or not isinstance(event, StepEvent | ValidationEvent):
            return
        if not self._trackers:  # not before the run has written its folder
            self._trackers = [_open(name, self._run_name, self._folder) for name in self._names]
            for tracker in self._trackers:
                tracker.start()
                tracker.store_init_configuration({"config": json.dumps(self._config)})  # they take no nesting
        for tracker in self._trackers:
            tracker.log(values, step=event.step)

    def finish(self) -> None:
        """Flush and close the trackers."""
        for tracker in self._trackers:
            tracker.finish()


def flat_numbers(event: Event) -> dict[str, float]:
    """The numbers of a step or validation under names such as `train/shared/tweets/loss`."""
    values: dict[str, float] = {}
    if isinstance(event, StepEvent):
        values["train/tokens_per_second"] = event.tokens / max(event.seconds, 1e-9)
        for name, adapter in event.adapters.items():
            values[f"train/{name}/loss"] = adapter.loss
            values[f"train/{name}/lr"] = adapter.lr
            values[f"train/{name}/grad_norm"] = adapter.grad_norm
            values |= {f"train/{name}/{task}/loss": loss for task, loss in adapter.tasks.items()}
            values |= {f"share/{name}/{task}": share for task, share in adapter.shares.items()}
    elif isinstance(event, ValidationEvent):
        for task, shown in event.tasks.items():
            values[f"validation/{event.adapter}/{task}/loss"] = shown.loss
            if shown.metric is not None:
                values[f"validation/{event.adapter}/{task}/metric"] = shown.metric
    return values


def several(watchers: Sequence[Observe]) -> Observe:
    """One watcher that passes each event to all."""

    def observe(event: Event) -> None:
        for watcher in watchers:
            watcher(event)

    return observe


def require_trackers(names: Sequence[str]) -> None:
    """Raise unless all trackers are installed.

    Raises:
        MissingExtraError: one is not.
    """
    if names:
        from accelerate import tracking

        available = {str(tracker) for tracker in tracking.get_available_trackers()}
        for name in names:
            if name not in available:
                raise missing_extra("track", "track") if name == "tensorboard" else missing_package("track", name)


def _open(name: str, run_name: str, folder: Path) -> Any:
    from accelerate import PartialState, tracking

    PartialState()  # accelerate's trackers ask it who the main process is
    folder.mkdir(parents=True, exist_ok=True)
    cls = getattr(tracking, _CLASSES[name])
    return cls(run_name, logging_dir=folder) if cls.requires_logging_directory else cls(run_name)
