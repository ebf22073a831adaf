"""Laws of the stream of draws: resumable, order-free, one pass at a time, true to shares and caps."""

import json
import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitune.config.schema import MixtureConfig
from multitune.core.errors import MixtureError
from multitune.mixture.sampler import Feedback, Member, Stream, StreamPlan, StreamState, plan_steps

THREE = (Member("tweets", 40), Member("news", 300), Member("tags", 7))
members = st.lists(st.integers(1, 60), min_size=1, max_size=4).map(
    lambda sizes: [Member(f"task{place}", size) for place, size in enumerate(sizes)]
)
schedules = st.sampled_from(["round_robin", "proportional", "sqrt", "anneal", "focus"])


def stream(tasks=THREE, batch_size=8, steps=60, plan=None, **mixture) -> Stream:
    return Stream(tasks, MixtureConfig(**mixture), plan or StreamPlan(17, "shared", batch_size, steps))


def rows(of: Stream, task: str, steps: int) -> list[int]:
    return [draw.index for step in range(steps) for draw in of.draw(step) if draw.task == task]


@given(members, schedules, st.integers(1, 24), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_every_step_has_a_full_batch(tasks, schedule, batch_size, steps):
    whole = stream(tasks, batch_size, steps, schedule=schedule)
    assert {len(whole.draw(step)) for step in range(steps)} == {batch_size}


@given(schedules, st.integers(0, 59))
@settings(max_examples=40, deadline=None)
def test_a_stream_that_starts_at_any_step_draws_what_one_that_walked_there_draws(schedule, step):
    walked = stream(schedule=schedule)
    draws = [walked.draw(at) for at in range(60)]
    assert stream(schedule=schedule).draw(step) == draws[step]


def test_going_back_draws_the_same_rows_again():
    one = stream()
    draws = [one.draw(step) for step in range(60)]
    assert [one.draw(step) for step in reversed(range(60))] == draws[::-1]


@given(st.permutations(THREE), schedules)
@settings(max_examples=20, deadline=None)
def test_a_permutation_of_the_members_changes_no_draw(order, schedule):
    one, other = stream(schedule=schedule), stream(order, schedule=schedule)
    assert [one.draw(step) for step in range(60)] == [other.draw(step) for step in range(60)]


def test_the_row_order_of_a_task_does_not_depend_on_the_rest_of_the_mixture():
    together = rows(stream(max_repeats=None), "tweets", 60)
    alone = rows(stream(THREE[:1], max_repeats=None), "tweets", 60)
    assert together == alone[: len(together)]


@given(members, schedules)
@settings(max_examples=40, deadline=None)
def test_a_pass_covers_each_row_once(tasks, schedule):
    one = stream(tasks, schedule=schedule)
    for member in tasks:
        drawn = rows(one, member.name, 60)
        passes = [drawn[at : at + member.size] for at in range(0, len(drawn), member.size)]
        assert all(len(set(row)) == len(row) for row in passes)
        assert all(sorted(row) == list(range(member.size)) for row in passes[:-1])


def test_two_passes_and_two_adapters_are_shuffled_differently():
    one = rows(stream(THREE[:1], 40, 3), "tweets", 3)
    other = rows(stream(THREE[:1], plan=StreamPlan(17, "other", 40, 3)), "tweets", 3)
    assert one[:40] != one[40:80]
    assert one[:40] != other[:40]


def test_two_tasks_of_one_size_are_shuffled_differently():
    one = stream([Member("a", 40), Member("b", 40)], 80, 1)
    assert rows(one, "a", 1) != rows(one, "b", 1)


def test_the_count_of_a_task_in_a_step_is_its_share_rounded_up_or_down():
    one = stream(schedule="anneal", max_repeats=None)
    for step in range(60):
        counts = Counter(draw.task for draw in one.draw(step))
        for task, share in one.shares(step).items():
            assert math.floor(share * 8) <= counts[task] <= math.ceil(share * 8)


def test_what_was_drawn_is_close_to_what_was_expected():
    one = stream(batch_size=16, steps=400, schedule="sqrt", max_repeats=None)
    expected = one.expected_draws()
    assert one.achieved(400) == pytest.approx(expected, abs=40)
    assert expected == pytest.approx({name: 6400 * share for name, share in one.shares(0).items()})


def test_draws_so_far_are_those_of_the_earlier_steps():
    one = stream()
    counts = Counter(draw.task for step in range(20) for draw in one.draw(step))
    assert one.achieved(20) == {member.name: counts[member.name] for member in THREE}


@given(members, schedules, st.floats(0.3, 6), st.floats(0.1, 0.95))
@settings(max_examples=40, deadline=None)
def test_no_task_exceeds_its_cap_while_the_caps_can_fill_the_run(tasks, schedule, cap, filled):
    total = sum(member.size for member in tasks)
    steps = max(1, int(total * cap * filled / 8))
    reached = stream(tasks, 8, steps, schedule=schedule, max_repeats=cap).achieved(steps)
    # A run of one step can be longer than all caps; then the mean number of passes is the cap.
    level = max(cap, 8 * steps / total)
    assert all(reached[member.name] <= math.ceil(level * member.size + 1e-6) for member in tasks)


def test_a_capped_task_is_spread_over_the_whole_run():
    one = stream([Member("small", 10), Member("large", 1000)], 10, 200, schedule="round_robin", max_repeats=4)
    reached = [one.achieved(step)["small"] for step in (100, 200)]
    assert reached == pytest.approx([20, 40], abs=8)
    assert one.expected_draws() == pytest.approx({"small": 40, "large": 1960})
    assert one.expected_repeats()["small"] == pytest.approx(4)


def test_a_task_alone_goes_past_the_cap_as_nobody_could_take_its_share():
    one = stream(THREE[:1], 8, 50, max_repeats=4)
    assert one.achieved(50) == {"tweets": 400}


def test_a_long_run_gives_every_task_the_mean_passes_and_general_data_no_more_than_its_share():
    tasks = [Member("a", 50), Member("b", 150), Member("general", 5000, share=0.1)]
    expected = stream(tasks, 20, 100, schedule="round_robin", max_repeats=4).expected_draws()
    assert expected == pytest.approx({"a": 450, "b": 1350, "general": 200})


def test_general_data_is_held_at_the_cap_and_the_tasks_take_the_rest():
    tasks = [Member("a", 1000), Member("general", 10, share=0.5)]
    one = stream(tasks, 20, 100, max_repeats=4)
    assert one.expected_draws() == pytest.approx({"a": 1960, "general": 40})
    assert one.achieved(100)["general"] <= 40


def test_general_data_keeps_its_share_at_every_moment():
    one = stream([*THREE, Member("general", 9000, share=0.25)], schedule="anneal")
    assert [one.shares(step)["general"] for step in (0, 30, 59)] == pytest.approx([0.25] * 3)


def test_shares_by_tokens_give_each_task_its_share_of_the_loss_tokens():
    tasks = [Member("labels", 100, 2.0), Member("texts", 100, 30.0)]
    draws = stream(tasks, 16, 500, schedule="round_robin", unit="tokens", max_repeats=None).achieved(500)
    assert draws["labels"] * 2.0 == pytest.approx(draws["texts"] * 30.0, rel=0.05)


def test_proportional_draws_every_row_equally_often_in_either_unit():
    tasks = [Member("labels", 100, 2.0), Member("texts", 300, 30.0)]
    by_tokens, by_examples = (stream(tasks, schedule="proportional", unit=unit) for unit in ("tokens", "examples"))
    assert by_tokens.shares(0) == pytest.approx(by_examples.shares(0))


def test_a_frozen_task_is_drawn_up_to_its_step_and_never_after():
    free, one = (stream(schedule="round_robin", max_repeats=None) for _ in range(2))
    assert one.freeze("tweets", 20)
    assert one.achieved(21) == free.achieved(21)
    assert one.achieved(60)["tweets"] == one.achieved(21)["tweets"]
    assert one.shares(21)["tweets"] == 0.0
    assert len(one.draw(59)) == 8


def test_freezing_takes_effect_on_draws_that_were_already_looked_at():
    looked, fresh = stream(), stream()
    looked.draw(59)
    for one in (looked, fresh):
        one.freeze("news", 20)
    assert looked.draw(59) == fresh.draw(59)


def test_the_last_task_cannot_be_frozen():
    one = stream([Member("a", 5), Member("b", 5), Member("general", 5, share=0.1)])
    assert one.freeze("a", 3)
    assert one.freeze("general", 4)
    assert not one.freeze("b", 5)
    assert one.shares(6) == {"a": 0.0, "b": 1.0, "general": 0.0}


def test_freezing_an_unknown_task_names_the_nearest():
    with pytest.raises(MixtureError, match="Did you mean 'tweets'"):
        stream().freeze("tweet", 3)


def test_losses_move_focus_in_later_steps_alone():
    one = stream(schedule="focus", max_repeats=None)
    before = [one.draw(step) for step in range(31)]
    one.feedback(0, {"tweets": 2.0, "news": 2.0, "tags": 2.0})
    one.feedback(30, {"tweets": 2.0, "news": 0.1, "tags": 0.1})
    assert [one.draw(step) for step in range(1)] == before[:1]
    assert one.shares(31)["tweets"] > one.shares(30)["tweets"]


def test_focus_measures_a_task_against_the_best_loss_it_ever_had():
    steady, forgot = (stream(schedule="focus", max_repeats=None) for _ in range(2))
    for step, loss in [(0, 2.0), (10, 1.0), (20, 1.2), (30, 1.2)]:
        steady.feedback(step, {"tweets": max(loss, 1.2), "news": 1.0, "tags": 1.0})
        forgot.feedback(step, {"tweets": loss, "news": 1.0, "tags": 1.0})
    assert forgot.shares(40)["tweets"] > steady.shares(40)["tweets"]


def test_a_loss_that_is_not_finite_is_left_out():
    one = stream(schedule="focus")
    one.feedback(0, {"tweets": float("nan"), "news": 2.0})
    assert one.state().events == (Feedback(step=0, losses={"news": 2.0}),)


def test_a_resumed_stream_draws_the_same_examples():
    one = stream(schedule="focus")
    one.feedback(9, {"tweets": 2.0, "news": 2.0, "tags": 1.0})
    one.feedback(19, {"tweets": 1.0, "news": 2.0, "tags": 3.0})
    one.freeze("tags", 29)
    other = stream(schedule="focus")
    other.draw(40)
    other.restore(StreamState.model_validate(json.loads(json.dumps(one.state().plain()))))
    assert [one.draw(step) for step in range(60)] == [other.draw(step) for step in range(60)]


def test_a_state_is_not_changed_by_later_feedback():
    one = stream()
    state = one.state()
    one.freeze("tags", 3)
    assert state == StreamState()


def test_the_rows_of_a_document_stay_side_by_side():
    groups = [f"page{row % 5}" for row in range(20)] + ["", ""]
    member = Member("a", 22, groups=groups)
    drawn = [groups[row] or str(row) for row in rows(stream([member], 22, 1, share_prefix="document"), "a", 1)]
    changes = sum(one != other for one, other in pairwise(drawn))
    assert changes == 6
    assert len(set(drawn)) == 7


def test_documents_are_left_alone_where_the_instruction_is_shared():
    grouped = Member("tweets", 40, groups=["page"] * 40)
    assert rows(stream([grouped]), "tweets", 60) == rows(stream(THREE[:1]), "tweets", 60)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "has no tasks"),
        ([Member("a", 0)], "'a' has no training rows"),
        ([Member("a", 1), Member("a", 2)], "names 'a' twice"),
        ([Member("a", 1, 0.0)], "the answers of 'a' hold no tokens"),
        ([Member("a", 2, groups=["x"])], "2 rows but 1 groups"),
    ],
)
def test_a_mixture_that_cannot_be_drawn_is_refused(tasks, message):
    with pytest.raises(MixtureError, match=message):
        stream(tasks)


def test_steps_cover_the_epochs_with_general_draws_on_top():
    assert plan_steps(900, 10, 1.0, 0.1) == 100
    assert plan_steps(901, 10, 1.0, 0.1) == 101
    assert plan_steps(5, 16, 1.0) == 1
