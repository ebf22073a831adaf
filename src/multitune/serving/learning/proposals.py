"""Requests that look alike and fit no task: proposals for tasks to train."""

from collections.abc import Sequence

import numpy as np

from multitune.core.results.base import Record
from multitune.routing.classifiers import DiscriminantClassifier
from multitune.routing.router import Router
from multitune.serving.learning.store import KeptRequest

LEAST = 15  # requests that a proposal needs
LATEST = 2000  # rejected requests that are looked at
DIMENSIONS = 10  # that are left of the features
ALIKE = 0.8  # mean cosine distance at which two groups are still joined
SHOWN = 3  # texts of a proposal, where texts are kept


class Proposal(Record):
    """Some requests that look alike and fit no task."""

    number: int  # from 1, largest first
    requests: int
    texts: tuple[str, ...]  # of those nearest to its middle; none unless the operator keeps texts
    members: tuple[str, ...]  # ids of all its requests


def propose(rejected: Sequence[KeptRequest], router: Router) -> list[Proposal]:
    """Clusters of rejected requests, largest first.

    Features are turned so that rows of one task spread alike in all directions, as the router sees them, taken by
    their direction from the middle of the tasks' rows, so that short texts do not stand apart for being short, and
    reduced to their main components. Groups are joined as long as they point the same way on average.
    """
    from sklearn.cluster import AgglomerativeClustering

    if len(rejected) < LEAST:
        return []
    points = _reduced(np.array([request.features for request in rejected]), router)
    joining = AgglomerativeClustering(
        n_clusters=None,  # pyright: ignore[reportArgumentType]  # as its documentation asks for with a threshold
        metric="cosine",
        linkage="average",
        distance_threshold=ALIKE,
    )
    owners = joining.fit_predict(points)
    groups: list[list[int]] = [np.flatnonzero(owners == n).tolist() for n in range(int(owners.max()) + 1)]
    groups = [places for places in groups if len(places) >= LEAST]
    found: list[Proposal] = []
    for number, places in enumerate(sorted(groups, key=len, reverse=True), start=1):
        distances = ((points[places] - points[places].mean(0)) ** 2).sum(1)
        order: list[int] = distances.argsort().tolist()
        nearest = [rejected[places[place]].text for place in order]
        texts = tuple(text for text in dict.fromkeys(nearest) if text)[:SHOWN]
        members = tuple(rejected[place].id for place in places)
        found.append(Proposal(number=number, requests=len(places), texts=texts, members=members))
    return found


def _reduced(features: np.ndarray, router: Router) -> np.ndarray:
    """Features (row, width) as (row, at most `DIMENSIONS`)."""
    points = features.astype(np.float64) - router.held.features.astype(np.float64).mean(0)
    if isinstance(router.classifier, DiscriminantClassifier):
        points = points @ np.linalg.cholesky(router.classifier.discriminant.precision)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    turned, lengths, _ = np.linalg.svd(points, full_matrices=False)
    return (turned * lengths)[:, :DIMENSIONS]
