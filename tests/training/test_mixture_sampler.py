"""The sampler draws what a run's stream draws, whatever loads its rows, and goes on where it was stopped."""

import json
from collections import Counter
from typing import Any

import pytest
from torch.utils.data import DataLoader

from multitune.core.errors import ConfigError, MixtureError
from multitune.mixture.schedules import SCHEDULES
from multitune.training.mixture_sampler import MixtureSampler

SIZES = {"news": 300, "tags": 7, "tweets": 40}
SETTINGS: dict[str, dict[str, Any]] = {"fixed": {"shares": {"news": 3, "tags": 1, "tweets": 2}}}


def sampler(schedule: str = "anneal", **changes: Any) -> MixtureSampler:
    mixture = {"schedule": schedule, **SETTINGS.get(schedule, {})}
    return MixtureSampler(SIZES, **{"batch_size": 8, "steps": 40, "mixture": mixture, **changes})


def drawn(of: MixtureSampler, places: list[int]) -> dict[str, int]:
    return dict(Counter(map(of.set_of, places)))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_draws_its_counts(schedule: str) -> None:
    one = sampler(schedule)
    places = list(one)
    assert len(places) == len(one) == 320 and set(places) <= set(range(347))
    assert drawn(one, places) == {name: count for name, count in one.counts(40).items() if count}
    assert list(one.shares(0)) == list(SIZES) and sum(one.shares(0).values()) == pytest.approx(1.0)


def test_a_pass_over_a_set_holds_each_row_once() -> None:
    places = sampler(batch_size=1, mixture={"schedule": "round_robin", "max_repeats": None})
    tags = [place for place in places if 300 <= place < 307]
    assert sorted(tags[:7]) == list(range(300, 307)) and sorted(tags[7:14]) == list(range(300, 307))


def test_the_order_of_the_sets_moves_places_and_no_draw() -> None:
    turned = MixtureSampler(dict(reversed(SIZES.items())), batch_size=8, steps=40)
    assert turned.counts(40) == sampler().counts(40)
    assert [turned.set_of(place) for place in turned] == [sampler().set_of(place) for place in sampler()]


def test_a_cap_holds() -> None:
    one = sampler("round_robin", mixture={"schedule": "round_robin", "max_repeats": 2})
    assert one.counts(40)["tags"] <= 14


def test_passes_and_fixed_shares_give_the_length() -> None:
    one = MixtureSampler({"a": 90, "chat": 500}, batch_size=10, epochs=2, fixed={"chat": 0.1})
    assert one.steps == 20 and one.counts(20) == {"a": 180, "chat": 20}


def test_the_rows_of_a_step_are_mixed() -> None:
    one = sampler("round_robin", batch_size=30)
    names = [one.set_of(place) for place in list(one)[:30]]
    assert names != sorted(names) and len(set(names[:10])) > 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_goes_on_where_a_state_was_taken(schedule: str) -> None:
    whole, stopped = sampler(schedule), sampler(schedule)
    places, rest = iter(whole), iter(stopped)
    first = [next(places) for _ in range(80)]
    assert [next(rest) for _ in range(80)] == first
    for one in (whole, stopped):
        one.feedback({"news": 2.0, "tags": 3.0})
    state = json.loads(json.dumps(stopped.state_dict(step=10)))
    resumed = sampler(schedule)
    resumed.load_state_dict(state)
    assert len(resumed) == 240 and list(resumed) == list(places)


def test_what_a_loader_drew_ahead_stays_when_losses_come() -> None:
    one = sampler("focus")
    loader = iter(DataLoader(range(347), batch_size=4, sampler=one, num_workers=0))
    seen = [next(loader) for _ in range(3)]  # one and a half steps
    before = one.counts(2)
    one.feedback({"tags": 9.0, "news": 1.0, "tweets": 1.0})
    assert len(seen) == 3 and one.counts(2) == before
    again = sampler("focus")
    again.load_state_dict(one.state_dict(step=0))
    assert list(again)[:12] == [int(place) for batch in seen for place in batch]


def test_a_frozen_set_is_drawn_no_more() -> None:
    one = sampler("round_robin")
    places = iter(one)
    [next(places) for _ in range(8)]
    assert one.freeze("news")
    assert "news" not in drawn(one, list(places))


def test_a_second_epoch_is_refused() -> None:
    sampler().set_epoch(0)
    with pytest.raises(MixtureError, match=r"it holds the whole training, 40 steps\. Set the trainer to 1 epoch"):
        sampler().set_epoch(1)


def test_a_state_of_another_sampler_is_refused() -> None:
    with pytest.raises(MixtureError, match="the state has batch_size 4, this one 8"):
        sampler().load_state_dict(sampler(batch_size=4).state_dict())


@pytest.mark.parametrize(
    ("changes", "error", "fault"),
    [
        ({"mixture": {"schedule": "aneal"}}, ConfigError, r"mixture.schedule is 'aneal'. Did you mean 'anneal'\?"),
        (
            {"mixture": {"shcedule": "anneal"}},
            ConfigError,
            r"mixture.shcedule is not a field. Did you mean 'schedule'",
        ),
        ({"mixture": {"share_prefix": "document"}}, ConfigError, "share_prefix is 'document'"),
        ({"fixed": {"newz": 0.1}}, MixtureError, r"'newz' is not among the sets. Did you mean 'news'\?"),
        ({"fixed": {"news": 0.6, "tags": 0.4}}, MixtureError, "add up to 1; leave some for the others"),
        ({"batch_size": 0}, MixtureError, "Give at least 1 of each"),
        ({"batch_size": 0, "steps": None}, MixtureError, "Give at least 1 of each"),
        ({"steps": 0}, MixtureError, "Give at least 1 of each"),
    ],
)
def test_what_cannot_be_drawn_is_told(changes: dict[str, Any], error: type[Exception], fault: str) -> None:
    with pytest.raises(error, match=fault):
        sampler(**changes)
