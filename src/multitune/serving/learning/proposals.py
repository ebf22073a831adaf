"""Requests that look alike and fit no task: proposals for tasks to train."""

from collections.abc import Sequence

import numpy as np

from multitune.core.results.base import Record
from multitune.routing.classifiers import DiscriminantClassifier
from multitune.routing.router import Router
from multitune.serving.learning.store import KeptRequest

LEAST = 20  # requests that a proposal needs
LATEST = 2000  # rejected requests that are looked at
DIMENSIONS = 20  # that are left of the features
SHOWN = 3  # texts of a proposal, where texts are kept


class Proposal(Record):
    """Some requests that look alike and fit no task."""

    number: int  # from 1, largest first
    requests: int
    texts: tuple[str, ...]  # of those nearest to its middle; none unless the operator keeps texts
    members: tuple[str, ...]  # ids of all its requests


def propose(rejected: Sequence[KeptRequest], router: Router) -> list[Proposal]:
    """Clusters of rejected requests, largest first.

    Features are turned so that rows of one task spread alike in all directions, as the router sees them, then reduced
    to their main components.

    Source: HDBSCAN, Campello et al. 2013, as scikit-learn has it.
    """
    from sklearn.cluster import HDBSCAN

    rejected = rejected[-LATEST:]
    if len(rejected) < LEAST:
        return []
    points = _reduced(np.array([request.features for request in rejected]), router)
    owners = HDBSCAN(min_cluster_size=LEAST, min_samples=5, copy=True).fit_predict(points)  # pyright: ignore[reportArgumentType]
    groups: list[list[int]] = [np.flatnonzero(owners == n).tolist() for n in range(int(owners.max()) + 1)]
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
    points = features.astype(np.float64) - features.mean(0)
    if isinstance(router.classifier, DiscriminantClassifier):
        points = points @ np.linalg.cholesky(router.classifier.discriminant.precision)
    turned, lengths, _ = np.linalg.svd(points, full_matrices=False)
    return (turned * lengths)[:, :DIMENSIONS]
