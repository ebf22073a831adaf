"""Curves, shares and sums are those of the events."""

from hypothesis import given
from hypothesis import strategies as st

from multitune.core.results.events import (
    AdapterStep,
    FrozenEvent,
    NoteEvent,
    StepEvent,
    ValidatedTask,
    ValidationEvent,
)
from multitune.core.results.run import AdapterSelection, Selection
from multitune.core.run_folder import RunFolder
from multitune.reporting.facts import read_run
from multitune.reporting.training_curves import POINTS, curves, notes, shares, smoothed, spent, thinned


def step(drawn: dict[str, float], **shares: float) -> StepEvent:
    adapter = AdapterStep(tasks=dict.fromkeys(drawn, 1.0), shares=shares, achieved=drawn)
    counts = {"tokens": 10, "logical_tokens": 20, "answer_tokens": 3}
    return StepEvent(step=1, steps=9, seconds=1.5, adapters={"shared": adapter}, **counts)


def validation(at: int, loss: float) -> ValidationEvent:
    return ValidationEvent(step=at, adapter="shared", tasks={"a": ValidatedTask(loss=loss)}, best=())


def test_a_curve_counts_the_rows_of_its_task() -> None:
    events = [validation(0, 3.0), step({"a": 3, "b": 5}), step({"a": 6, "b": 10}), validation(2, 2.0)]
    selection = Selection(adapters={"shared": AdapterSelection(chosen=2, by="mean", best={})})
    curve = next(curve for curve in curves(events, selection) if curve.task == "a")
    assert curve.train == [(1, 3, 1.0), (2, 6, 1.0)] and curve.validation == [(0, 0, 3.0), (2, 6, 2.0)]
    assert curve.chosen == 2


def test_windows_of_achieved_shares_add_up_to_all_rows(run: RunFolder) -> None:
    found = shares(read_run(run.path).events)
    at = {point[0] for point in found[0].achieved}
    for place in sorted(at):
        assert abs(sum(dict(line.achieved)[place] for line in found) - 1) < 1e-9


def test_an_adapter_of_one_set_has_no_shares_to_show() -> None:
    assert shares([step({"a": 8}, a=1.0)]) == []


def test_an_achieved_share_is_of_its_window_alone() -> None:
    events = [step({"a": 8 * n, "b": 0}, a=0.5, b=0.5) for n in range(1, 25)]
    events += [step({"a": 192, "b": 8 * n}, a=0.5, b=0.5) for n in range(1, 25)]
    line = next(line for line in shares(events) if line.name == "a")
    assert [share for _, share in line.achieved] == [1.0] * 12 + [0.0] * 12


def test_costs_are_sums_over_steps() -> None:
    total = spent([step({"a": 8}), step({"a": 16}), validation(2, 1.0)])
    assert (total.steps, total.seconds, total.tokens, total.logical_tokens, total.answer_tokens) == (2, 3.0, 20, 40, 6)
    assert total.adapter_steps == {"shared": 2} and total.adapter_rows == {"shared": 16}


def test_notes_and_frozen_tasks_are_told_once() -> None:
    frozen = FrozenEvent(step=7, adapter="shared", task="a")
    note = NoteEvent(text="row by row")
    assert notes([note, frozen, note]) == ["row by row", "step 7: shared drew a no more; it overfitted"]


@given(st.lists(st.integers(), min_size=1, max_size=2000))
def test_a_thinned_line_keeps_its_ends(points: list[int]) -> None:
    kept = thinned(points)
    assert len(kept) <= POINTS and (kept[0], kept[-1]) == (points[0], points[-1])


@given(st.floats(0, 10), st.integers(1, 200))
def test_smoothing_leaves_a_level_line_level(loss: float, length: int) -> None:
    line = [(n, n, loss) for n in range(length)]
    assert all(abs(value - loss) < 1e-9 for _, _, value in smoothed(line))
