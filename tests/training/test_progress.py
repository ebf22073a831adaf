"""Which step wins by which criterion, and who stopped gaining."""

import json

import pytest

from multitune.training.choice import RowValues
from multitune.training.progress import TrackState, ValidationTrack


def track() -> ValidationTrack:
    track = ValidationTrack.of(("a", "b"), {"a": 3.0, "b": 1.0})
    track.note(0, {"a": 2.0, "b": 10.0})
    return track


def test_every_task_has_its_own_best_step() -> None:
    seen = track()
    seen.note(10, {"a": 1.0, "b": 9.0})
    seen.note(20, {"a": 1.5, "b": 5.0})
    assert (seen.best["task:a"].step, seen.best["task:b"].step) == (10, 20)


def test_the_mean_counts_tasks_of_different_scale_alike() -> None:
    seen = track()
    seen.note(10, {"a": 1.0, "b": 10.0})  # a halves: mean 0.75
    seen.note(20, {"a": 2.0, "b": 6.0})  # b falls by four: mean 0.8
    assert seen.chosen("lowest_loss", "mean")[0] == 10


def test_the_worst_task_decides_by_worst() -> None:
    seen = track()
    seen.note(10, {"a": 0.2, "b": 10.0})
    seen.note(20, {"a": 1.8, "b": 9.0})
    assert seen.chosen("lowest_loss", "worst")[0] == 20 and seen.chosen("lowest_loss", "mean")[0] == 10


def test_weights_decide_by_weighted() -> None:
    seen = track()
    seen.note(10, {"a": 1.6, "b": 2.0})  # mean 0.5, weighted 0.65
    seen.note(20, {"a": 1.0, "b": 6.0})  # mean 0.55, weighted 0.525
    assert seen.chosen("lowest_loss", "mean")[0] == 10 and seen.chosen("lowest_loss", "weighted")[0] == 20


def test_a_task_without_gain_for_its_patience_overfits() -> None:
    seen = track()
    seen.note(10, {"a": 1.0, "b": 9.0})
    seen.note(20, {"a": 1.1, "b": 8.0})
    assert seen.overfitted(2) == []
    seen.note(30, {"a": 1.2, "b": 7.0})
    assert seen.overfitted(2) == ["a"] and seen.overfitted(None) == []


def test_a_track_survives_json() -> None:
    seen = track()
    seen.note(10, {"a": 1.0, "b": 9.0})
    state = TrackState.model_validate(json.loads(json.dumps(seen.state().plain())))
    assert ValidationTrack.of(("a", "b"), {"a": 3.0, "b": 1.0}, state) == seen


def looks(losses: list[float], scores: list[float]) -> ValidationTrack:
    track = ValidationTrack.of(["a"], {"a": 1.0})
    for step, (loss, score) in enumerate(zip(losses, scores, strict=True)):
        track.look(step, {"a": RowValues(losses=(loss,), scores=(score,))})
    return track


def test_an_adapter_gains_as_long_as_its_loss_or_its_score_does() -> None:
    assert looks([3, 2, 1, 2, 2], [0, 0, 0, 0, 0]).stalled("mean") == 2  # the loss gained last
    assert looks([3, 2, 3, 4, 5], [0, 0.1, 0.2, 0.3, 0.4]).stalled("mean") == 0  # the score still does
    assert looks([3, 2, 3, 4, 5], [0, 0.1, 0.2, 0.2, 0.2]).stalled("mean") == 2  # as good as before is no gain


def test_the_noise_of_one_training_is_how_far_its_last_scores_moved() -> None:
    assert looks([3, 2, 1, 1], [0.0, 0.5, 0.6, 0.7]).noise() == {"a": pytest.approx(0.1)}
    assert looks([3, 2], [0.0, 0.5]).noise() == {}
