"""How long a router takes to decide among few and among many adapters: features of a text, and the decision."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from multitune.core.seeds import generator
from multitune.deployment.router_report import task_texts
from multitune.model.bank import AdapterBank
from multitune.routing.features import open_features
from multitune.routing.router import RouterRows, fit_router
from multitune.training.prepare import PreparedRun

ROWS = 8  # of each made-up task, in training and held out alike
REPEATS = 5  # of each text


def deciding(bank: AdapterBank, prepared: PreparedRun, counts: Sequence[int]) -> dict[str, Any]:
    """Milliseconds per request at so many adapters, one task each: real texts, and tasks drawn around them.

    Args:
        bank: on the base, whose embeddings are the features.
        prepared: the run whose texts are decided on.
        counts: of adapters.
    """
    features = open_features("embedding", bank.backbone, prepared.chat.tokenizer)
    texts = [text for task in prepared.config.tasks for text in task_texts(prepared, task.name, "test")["prompt"][:10]]
    known = features.of(texts)
    general = {"chat": known + 3 * known.std() * generator(1, "general").normal(size=known.shape).astype(np.float32)}
    return {str(count): _one_count(features, known, general, texts, count) for count in counts}


def _one_count(
    features: Any, known: np.ndarray, general: dict[str, np.ndarray], texts: Sequence[str], count: int
) -> dict[str, float]:
    rng = generator(count, "tasks")

    def drawn(centre: np.ndarray) -> dict[str, np.ndarray]:
        return {"prompt": centre + 0.5 * known.std() * rng.normal(size=(ROWS, len(centre))).astype(np.float32)}

    centres = {f"task{n}": known[n % len(known)] + known.std() * rng.normal(size=known.shape[1]) for n in range(count)}
    train, held = ({name: drawn(centre.astype(np.float32)) for name, centre in centres.items()} for _ in range(2))
    started = time.perf_counter()
    router = fit_router("discriminant", features.key, RouterRows(train, held, general))
    fitted = time.perf_counter() - started
    table = {name: name for name in centres}
    router.decide(features.of(["warm up"]), table)  # thresholds are found once
    reading: list[float] = []
    deciding: list[float] = []
    for text in [*texts] * REPEATS:
        begun = time.perf_counter()
        vector = features.of([text])
        read = time.perf_counter()
        router.decide(vector, table)
        reading.append(read - begun)
        deciding.append(time.perf_counter() - read)
    both = [1000 * (a + b) for a, b in zip(reading, deciding, strict=True)]
    return {
        "features_ms": round(1000 * statistics.median(reading), 3),
        "decision_ms": round(1000 * statistics.median(deciding), 3),
        "together_ms": round(statistics.median(both), 3),
        "together_p90_ms": round(float(np.percentile(both, 90)), 3),
        "fit_seconds": round(fitted, 1),
    }
