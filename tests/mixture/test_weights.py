"""Laws and known values of the maths of mixtures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.config.schema import MixtureConfig
from multitune.core.errors import MixtureError
from multitune.mixture import weights
from multitune.mixture.schedules import SCHEDULES, shares_at

PAPER = {"sst": 8544, "quora": 141498, "sts": 6041}
names = st.text("abcdefgh", min_size=1, max_size=4)
sizes = st.dictionaries(names, st.integers(1, 10**7), min_size=1, max_size=6)


def config(schedule: str, tasks=(), **options) -> MixtureConfig:
    shares = {name: place + 1.0 for place, name in enumerate(tasks)} if schedule == "fixed" else None
    return MixtureConfig(schedule=schedule, shares=shares, **options)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(1, [0.055, 0.907, 0.039]), (5, [0.127, 0.772, 0.101]), (10, [0.271, 0.476, 0.253])]
)
def test_annealing_gives_the_values_of_the_paper(epoch, expected):
    shares = weights.anneal(PAPER, (epoch - 1) / 9)
    assert list(shares.values()) == pytest.approx(expected, abs=6e-4)


@given(sizes, st.floats(0, 1), st.sampled_from(sorted(SCHEDULES)))
def test_shares_of_every_schedule_add_up_to_one(tasks, progress, schedule):
    shares = shares_at(config(schedule, tasks), tasks, progress)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares.keys() == tasks.keys()
    assert min(shares.values()) > 0


@given(sizes, st.floats(0, 1), st.sampled_from(sorted(SCHEDULES)))
def test_the_order_of_tasks_moves_no_share(tasks, progress, schedule):
    mixture = config(schedule, sorted(tasks))
    backwards = dict(reversed(tasks.items()))
    assert shares_at(mixture, backwards, progress) == pytest.approx(shares_at(mixture, tasks, progress))


def test_temperature_runs_from_proportional_through_root_to_even():
    tasks = {"a": 100, "b": 900}
    assert weights.proportional(tasks) == pytest.approx({"a": 0.1, "b": 0.9})
    assert weights.sqrt(tasks) == pytest.approx({"a": 0.25, "b": 0.75})
    assert shares_at(config("temperature", temperature=2.0), tasks, 0.0) == weights.sqrt(tasks)
    assert weights.round_robin(tasks) == {"a": 0.5, "b": 0.5}


def test_the_end_of_annealing_is_the_configured_exponent():
    shares = shares_at(config("anneal", anneal_end=0.5), {"a": 100, "b": 900}, 1.0)
    assert shares == pytest.approx({"a": 0.25, "b": 0.75})


def test_focus_begins_even_and_moves_to_the_hardest_task():
    tasks = {"easy": 100, "hard": 100}
    losses = {"easy": (0.2, 0.2, 2.0), "hard": (1.9, 1.9, 2.0)}
    assert weights.focus(tasks, 0.0, losses) == {"easy": 0.5, "hard": 0.5}
    assert weights.focus(tasks, 1.0, losses)["hard"] > weights.focus(tasks, 0.5, losses)["hard"] > 0.5


def test_focus_moves_to_the_smallest_task():
    assert weights.focus({"small": 10, "large": 1000}, 1.0, {"small": (1, 1, 2), "large": (1, 1, 2)})["small"] > 0.5


def test_focus_moves_to_a_task_that_fell_back_behind_its_best():
    losses = {"steady": (1.0, 1.0, 2.0), "forgot": (1.0, 0.6, 2.0)}
    assert weights.focus({"steady": 10, "forgot": 10}, 1.0, losses)["forgot"] > 0.5


def test_focus_without_losses_is_even():
    assert weights.focus({"small": 10, "large": 1000}, 1.0, {}) == {"small": 0.5, "large": 0.5}


@given(sizes, st.floats(0, 1), st.lists(st.floats(0, 50), min_size=18, max_size=18))
def test_focus_never_draws_a_task_over_four_times_as_often_as_another(tasks, progress, numbers):
    losses = {
        name: (now, min(now, best), start)
        for name, now, best, start in zip(tasks, numbers[:6], numbers[6:12], numbers[12:], strict=False)
    }
    shares = weights.focus(tasks, progress, losses).values()
    assert max(shares) <= 4.0 * min(shares) * (1 + 1e-9)


def test_fixed_shares_are_scaled_over_the_tasks_at_hand():
    assert weights.fixed({"a": 5, "b": 5}, {"a": 1.0, "b": 3.0, "elsewhere": 9.0}) == {"a": 0.25, "b": 0.75}


def test_a_fixed_schedule_names_the_task_without_a_share():
    with pytest.raises(MixtureError, match=r"mixture\.shares: no share for 'b'"):
        weights.fixed({"a": 5, "b": 5}, {"a": 1.0})


def test_an_empty_task_is_refused_by_name():
    with pytest.raises(MixtureError, match="no training rows in 'b'"):
        weights.anneal({"a": 5, "b": 0}, 0.5)


def test_progress_outside_the_run_is_refused():
    with pytest.raises(MixtureError, match=r"progress is 1\.5"):
        weights.anneal({"a": 5}, 1.5)


def test_a_general_member_keeps_its_exact_share():
    shares = weights.with_fixed({"a": 0.25, "b": 0.75}, {"general": 0.2})
    assert shares == pytest.approx({"a": 0.2, "b": 0.6, "general": 0.2})
    assert shares["general"] == 0.2


def test_fixed_members_alone_are_scaled_to_one():
    assert weights.with_fixed({}, {"a": 0.1, "b": 0.3}) == pytest.approx({"a": 0.25, "b": 0.75})


def test_fixed_shares_that_leave_nothing_are_refused():
    with pytest.raises(MixtureError, match="leave nothing for a"):
        weights.with_fixed({"a": 1.0}, {"b": 0.6, "c": 0.4})


def test_a_capped_task_gives_its_share_to_the_others_pro_rata():
    shares = weights.capped({"small": 0.5, "b": 0.2, "c": 0.3}, {"small": 100, "b": 900, "c": 900}, 1000)
    assert shares == pytest.approx({"small": 0.1, "b": 0.36, "c": 0.54})


def test_a_freed_share_that_fills_the_next_task_flows_on():
    shares = weights.capped({"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 100, "b": 300, "c": 900}, 1000)
    assert shares == pytest.approx({"a": 0.1, "b": 0.3, "c": 0.6})


@given(sizes, st.floats(0.1, 10), st.floats(0.05, 0.999), st.sampled_from(["round_robin", "sqrt", "proportional"]))
def test_no_share_exceeds_its_cap_while_the_caps_can_fill_the_run(tasks, repeats, filled, schedule):
    room = {name: repeats * size for name, size in tasks.items()}
    draws = sum(room.values()) * filled
    shares = weights.capped(shares_at(config(schedule), tasks, 0.0), room, draws)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(shares[name] * draws <= room[name] * (1 + 1e-9) for name in tasks)


def test_caps_that_cannot_fill_the_run_share_it_by_room():
    assert weights.capped({"a": 0.5, "b": 0.5}, {"a": 100, "b": 300}, 1000) == pytest.approx({"a": 0.25, "b": 0.75})


def test_a_cap_without_room_anywhere_is_ignored():
    assert weights.capped({"a": 0.4, "b": 0.6}, {"a": 0, "b": -1}, 10) == pytest.approx({"a": 0.4, "b": 0.6})


def test_token_shares_become_example_shares():
    shares = weights.token_shares_to_example_shares({"labels": 0.5, "texts": 0.5}, {"labels": 2.0, "texts": 18.0})
    assert shares == pytest.approx({"labels": 0.9, "texts": 0.1})
