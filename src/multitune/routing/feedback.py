"""Feedback moves a copy of a router: rows with claimed tasks, each weighted by how likely its claim is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from multitune.core.bases import BASE
from multitune.routing.classifiers import DiscriminantClassifier
from multitune.routing.router import Router

WRONG = 0.35  # share of claims taken to be wrong; what a row of a wrong claim weighs hardly depends on it
ROUNDS = 6  # of weighting and moving; later ones change nothing
ENOUGH = 150  # rows that a prototype counts as at most beside feedback, so that large sets can be moved as well
FLOOR = 0.02  # share of a route's held-out rows that a move may cost beyond one standard error
OUTSIDE = "*"  # the route of texts of no task, in `held_accuracy`


@dataclass(frozen=True, slots=True)
class Claims:
    """What users said that some texts are."""

    features: np.ndarray  # float32 (row, width)
    tasks: Sequence[str]  # of the router, or `base` for a text of no task

    def __len__(self) -> int:
        return len(self.tasks)

    def chosen(self, which: np.ndarray) -> "Claims":
        """Some of them, by a mask."""
        return Claims(self.features[which], [task for task, kept in zip(self.tasks, which, strict=True) if kept])


def moved_router(router: Router, claims: Claims) -> Router:
    """A copy of a router that has learned from claims; the router itself stays as it is.

    Prototypes and the common covariance take in the rows, in closed form, as if they had been among those of training,
    each with the probability that its claim is right: a claim is taken to be wrong in a fixed share of cases, and then
    to be any other task alike. Rows of wrong claims are unlikely under their task, weigh little, and the less the
    better the router has become. Texts that are said to belong to no task join those that set the threshold.

    Source: Lawrence & Schölkopf 2001, Estimating a kernel Fisher discriminant in the presence of label noise.

    Raises:
        RouterError: this kind of router must be fitted as a whole.
    """
    own = claims.chosen(np.array([task != BASE for task in claims.tasks], dtype=bool))
    outside = claims.chosen(np.array([task == BASE for task in claims.tasks], dtype=bool))
    found = router
    if len(outside) and len(router.outside):
        more = np.concatenate([router.outside, outside.features.astype(np.float16)])
        found = _calibrated(replace(router, outside=more))
    if not len(own):
        return found
    start = router.require_growing().discriminant
    names = _nearest_views(router.require_growing(), own)
    places = np.array([router.classifier.tasks.index(task) for task in own.tasks])
    counts = [count for name, count in start.counts.items() if not name.startswith("*")]
    gain = max(1.0, float(np.mean(counts)) / ENOUGH)
    for _ in range(ROUNDS):
        weights = right_claims(found, own.features, places)
        classifier = DiscriminantClassifier(start.moved(names, own.features, gain * weights))
        found = _calibrated(replace(found, classifier=classifier))
    return found


def right_claims(router: Router, features: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The probability that each row is of the task it is claimed for, float64 (row,).

    Args:
        router: whose probabilities are the likelihood.
        features: (row, width).
        places: of the claimed tasks among the router's.
    """
    tasks = len(router.classifier.tasks)
    if tasks == 1:
        return np.ones(len(places))
    likely = router.probabilities(features)[np.arange(len(places)), places]
    right, wrong = (1 - WRONG) * likely, WRONG / (tasks - 1) * (1 - likely)
    return right / np.maximum(right + wrong, 1e-12)


def _calibrated(router: Router) -> Router:
    router.calibrate()
    return router


def _nearest_views(classifier: DiscriminantClassifier, claims: Claims) -> list[str]:
    """The prototype of its claimed task that each row is nearest to."""
    names = list(classifier.discriminant.means)
    distances = classifier.discriminant.distances(claims.features)
    owners = np.array([name.partition("/")[0] for name in names])
    return [
        names[int(np.where(owners == task, row, np.inf).argmin())]
        for task, row in zip(claims.tasks, distances, strict=True)
    ]


def held_accuracy(router: Router, base: Router, table: Mapping[str, str]) -> dict[str, float]:
    """Task -> share of its held-out rows that get its adapter; `*`: of texts of no task that get the base.

    Args:
        router: the one to measure.
        base: whose held-out rows and texts of no task are asked.
        table: task -> adapter.
    """
    owners = np.array(base.held.tasks)
    adapters = np.array([one.adapter for one in router.decide(base.held.features.astype(np.float32), table)])
    found = {task: float((adapters[owners == task] == table[task]).mean()) for task in base.classifier.tasks}
    if len(base.outside):
        rejected = [one.adapter == BASE for one in router.decide(base.outside.astype(np.float32), table)]
        found[OUTSIDE] = float(np.mean(rejected))
    return found


def below_floor(base: Router, before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """Routes that a move costs more than it may: `FLOOR`, and one standard error of the share before.

    Args:
        base: whose held-out rows and texts of no task were asked.
        before: `held_accuracy` of the base itself.
        after: of a copy that has moved.
    """
    below: list[str] = []
    for route, share in before.items():
        rows = len(base.outside) if route == OUTSIDE else base.held.tasks.count(route)
        smoothed = (share * rows + 1) / (rows + 2)  # that of few rows is never without error
        error = (smoothed * (1 - smoothed) / rows) ** 0.5
        if after[route] < share - FLOOR - error:
            below.append(route)
    return below


def agreement(router: Router, claims: Claims, table: Mapping[str, str]) -> np.ndarray:
    """Which rows go where their claims say, bool (row,)."""
    if not len(claims):
        return np.zeros(0, dtype=bool)
    decisions = router.decide(claims.features, table)
    wanted = [table.get(task, BASE) for task in claims.tasks]
    return np.array([one.adapter == adapter for one, adapter in zip(decisions, wanted, strict=True)])
