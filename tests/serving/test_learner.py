"""Laws of learning from use: what goes live and what does not, the way back, restarts, and a full disk."""

import itertools
import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import pytest

from multitune.core.errors import InputError, RunFolderError
from multitune.core.run_folder import RunFolder
from multitune.deployment.answering import OpenRouter
from multitune.serving.learning.learner import EVERY, Learner, LearningOptions, Mode, sign_test
from multitune.serving.learning.proposals import propose
from multitune.serving.learning.store import KeptRequest
from tests.routing.test_feedback import SHIFT, poisoned, stream
from tests.routing.test_router import TABLE, RouterOf, cloud, others, router_of

__all__ = ["router_of"]


class Written:
    """Features of texts that are vectors written as JSON."""

    key = "points"

    def of(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([json.loads(text) for text in texts], dtype=np.float32)


class Use:
    """A learner, and users who say what their requests were for."""

    def __init__(self, folder: Path, opened: OpenRouter, options: LearningOptions) -> None:
        self.learner = Learner(RunFolder(folder), options)
        self.learner.adopt(opened, TABLE)
        self.ids = map("{:032x}".format, itertools.count(0x1A2B3C << 100, 0x9E3779B97F4A7C15F39CC0605CEDC835))

    def ask(self, features: np.ndarray) -> str:
        name = next(self.ids)[-32:]
        assert self.learner.live
        self.learner.decide(self.learner.live, json.dumps(features.tolist()), name)
        return name

    def give(self, rows: np.ndarray, tasks: Sequence[str]) -> None:
        order = np.random.default_rng(5).permutation(len(tasks))
        for place in order:
            self.learner.feedback(self.ask(rows[place]), "client", tasks[place], None).result()
        self.learner.state().result()  # behind whatever follows from it

    def right(self, shift: np.ndarray | float = 0.0) -> float:
        later, live = stream(60, 8, shift), self.learner.live
        assert live
        found = live.router.decide(later.features, TABLE)
        return float(np.mean([one.adapter == TABLE[task] for one, task in zip(found, later.tasks, strict=True)]))


UseOf = Callable[..., Use]


@pytest.fixture
def use_of(tmp_path: Path, router_of: RouterOf) -> Generator[UseOf]:
    made: list[Use] = []

    def use(mode: Mode = "apply", routing: str = "v0001", **options: bool | int) -> Use:
        for one in made:
            one.learner.close()
        router = router_of(with_general=True)
        made[:] = [
            Use(tmp_path, OpenRouter(routing, router, Written()), LearningOptions(mode, **options))  # type: ignore[arg-type]
        ]
        return made[0]

    yield use
    for one in made:
        one.learner.close()


def test_a_shifted_stream_is_recovered_once_the_shadow_goes_live(use_of: UseOf) -> None:
    use, claims = use_of(), stream(40, 7, SHIFT)
    before = use.right(SHIFT)
    use.give(claims.features, claims.tasks)
    state = use.learner.state().result()
    assert state.version >= 1 and state.shadow and not state.shadow.below_floor
    assert use.right(SHIFT) > before + 0.3


def test_poisoned_feedback_harms_neither_stream(use_of: UseOf) -> None:
    use = use_of()
    before, shifted, claims = use.right(), use.right(SHIFT), poisoned(stream(40, 7, SHIFT), 0.35)
    use.give(claims.features, claims.tasks)
    assert use.right() >= before - 0.03 and use.right(SHIFT) >= shifted


def test_feedback_that_is_all_wrong_never_goes_live(use_of: UseOf) -> None:
    use, claims = use_of(), stream(40, 7)
    use.give(claims.features, [{"a": "b", "b": "c", "c": "a"}[task] for task in claims.tasks])
    assert use.learner.state().result().version == 0


def test_what_is_as_in_training_changes_nothing(use_of: UseOf) -> None:
    use, claims = use_of(), stream(40, 7)
    before = use.right()
    use.give(claims.features, claims.tasks)
    assert use.right() >= before - 0.01


def test_observing_makes_a_shadow_and_bypassing_keeps_nothing(use_of: UseOf, tmp_path: Path) -> None:
    use, claims = use_of("bypass"), stream(40, 7, SHIFT)
    use.ask(claims.features[0])
    assert not (tmp_path / "learning").exists()
    with pytest.raises(InputError, match="--learning observe or apply"):
        use.learner.feedback("0", "client", "a", None)
    use, before = use_of("observe"), use.right(SHIFT)
    use.give(claims.features, claims.tasks)
    state = use.learner.state().result()
    assert state.shadow and state.shadow.may_go_live and state.version == 0 and use.right(SHIFT) == before
    assert state.shadow.agreement and state.shadow.agreement > (state.shadow.live_agreement or 0.0)


def test_what_was_learned_is_there_after_a_restart_and_not_on_another_routing(use_of: UseOf) -> None:
    use, claims = use_of(), stream(40, 7, SHIFT)
    use.give(claims.features, claims.tasks)
    version, right = use.learner.state().result().version, use.right(SHIFT)
    again = use_of()
    assert (again.learner.state().result().version, again.right(SHIFT)) == (version, right)
    assert use_of(routing="v0002").learner.state().result().version != version


def test_going_back_holds_and_needs_new_feedback_to_be_left(use_of: UseOf) -> None:
    use, claims, before = use_of(), stream(40, 7, SHIFT), use_of().right(SHIFT)
    use = use_of()
    use.give(claims.features, claims.tasks)
    with pytest.raises(InputError, match="version 99: no such version"):
        use.learner.roll_back(99).result()
    use.learner.roll_back(0).result()
    assert use.learner.state().result().version == 0 and use.right(SHIFT) == before
    use.give(claims.features[:EVERY], claims.tasks[:EVERY])
    assert use_of().right(SHIFT) == before, "also after a restart"


def limit_pages(learner: Learner, most: int) -> None:
    """Let SQLite refuse to grow the file beyond so many pages, as on a full disk."""
    store = learner._store
    assert store
    learner._in_thread(lambda: store._file.execute(f"pragma max_page_count = {most}")).result()


def test_a_full_disk_is_told_and_requests_are_routed_all_the_same(use_of: UseOf) -> None:
    use = use_of(keep_text=True)
    limit_pages(use.learner, 1)
    for row in cloud(0, 1, 200):
        use.ask(row)
    state = use.learner.state().result()
    assert state.fault and "full" in state.fault and use.right() > 0.9
    limit_pages(use.learner, 1_000_000)
    use.ask(cloud(0, 1, 1)[0])
    assert use.learner.state().result().fault is None


def test_two_servers_do_not_learn_in_one_folder(use_of: UseOf, tmp_path: Path) -> None:
    use_of()
    with pytest.raises(RunFolderError, match="another server learns from use here"):
        Learner(RunFolder(tmp_path), LearningOptions("observe"))


def test_drift_is_near_zero_on_rows_as_in_validation_and_grows_with_a_shift(use_of: UseOf) -> None:
    use = use_of("bypass")
    for row in cloud(0, 1, 100, seed=9):
        use.ask(row)
    near = use.learner.state().result().drift["a"]
    for row in cloud(1, 1, 100, seed=9) + SHIFT / 2:
        use.ask(row.astype(np.float32))
    assert near < 0.1 < 0.5 < use.learner.state().result().drift["b"]


def test_requests_that_look_alike_and_fit_no_task_become_one_proposal(router_of: RouterOf) -> None:
    random, router = np.random.default_rng(0), router_of()
    rows = np.concatenate([others(40), random.normal(size=(60, 12)) * 5]).astype(np.float32)
    rejected = [
        KeptRequest(f"{n:032x}", "a", "base", "out-of-distribution", row, f"text {n}") for n, row in enumerate(rows)
    ]
    found = propose(rejected, router)[0]
    alike = [int(name, 16) for name in found.members if int(name, 16) < 40]
    assert len(alike) >= 30 and len(alike) > 0.7 * found.requests
    assert len(found.texts) == 3 and propose(rejected[:10], router) == []


def test_a_proposal_is_exported_where_texts_are_kept_and_refused_where_not(use_of: UseOf) -> None:
    rows = np.concatenate([others(60), -others(60)])
    for keep in (True, False):
        use = use_of("observe", keep_text=keep)
        for row in rows:
            use.ask(row)
        found = use.learner.proposals().result()
        assert found and found[0].requests >= 15
        if keep:
            exported = use.learner.texts_of(1).result()
            assert len(exported) == found[0].requests and all(one.text for one in exported)
            with pytest.raises(InputError, match="proposal 99"):
                use.learner.texts_of(99).result()
        else:
            with pytest.raises(InputError, match="--keep-text"):
                use.learner.texts_of(1).result()


def test_the_sign_test_is_that_of_the_book() -> None:
    ours, theirs = np.array([True] * 9 + [False] + [True] * 5), np.array([False] * 9 + [True] + [True] * 5)
    assert sign_test(ours, theirs) == pytest.approx(11 / 1024)
    assert sign_test(ours, ours) == 1.0
