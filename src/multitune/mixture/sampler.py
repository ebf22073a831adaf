"""The draws of one adapter: a seeded, resumable stream of (task, row) that keeps to a schedule, shares and caps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from pydantic import Field

from multitune.config.schema import MixtureConfig
from multitune.core.errors import MixtureError, suggest
from multitune.core.records import Draw
from multitune.core.results.base import Record
from multitune.core.seeds import generator
from multitune.mixture.schedules import shares_at
from multitune.mixture.weights import capped, token_shares_to_example_shares, with_fixed

EXPECTATION_TICKS = 400  # an expectation walks a long run in so many strides


@dataclass(frozen=True, slots=True)
class Member:
    """One task of a mixture. `share` is set for members with a fixed share, such as general data."""

    name: str
    size: int  # training rows
    mean_loss_tokens: float = 1.0  # answer tokens of a mean row
    share: float | None = None
    groups: Sequence[str] | None = None  # document of each row, "" for none


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What a stream is drawn for: whose it is, and how long."""

    seed: int
    adapter: str
    batch_size: int  # draws per step
    steps: int


class Feedback(Record):
    """What a stream was given after one step: validation losses, or a task that is drawn no more."""

    step: int
    losses: dict[str, float] = Field(default_factory=dict[str, float])  # task -> nats per answer token
    freeze: str | None = None


class StreamState(Record):
    """All feedback of a stream, in order: with the constructor's arguments it makes the same stream again."""

    events: tuple[Feedback, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """What the feedback before one step says."""

    losses: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # (now, best, start)
    frozen: frozenset[str] = frozenset()


def plan_steps(total_rows: float, batch_size: int, epochs: float, general_share: float = 0.0) -> int:
    """Steps after which the tasks' rows were seen `epochs` times on average; general draws come on top.

    Args:
        total_rows: training rows of the tasks, without the general members; of each as often as it counts.
        batch_size: draws per step, general ones among them.
        epochs: passes over `total_rows`.
        general_share: share of the draws that goes to general members, 0 to below 1.
    """
    steps = total_rows * epochs / (batch_size * (1.0 - general_share))
    return max(1, math.ceil(steps - 1e-9))  # 1 - 0.1 is not exact, and must not cost a step


@final
class Stream:
    """The draws of one adapter, step by step; steps count from 0.

    The draws of a step are a function of seed, adapter, step and the feedback before it, so any step can be asked
    for at any time. The k-th draw of a task is its row k mod n of the task's (k // n)-th shuffle, whatever else is
    in the mixture: each row is seen once per pass.

    The cap `max_repeats` looks ahead: at each step a task's share is at most what is left of its passes spread over
    what is left of the run, so that a small task is not used up early. It only redistributes among the tasks that
    have no fixed share: where the run is longer than all their capped passes, their mean number of passes is the
    cap. A member with a fixed share is held at the cap as well, and takes no share from others.

    Raises:
        MixtureError: no members, two of one name, an empty one, or groups that do not match the rows.
    """

    def __init__(self, members: Sequence[Member], mixture: MixtureConfig, plan: StreamPlan) -> None:
        _check(members, plan)
        # By name, so that the order in a file does not move a draw.
        self._members = {member.name: member for member in sorted(members, key=lambda member: member.name)}
        self._mixture = mixture
        self._plan = plan
        self._fixed = {name: member.share for name, member in self._members.items() if member.share is not None}
        # Whoever takes what others free; without a task under the schedule that is every member.
        self._carriers = self._members.keys() - self._fixed.keys() or set(self._members)
        self._events: list[Feedback] = []
        self._reached = [np.zeros(len(self._members), dtype=np.int64)]  # [step]: draws of each member before it
        self._orders: dict[str, tuple[int, np.ndarray]] = {}  # member -> (pass, its shuffle), the latest one

    def draw(self, step: int) -> list[Draw]:
        """The `batch_size` draws of one step, by task."""
        before, after = self._before(step), self._before(step + 1)
        spans = zip(self._members, before.tolist(), after.tolist(), strict=True)
        return [Draw(name, self._row(name, k)) for name, first, end in spans for k in range(first, end)]

    def shares(self, step: int) -> dict[str, float]:
        """The chance that a draw of this step falls on each task; they add up to one, a frozen task has 0."""
        left = max(self._plan.steps - step, 1)
        progress = min(step / max(self._plan.steps - 1, 1), 1.0)
        return self._target(progress, self._before(step), left * self._plan.batch_size, self._known(step))

    def achieved(self, step: int) -> dict[str, int]:
        """Draws of each task in all steps before this one."""
        return dict(zip(self._members, self._before(step).tolist(), strict=True))

    def expected_draws(self) -> dict[str, float]:
        """Draws of each task that the whole run is expected to make, before any feedback."""
        plan = self._plan
        draws = plan.batch_size * plan.steps
        ticks = min(plan.steps, EXPECTATION_TICKS)
        used = np.zeros(len(self._members))
        for tick in range(ticks):
            step = (tick + 0.5) * plan.steps / ticks - 0.5
            share = self._target(step / max(plan.steps - 1, 1), used, draws * (1.0 - tick / ticks), _Known())
            used = used + draws / ticks * np.array(list(share.values()))
        return dict(zip(self._members, used.tolist(), strict=True))

    def expected_repeats(self) -> dict[str, float]:
        """Passes over each task's rows that the whole run is expected to make, before any feedback."""
        return {name: draws / self._members[name].size for name, draws in self.expected_draws().items()}

    def feedback(self, step: int, losses: Mapping[str, float]) -> None:
        """Note validation losses measured after `step`; `focus` uses them in later steps.

        The first loss of a task counts as its start. Losses that are not finite, or of no member, are left out.
        """
        known = {name: float(loss) for name, loss in losses.items() if name in self._members and math.isfinite(loss)}
        self._note(Feedback(step=step, losses=known))

    def freeze(self, task: str, step: int) -> bool:
        """Draw a task no more after `step`; its share goes to the others.

        Returns:
            False, and nothing changes, where it is the last task that is drawn (general members do not count).

        Raises:
            MixtureError: no member has this name.
        """
        if task not in self._members:
            place = f"freeze: the mixture of {self._plan.adapter!r}"
            raise MixtureError(f"{place} has no task {task!r}. {suggest(task, self._members)}")
        frozen = {event.freeze for event in self._events if event.freeze is not None}
        if self._carriers <= frozen | {task}:
            return False
        if task not in frozen:
            self._note(Feedback(step=step, freeze=task))
        return True

    def state(self) -> StreamState:
        """All feedback so far."""
        return StreamState(events=tuple(self._events))

    def restore(self, state: StreamState) -> None:
        """Put the feedback of `state` in place of what was noted here."""
        self._events = list(state.events)
        del self._reached[1:]

    def _note(self, event: Feedback) -> None:
        self._events.append(event)
        self._events.sort(key=lambda noted: noted.step)
        del self._reached[max(event.step, -1) + 2 :]

    def _known(self, step: int) -> _Known:
        losses: dict[str, tuple[float, float, float]] = {}
        frozen: set[str] = set()
        for event in self._events:
            if event.step >= step:
                break
            if event.freeze is not None:
                frozen.add(event.freeze)
            for name, loss in event.losses.items():
                _, best, start = losses.get(name, (loss, loss, loss))
                losses[name] = (loss, min(best, loss), start)
        return _Known(losses, frozenset(frozen))

    def _before(self, step: int) -> np.ndarray:
        assert step >= 0, f"steps count from 0, not {step}"
        while len(self._reached) <= step:
            at = len(self._reached) - 1
            shift = generator(self._plan.seed, self._plan.adapter, "counts", at).random()
            share = np.array(list(self.shares(at).values()))
            self._reached.append(self._reached[at] + _systematic_counts(share, self._plan.batch_size, shift))
        return self._reached[step]  # int64 (member,)

    def _target(self, progress: float, used: np.ndarray, draws_left: float, known: _Known) -> dict[str, float]:
        """Shares of the draws at one moment: schedule, fixed shares, unit and cap together."""
        wanted = self._wanted(progress, known)
        if self._mixture.max_repeats is not None:
            wanted = self._under_cap(
                wanted, dict(zip(self._members, used.tolist(), strict=True)), self._mixture.max_repeats, draws_left
            )
        return {name: wanted.get(name, 0.0) for name in self._members}

    def _wanted(self, progress: float, known: _Known) -> dict[str, float]:
        tokens = {name: member.mean_loss_tokens for name, member in self._members.items()}
        by_tokens = self._mixture.unit == "tokens"
        # A size counts what a share counts, so that `proportional` draws every row equally often in either unit.
        sizes = {
            name: member.size * (tokens[name] if by_tokens else 1.0)
            for name, member in self._members.items()
            if name not in self._fixed and name not in known.frozen
        }
        scheduled = shares_at(self._mixture, sizes, progress, known.losses) if sizes else {}
        shares = with_fixed(scheduled, {n: share for n, share in self._fixed.items() if n not in known.frozen})
        return token_shares_to_example_shares(shares, tokens) if by_tokens else shares

    def _under_cap(
        self, wanted: dict[str, float], used: dict[str, float], cap: float, draws_left: float
    ) -> dict[str, float]:
        sizes = {name: self._members[name].size for name in wanted}
        fixed = {
            name: min(share, max(cap * sizes[name] - used[name], 0.0) / draws_left)
            for name, share in wanted.items()
            if name not in self._carriers
        }
        carried = {name: share for name, share in wanted.items() if name in self._carriers}
        budget = draws_left * (1.0 - sum(fixed.values()))
        mean_passes = (sum(used[name] for name in carried) + budget) / sum(sizes[name] for name in carried)
        room = {name: max(cap, mean_passes) * sizes[name] - used[name] for name in carried}
        return with_fixed(capped(carried, room, budget), fixed)

    def _row(self, name: str, draw: int) -> int:
        member = self._members[name]
        turn, place = divmod(draw, member.size)
        if self._orders.get(name, (-1,))[0] != turn:
            rng = generator(self._plan.seed, self._plan.adapter, "rows", name, turn)
            groups = member.groups if self._mixture.share_prefix == "document" else None
            self._orders[name] = turn, _shuffled(member.size, groups, rng)
        return int(self._orders[name][1][place])


def _systematic_counts(shares: np.ndarray, draws: int, shift: float) -> np.ndarray:
    """Draws per member, int64 (member,), whose sum is `draws`: each the floor or the ceiling of draws · share.

    One random shift in 0..1 moves a comb of equally spaced teeth over the stacked shares; on average each member
    gets exactly its share. Source: systematic sampling, Madow 1949.
    """
    stacked = np.cumsum(shares)
    edges = np.minimum(np.floor(stacked / stacked[-1] * draws + shift), draws)  # a shift just below 1 may round up
    return np.diff(edges, prepend=0.0).astype(np.int64)


def _shuffled(size: int, groups: Sequence[str] | None, rng: np.random.Generator) -> np.ndarray:
    """Row indices, int64 (row,), in random order; the rows of one group stay side by side."""
    order = rng.permutation(size)
    if groups is None:
        return order
    # A row without a group is a group of its own; a tuple cannot meet a name.
    keys = [group or (row,) for row, group in enumerate(groups)]
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    rank = rng.permutation(len(number))
    place = np.array([rank[number[key]] for key in keys])
    return order[np.argsort(place[order], kind="stable")]


def _check(members: Sequence[Member], plan: StreamPlan) -> None:
    where = f"the mixture of {plan.adapter!r}"
    if not members:
        raise MixtureError(f"{where} has no tasks. Name at least one")
    if plan.batch_size < 1 or plan.steps < 1:
        raise MixtureError(f"{where} has {plan.steps} steps of {plan.batch_size} draws. Give at least 1 of each")
    names = [member.name for member in members]
    for member in members:
        if names.count(member.name) > 1:
            raise MixtureError(f"{where} names {member.name!r} twice. Drop one of them")
        if member.size < 1:
            raise MixtureError(f"{where}: {member.name!r} has no training rows. Correct its data or drop it")
        if not member.mean_loss_tokens > 0.0:
            raise MixtureError(f"{where}: the answers of {member.name!r} hold no tokens. Fix its `answer` or drop it")
        if member.groups is not None and len(member.groups) != member.size:
            raise MixtureError(f"{where}: {member.name!r} has {member.size} rows but {len(member.groups)} groups")
