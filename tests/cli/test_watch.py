"""Progress as a log and on a terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from multitune.cli.watch import Meter, Watch, validation_line
from multitune.core.results.events import (
    AdapterStep,
    CheckpointEvent,
    EvaluatedEvent,
    Event,
    FrozenEvent,
    NoteEvent,
    PhaseEvent,
    StepEvent,
    ValidationEvent,
    parse_event,
)


def step(number: int, steps: int = 20, loss: float = 1.5) -> Event:
    shared = {"loss": loss, "tasks": {"tweets": loss, "dolly": 2.0}, "shares": {"tweets": 0.9, "dolly": 0.1}}
    alone = {"loss": 0.7, "tasks": {"tweets": 0.7}, "shares": {"tweets": 1.0}}
    adapters = {"shared": shared, "tweets": alone}
    counts = {"step": number, "steps": steps, "seconds": 2.0, "tokens": 1000}
    return parse_event({"kind": "step", **counts, "adapters": adapters})


def validation(**fields: Any) -> ValidationEvent:
    tasks = {"tweets": {"loss": 0.5, "metric": 0.75}, "reports": {"loss": 1.0, "metric": None}}
    return ValidationEvent(**{"step": 10, "adapter": "shared", "tasks": tasks, "best": ("task:tweets",), **fields})


def shown(events: list[Event], terminal: bool = False) -> str:
    file = io.StringIO()
    with Watch(Console(file=file, force_terminal=terminal, color_system=None, width=100)) as watch:
        for event in events:
            watch(event)
    return file.getvalue()


def test_a_log_has_ten_lines_for_a_run() -> None:
    assert len(shown([step(i + 1, 200) for i in range(200)]).splitlines()) == 10


def test_a_short_run_has_a_line_for_each_step() -> None:
    assert len(shown([step(i + 1, 3) for i in range(3)]).splitlines()) == 3


def test_a_line_tells_place_speed_and_the_loss_of_each_task() -> None:
    line = shown([step(2)])
    assert line.startswith("step 2/20 (10%), 500 tokens/s, ") and line.endswith("loss tweets 1.500, dolly 2.000\n")


def test_a_log_has_no_control_characters() -> None:
    assert "\x1b" not in shown([step(2), validation(), NoteEvent(text="tasks[2] is [bold]")])


def test_a_note_with_brackets_is_shown_as_it_is() -> None:
    assert shown([NoteEvent(text="tasks[2] is [bold]")]) == "note: tasks[2] is [bold]\n"


def test_a_terminal_shows_both_losses_and_the_share() -> None:
    lines = shown([step(2)], terminal=True).splitlines()
    assert any(line.split() == ["tweets", "1.500", "0.700", "90%"] for line in lines)


def test_the_shown_loss_is_smoothed() -> None:
    assert "tweets 1.400" in shown([step(2), step(4, loss=1.0)]).splitlines()[1]


def test_a_validation_tells_losses_scores_and_what_it_is_best_of() -> None:
    line = validation_line(validation(best=("task:tweets", "mean")))
    assert line == "step 10: validation of shared: tweets 0.500 (score 0.750), reports 1.000; best mean so far"


@pytest.mark.parametrize(
    "event",
    [
        CheckpointEvent(step=3),
        parse_event({"kind": "something new"}),
    ],
)
def test_what_a_reader_need_not_know_is_passed_over(event: Event) -> None:
    assert shown([event]) == ""


def test_other_events_are_one_line_each() -> None:
    events: list[Event] = [
        PhaseEvent(name="load"),
        FrozenEvent(step=8, adapter="shared", task="tweets"),
        EvaluatedEvent(adapter="base", task="tweets", metric="macro_f1", score=0.51234),
    ]
    assert shown(events).splitlines() == [
        "loading the base …",
        "step 8: shared draws tweets no more; it overfits",
        "evaluated tweets with base: macro_f1 0.512",
    ]


def seconds_left(steps: range, adapters: dict[str, tuple[int, int]], of: int) -> float:
    """After steps that take a second for each adapter in them: name -> (steps in all, the last that it takes)."""
    meter = Meter()
    for number in steps:
        part = {
            name: AdapterStep(step=number, steps=total, tasks={"a": 1.0}, shares={"a": 1.0})
            for name, (total, last) in adapters.items()
            if number <= last
        }
        meter.take(StepEvent(step=number, steps=of, seconds=len(part), tokens=10, adapters=part))
    return meter.seconds_left()


ALONE = {f"alone{i}": (10, 10) for i in range(4)}


def test_the_time_that_is_left_knows_that_single_task_adapters_end_early() -> None:
    assert seconds_left(range(1, 11), {"shared": (40, 40), **ALONE}, of=40) == pytest.approx(30.0, rel=0.05)


def test_the_time_that_is_left_of_a_resumed_run_counts_the_steps_of_before_as_taken() -> None:
    assert seconds_left(range(6, 9), {"shared": (40, 40), **ALONE}, of=40) == pytest.approx(32 + 4 * 2, rel=0.05)
    assert seconds_left(range(35, 41), {"shared": (40, 40)}, of=40) == 0.0


def test_the_time_that_is_left_forgets_adapters_that_stopped_early() -> None:
    stopped = {"shared": (40, 40), "overfitted": (40, 5)}
    assert seconds_left(range(1, 11), stopped, of=40) == pytest.approx(30.0, rel=0.05)


def test_the_time_that_is_left_counts_adapters_that_begin_later() -> None:
    assert seconds_left(range(1, 11), {"shared": (20, 20)}, of=40) == pytest.approx(30.0, rel=0.05)


def test_where_a_log_does_not_say_how_long_adapters_take_steps_count_alike() -> None:
    meter = Meter()
    for number in range(1, 11):
        adapters = {"shared": AdapterStep(tasks={"a": 1.0}, shares={"a": 1.0})}
        meter.take(StepEvent(step=number, steps=40, seconds=5.0, tokens=10, adapters=adapters))
    assert meter.seconds_left() == pytest.approx(150.0, rel=0.05)
