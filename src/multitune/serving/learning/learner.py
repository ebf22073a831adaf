"""A router that learns from use: feedback moves a shadow copy, which goes live if every route keeps its floor."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field

from multitune.core.bases import BASE
from multitune.core.errors import InputError, MultituneError, StorageError, suggest
from multitune.core.locks import hold
from multitune.core.results.base import Record
from multitune.core.run_folder import RunFolder
from multitune.deployment.answering import OpenRouter
from multitune.routing.feedback import agreement, below_floor, held_accuracy, moved_router
from multitune.routing.router import Decision, Router
from multitune.serving.learning.drift import DriftMonitor
from multitune.serving.learning.proposals import LATEST, Proposal, propose
from multitune.serving.learning.store import KeptRequest, KeptVersion, UseStore

_log = logging.getLogger(__name__)
T = TypeVar("T")
Mode = Literal["bypass", "observe", "apply"]
EVERY = 20  # rows of feedback between two shadows
ALPHA = 0.05  # of the sign test by which a shadow must be better than what is live
MOST_PENDING = 1000  # requests that wait to be kept; more are not kept
FEEDBACK_AN_HOUR = 200  # of one client


@dataclass(frozen=True, slots=True)
class LearningOptions:
    """Whether a server learns from use."""

    mode: Mode = "bypass"
    keep_text: bool = False
    feedback_an_hour: int = FEEDBACK_AN_HOUR


class Shadow(Record):
    """A copy of the router that has learned from all feedback, and what it is worth."""

    feedback: int  # rows it has learned from
    held_out: dict[str, float]  # task -> share of its held-out rows that are routed right; `*`: texts of no task
    below_floor: tuple[str, ...]  # routes that lose more than they may
    compared: int  # rows of feedback that it has not learned from
    agreement: float | None  # share of those that it routes as they say; None without any
    live_agreement: float | None  # of the router that is live
    p: float  # how likely as many more agreements are by chance

    @property
    def may_go_live(self) -> bool:
        """Whether every route keeps its floor and agreement is better than by chance."""
        return not self.below_floor and self.p < ALPHA


class LearningState(Record):
    """GET /v1/routing: what a server has learned from use."""

    mode: Mode
    routing: str | None  # the run's version of the routing in force; None where it has no router
    version: int  # of what was learned that is live; 0 is the run's own router
    versions: tuple[KeptVersion, ...] = ()
    requests: int = 0  # that are kept
    feedback: int = 0
    shadow: Shadow | None = None
    drift: dict[str, float] = Field(default_factory=dict[str, float])  # task -> of its recent requests
    fault: str | None = None  # why nothing is kept at the moment


@dataclass(frozen=True, slots=True)
class LiveRouter:
    """What routes at one moment; replaced as a whole."""

    opened: OpenRouter  # of the run
    table: Mapping[str, str]  # task -> adapter
    router: Router  # the run's own, or what learned from it
    version: int


class Learner:
    """Keeps what the router sees and what is said of it, in a thread of its own beside the requests."""

    def __init__(self, folder: RunFolder, options: LearningOptions) -> None:
        """Open what was kept before.

        Raises:
            RunFolderError: another server learns in this folder.
            StorageError: the file cannot be opened.
        """
        self.options = options
        self.live: LiveRouter | None = None
        self.fault: str | None = None
        self.drift: DriftMonitor | None = None
        self._shadow: Shadow | None = None
        self._proposed: tuple[tuple[str, ...], list[Proposal]] | None = None
        self._pending = 0
        self._thread = ThreadPoolExecutor(1, "multitune-learning")
        self._store: UseStore | None = None
        self._lock = None
        if options.mode != "bypass":
            file = folder.learning / "state.sqlite"
            self._store = self._in_thread(lambda: UseStore(file)).result()
            refusal = f"{folder.path}: another server learns from use here. Serve this one with --learning bypass"
            self._lock = hold(folder.learning / "lock", refusal)

    def _in_thread(self, work: Callable[[], T]) -> "Future[T]":
        return self._thread.submit(work)

    def adopt(self, opened: OpenRouter | None, table: Mapping[str, str]) -> None:
        """Route by a router of the run from now on, moved by what was learned before where it is the same one."""
        self._shadow, self.drift = None, DriftMonitor(opened.router.held) if opened else None
        self.live = LiveRouter(opened, table, opened.router, 0) if opened else None
        if opened and self._store:
            self._in_thread(self._restore).result()

    def _restore(self) -> None:
        """Take up the version that was live; what was learned on another routing is learned anew."""
        store, live = self._store, self.live
        assert store and live
        try:
            known = {version.number: version for version in store.versions()}
            version = known.get(store.live)
            if version and version.routing == live.opened.version:
                self._publish(version)
            else:
                self._reconsider()
        except (MultituneError, ArithmeticError) as error:
            self._fail(error)

    def _publish(self, version: KeptVersion | None) -> None:
        """Let a version route; None is the run's own router."""
        live, store = self.live, self._store
        assert live and store
        router = live.opened.router
        if version:
            claims = store.claims(router.classifier.tasks, version.since, version.until, False)
            router = moved_router(router, claims)
        self.live = LiveRouter(live.opened, live.table, router, version.number if version else 0)

    def decide(self, live: LiveRouter, text: str, request: str) -> tuple[Decision, np.ndarray]:
        """Where a text goes, and the probability of each task, float64 (task,)."""
        features = live.opened.features.of([text])
        (decision,), (probabilities,) = live.router.decide_with_probabilities(features, live.table)
        if self.drift:
            self.drift.seen(decision.task, features[0])
        self._keep(
            KeptRequest(
                id=request,
                task=decision.task,
                adapter=decision.adapter,
                reason=decision.reason,
                features=features[0],
                text=text if self.options.keep_text else None,
            )
        )
        return decision, probabilities

    def _keep(self, request: KeptRequest) -> None:
        """Keep a request when there is time; one that cannot be kept is answered all the same."""
        store = self._store
        if not store or not request.id or self._pending >= MOST_PENDING:
            return
        self._pending += 1

        def keep() -> None:
            self._pending -= 1
            try:
                store.keep(request)
                self.fault = None
            except StorageError as error:
                self._fail(error)

        self._in_thread(keep)

    def _fail(self, error: Exception) -> None:
        if self.fault is None:
            _log.warning("learning from use: %s", error)
        self.fault = str(error)

    def feedback(self, request: str, client: str, task: str | None, correct: bool | None) -> "Future[None]":
        """Keep what a client says of a request; done once it is on disk.

        Args:
            request: its id.
            client: who says so, in any words; a hash of them is kept.
            task: that it belongs to, `base` for none.
            correct: whether it went where it should have; given instead of `task`.

        Raises:
            InputError: this server keeps no feedback, or the run has no such task.
        """
        store, live = self._store, self.live
        if not store or not live:
            raise InputError("this server keeps no feedback. Serve it with --learning observe or apply")
        names = [*live.opened.router.classifier.tasks, BASE]
        if task is not None and task not in names:
            raise InputError(f"task {task!r}: the router knows no such task. {suggest(task, names)}")

        def add() -> None:
            claimed = task
            if correct:
                likeliest, reason = store.request(request)
                claimed = BASE if reason == "out-of-distribution" else likeliest
            hashed = hashlib.sha256(f"{store.salt} {client}".encode()).hexdigest()[:32]
            number = store.add_feedback(request, hashed, claimed, self.options.feedback_an_hour)
            if number % EVERY == 0:
                self._in_thread(self._guarded_reconsider)

        return self._in_thread(add)

    def _guarded_reconsider(self) -> None:
        try:
            self._reconsider()
        except (MultituneError, ArithmeticError) as error:
            self._fail(error)

    def _reconsider(self) -> None:
        """Make the shadow anew from all feedback, see what it is worth, and let it go live if it may."""
        store, live = self._store, self.live
        if not store or not live:
            return
        base, tasks = live.opened.router, live.opened.router.classifier.tasks
        since, until = store.since, store.last_feedback
        learned, others = (store.claims(tasks, since, until, held_back) for held_back in (False, True))
        if not len(learned):
            return
        router = moved_router(base, learned)
        before, after = (held_accuracy(one, base, live.table) for one in (base, router))
        ours, theirs = (agreement(one, others, live.table) for one in (router, live.router))
        self._shadow = Shadow(
            feedback=len(learned),
            held_out=after,
            below_floor=tuple(below_floor(base, before, after)),
            compared=len(others),
            agreement=float(ours.mean()) if len(ours) else None,
            live_agreement=float(theirs.mean()) if len(theirs) else None,
            p=sign_test(ours, theirs),
        )
        if self._shadow.may_go_live and self.options.mode == "apply":
            why = f"{len(learned)} rows of feedback; agreement {theirs.mean():.3f} to {ours.mean():.3f}"
            number = store.add_version(live.opened.version, since, until, why)
            store.set_live(number)
            self.live = LiveRouter(live.opened, live.table, router, number)
            _log.info("learning from use: version %d is live (%s)", number, why)

    def roll_back(self, version: int) -> "Future[None]":
        """Let an earlier version route; feedback up to now is learned from no more.

        Args:
            version: its number; 0 is the run's own router.

        Raises:
            InputError: there is none; from the future.
        """
        store, live = self._store, self.live
        if not store or not live:
            raise InputError("this server learns nothing. Serve it with --learning observe or apply")

        def back() -> None:
            known = {one.number: one for one in store.versions() if one.routing == live.opened.version}
            if version not in {0, *known}:
                raise InputError(
                    f"version {version}: no such version of the routing. {suggest(version, map(str, known))}"
                )
            store.set_live(version, since=store.last_feedback)
            self._shadow = None
            self._publish(known.get(version))

        return self._in_thread(back)

    def state(self) -> "Future[LearningState]":
        """What was learned so far."""
        store, live = self._store, self.live

        def read() -> LearningState:
            requests, feedback = store.counts() if store else (0, 0)
            return LearningState(
                mode=self.options.mode,
                routing=live.opened.version if live else None,
                version=self.live.version if self.live else 0,
                versions=tuple(store.versions()) if store else (),
                requests=requests,
                feedback=feedback,
                shadow=self._shadow,
                drift=self.drift.drift if self.drift else {},
                fault=self.fault,
            )

        return self._in_thread(read)

    def proposals(self) -> "Future[list[Proposal]]":
        """Requests that look alike and fit no task."""
        return self._in_thread(lambda: self._propose()[0])

    def _propose(self) -> tuple[list[Proposal], list[KeptRequest]]:
        """Proposals, and the requests they are made of; made anew where there are other requests."""
        store, live = self._store, self.live
        if not store or not live:
            return [], []
        rejected = store.rejected(LATEST)
        seen = (live.opened.version, *(request.id for request in rejected))
        if self._proposed is None or self._proposed[0] != seen:
            self._proposed = seen, propose(rejected, live.opened.router)
        return self._proposed[1], rejected

    def texts_of(self, proposal: int) -> "Future[list[KeptRequest]]":
        """The requests of a proposal.

        Raises:
            InputError: there is none of this number, or texts are not kept; from the future.
        """

        def read() -> list[KeptRequest]:
            if not self._store or not self.options.keep_text:
                raise InputError("texts of requests are not kept. Serve with --learning observe --keep-text")
            proposals, rejected = self._propose()
            found = {one.number: one for one in proposals}
            if proposal not in found:
                raise InputError(f"proposal {proposal}: there is none. {suggest(proposal, map(str, found))}")
            members = set(found[proposal].members)
            return [request for request in rejected if request.id in members]

        return self._in_thread(read)

    def close(self) -> None:
        """Write what is pending and end the thread."""
        if self._store:
            self._in_thread(self._store.close)
        self._thread.shutdown()
        if self._lock:
            self._lock.release()


def sign_test(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How likely so many more right answers than the other's are, if either is as good; both bool (row,)."""
    from scipy.stats import binomtest

    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return float(binomtest(wins, wins + losses, alternative="greater").pvalue) if wins + losses else 1.0
