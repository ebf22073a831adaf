"""What a study will train, as a pure function of its file and the sizes of its sets; and what that costs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from multitune.config.registered import Schedule
from multitune.config.schema import RunConfig
from multitune.config.study import Alone, StudyConfig
from multitune.core.errors import ConfigError
from multitune.mixture.sampler import plan_steps
from multitune.study.arms import Arm
from multitune.training.plan import passes_over

MOST_LISTED = 4096  # combinations that `search: exhaustive` may train

Combination = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetSize:
    """Training rows of a set, and the tokens of a mean one."""

    rows: int
    tokens: float

    @property
    def all_tokens(self) -> float:
        """Tokens of one pass over it."""
        return self.rows * self.tokens


@dataclass(frozen=True, slots=True)
class Planner:
    """Turns combinations of tasks into arms of equal budget."""

    study: StudyConfig
    run: RunConfig
    sizes: Mapping[str, SetSize]  # of every task and general set

    @property
    def tasks(self) -> Combination:
        """All tasks, in the run's order."""
        return tuple(task.name for task in self.run.tasks)

    def arm(self, tasks: Sequence[str], seed: int | None = None, general: float | None = None) -> Arm:
        """The arm of a combination: every task is seen `train.epochs` times on average."""
        chosen = tuple(task for task in self.tasks if task in tasks)
        share = self.study.general[0] if general is None else general
        return Arm(
            chosen,
            self.study.seeds[0] if seed is None else seed,
            self._steps(chosen, share),
            share,
            self.run.mixture.schedule,
        )

    def alone(self, task: str, budget: Alone, like: Arm) -> Arm:
        """One task alone, without general data: its own passes, or as many steps as the arm it is compared with."""
        steps = like.steps if budget == "equal_steps" else self._steps((task,), 0.0)
        return replace(self.arm((task,), like.seed, 0.0), steps=steps)

    def base(self, task: str) -> Arm:
        """The base on one task."""
        return replace(self.arm((task,), self.study.seeds[0], 0.0), steps=0)

    def combinations(self) -> Iterator[Combination]:
        """Every combination of the tasks, small ones first."""
        for size in range(1, len(self.tasks) + 1):
            yield from combinations(self.tasks, size)

    def tokens(self, arm: Arm) -> float:
        """Tokens that an arm draws, about: exact where no cap and no validation moves its shares."""
        rows = sum(self.sizes[task].rows for task in arm.tasks)
        own = sum(self.sizes[task].all_tokens for task in arm.tasks) / rows
        draws = arm.steps * self.run.train.batch_size
        return draws * ((1 - arm.general) * own + arm.general * self._general_tokens())

    def everything(self) -> float:
        """Tokens of training every combination once: each task is in half of them."""
        share = self.study.general[0]
        each = sum(size.all_tokens for name, size in self.sizes.items() if name in self.tasks)
        rows = sum(self.sizes[task].rows for task in self.tasks)
        passes = self.arm(self.tasks).steps * self.run.train.batch_size * (1 - share) / rows
        general = share / (1 - share) * rows * self._general_tokens()
        return 2 ** (len(self.tasks) - 1) * passes * (each + general)

    def _steps(self, tasks: Sequence[str], general: float) -> int:
        train = self.run.train
        rows = sum(self.sizes[task].rows for task in tasks)
        if train.max_steps is not None:  # a budget for all tasks together; a part of them gets its part
            every = sum(self.sizes[task].rows for task in self.tasks)
            return max(1, round(train.max_steps * rows / every))
        draws = sum(self.sizes[task].rows * passes_over(self.run, task, train.epochs) for task in tasks)
        return plan_steps(draws, train.batch_size, 1.0, general)

    def _general_tokens(self) -> float:
        sets = [self.sizes[task.name].tokens for task in self.run.general]
        return sum(sets) / len(sets) if sets else 0.0


@dataclass(frozen=True, slots=True)
class Baselines:
    """What every study trains: all tasks together, and each alone at equal passes."""

    base: tuple[Arm, ...]
    alone: tuple[Arm, ...]
    together: Arm
    repeats: tuple[Arm, ...]  # each task alone with the other seeds, which the proof needs in any case

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All but the repeats."""
        return (*self.base, *self.alone, self.together)

    def alone_on(self, task: str) -> list[Arm]:
        """A task alone, with every seed."""
        return [arm for arm in (*self.alone, *self.repeats) if arm.tasks == (task,)]


def baselines(planner: Planner) -> Baselines:
    """The arms that all others are compared with."""
    together = planner.arm(planner.tasks)
    return Baselines(
        tuple(planner.base(task) for task in planner.tasks),
        tuple(planner.alone(task, "equal_passes", together) for task in planner.tasks),
        together,
        tuple(
            planner.alone(task, "equal_passes", planner.arm(planner.tasks, seed))
            for seed in planner.study.seeds[1:]
            for task in planner.tasks
        ),
    )


def searched(planner: Planner) -> list[Arm]:
    """The combinations that are trained in any case, those of several tasks; a guided search adds to them.

    Raises:
        ConfigError: every combination of so many tasks is more than can be trained.
    """
    chosen: list[Combination] = list(planner.study.combinations)
    if planner.study.search == "exhaustive":
        if 2 ** len(planner.tasks) > MOST_LISTED:
            raise ConfigError(
                f"search: exhaustive would train {2 ** len(planner.tasks) - 1:,} combinations of "
                f"{len(planner.tasks)} tasks. Use `search: guided`, which trains the largest as far as its budget goes"
            )
        chosen += planner.combinations()
    return list(dict.fromkeys(planner.arm(tasks) for tasks in chosen if len(tasks) > 1))


def variants(planner: Planner) -> list[Arm]:
    """All tasks together under each schedule, seed and share of general data that the study names."""
    study = planner.study
    schedules: Sequence[Schedule] = study.schedules or (planner.run.mixture.schedule,)
    shares = study.general if len(study.general) > 1 or study.schedules else ()
    return [
        replace(planner.arm(planner.tasks, seed, share), schedule=schedule)
        for schedule in schedules
        for share in shares
        for seed in study.seeds
    ]


def finalists(planner: Planner, serves: Mapping[str, Combination]) -> list[Arm]:
    """What the report compares: what serves each task, all together, and each task alone, with all seeds.

    Args:
        planner: of the study.
        serves: task -> the combination that is recommended for it.
    """
    arms: list[Arm] = []
    for seed in planner.study.seeds:
        together = planner.arm(planner.tasks, seed)
        arms.append(together)
        for task, group in serves.items():
            served = serving(planner, task, group, seed)
            arms += [served, planner.alone(task, "equal_passes", together)]
            arms += [planner.alone(task, budget, served) for budget in planner.study.alone]
    return list(dict.fromkeys(arms))


def serving(planner: Planner, task: str, group: Combination, seed: int) -> Arm:
    """The arm that answers a task: its combination's, or its own at equal passes where it is best alone."""
    arm = planner.arm(group, seed)
    return arm if len(group) > 1 else planner.alone(task, "equal_passes", arm)


def require_budget(planner: Planner) -> float:
    """Tokens that a guided search may spend on combinations, after the baselines.

    Raises:
        ConfigError: not even the baselines fit.
    """
    share = planner.study.budget.share
    if share is None:
        return float("inf")
    fixed = sum(planner.tokens(arm) for arm in baselines(planner).arms)
    whole = planner.everything()
    if fixed > share * whole:
        raise ConfigError(
            f"budget.share is {share:.0%} of training every combination, but the baselines (each task alone, all "
            f"together) take {fixed / whole:.0%}. Raise it, or name `budget.arms` instead"
        )
    return share * whole - fixed


def most_arms(planner: Planner) -> float:
    """Combinations that a guided search may train; where its budget names no limit, as many as there are tasks."""
    budget = planner.study.budget
    if budget.arms is None and budget.share is None and budget.minutes is None:
        return len(planner.tasks)
    return float("inf") if budget.arms is None else budget.arms
