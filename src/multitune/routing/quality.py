"""How good a router is: accuracy, confusions, calibration, and OOD detection."""

from collections.abc import Mapping, Sequence

import numpy as np

from multitune.core.results.routing import OutOfDistribution, RouterQuality
from multitune.routing.classifiers import KINDS, Views, fit_classifier
from multitune.routing.router import Decision, Reason, Router, RouterRows, fit_router

BINS = 10


def quality(router: Router, rows: Mapping[str, np.ndarray], table: Mapping[str, str]) -> RouterQuality:
    """Of a router on rows (row, width) of each of its tasks."""
    tasks = router.classifier.tasks
    owners = np.concatenate([np.full(len(rows[task]), i) for i, task in enumerate(tasks)])
    features = np.concatenate([rows[task] for task in tasks])
    probabilities = router.probabilities(features)
    likeliest = probabilities.argmax(1)
    confusion = np.zeros((len(tasks), len(tasks)), dtype=np.int64)
    np.add.at(confusion, (owners, likeliest), 1)
    right = likeliest == owners
    decisions = router.decide(features, table)
    same = [table[tasks[a]] == table[tasks[b]] for a, b in zip(owners, likeliest, strict=True)]
    return RouterQuality(
        accuracy=float(right.mean()),
        same_adapter=float(np.mean(same)),
        abstained=_share("out-of-distribution", decisions),
        unsure=_share("unsure", decisions),
        calibration_error=calibration_error(probabilities.max(1), right),
        confusion=confusion.tolist(),
    )


def _share(reason: Reason, decisions: Sequence[Decision]) -> float:
    return float(np.mean([decision.reason == reason for decision in decisions]))


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width.

    Source: Naeini et al. 2015.
    """
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = [abs(probabilities[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    return float(sum(gaps))


def outside(router: Router, inside: np.ndarray, others: np.ndarray, table: Mapping[str, str]) -> OutOfDistribution:
    """Of a router on rows of its tasks and on rows of none, both (row, width)."""
    from sklearn.metrics import roc_auc_score

    known = np.concatenate([np.ones(len(inside)), np.zeros(len(others))])
    familiar = router.classifier.read(np.concatenate([inside, others])).familiarity
    routed = 1.0 - _share("out-of-distribution", router.decide(others, table))
    return OutOfDistribution(auroc=float(roc_auc_score(known, familiar)), routed=routed)


def left_out(router: Router, rows: RouterRows, test: Views, table: Mapping[str, str]) -> dict[str, OutOfDistribution]:
    """Task -> OOD detection of its rows by a router of the same kind without that task."""
    found: dict[str, OutOfDistribution] = {}
    for task in rows.train if len(rows.train) > 2 else ():
        others = [name for name in rows.train if name != task]
        train, held = ({name: views[name] for name in others} for views in (rows.train, rows.held))
        other = fit_router(router.classifier.kind, "", RouterRows(train, held, rows.general), router.costs)
        inside = np.concatenate([rows for name in others for rows in test[name].values()])
        found[task] = outside(other, inside, np.concatenate(list(test[task].values())), table)
    return found


def accuracy_by_kind(rows: RouterRows, test: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Kind of classifier -> its accuracy on the same features, for comparison."""
    owners = np.concatenate([np.full(len(rows), i) for i, rows in enumerate(test.values())])
    features = np.concatenate(list(test.values()))
    return {
        kind: float((fit_classifier(kind, rows.train, rows.general).read(features).scores.argmax(1) == owners).mean())
        for kind in KINDS
    }
