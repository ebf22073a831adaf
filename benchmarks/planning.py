"""Estimates of a million combinations of twenty tasks, and which of them to train: time and memory."""

import resource
import time

import numpy as np

from benchmarks.record import record
from multitune.study.estimate import all_members, estimate_losses, landscape
from multitune.study.plan import SetSize
from multitune.study.search import Board, promising
from multitune.study.signatures import BUCKETS, Signatures

TASKS, ROWS = 20, 48
COMMAND = "make bench PART=planning"


def main() -> None:
    """Random gradients stand in for real ones: neither time nor memory depends on what they say."""
    random = np.random.default_rng(1)

    def signatures() -> Signatures:
        gradients = random.normal(size=(ROWS, BUCKETS)).astype(np.float32)
        return Signatures(random.uniform(0.1, 3.0, ROWS), gradients, 0.0)

    tasks = [f"task-{i:02}" for i in range(TASKS)]
    train, held = {t: signatures() for t in tasks}, {t: signatures() for t in tasks}
    sizes = {task: SetSize(1000, 80.0).rows for task in tasks}
    started = time.monotonic()
    land = landscape(train, held, sizes)
    members = all_members(TASKS)
    losses = estimate_losses(land, members, 1.0)
    estimated = time.monotonic() - started
    board = Board(tuple(tasks), members, np.where(members, losses, np.nan))
    candidates = promising(board, members.sum(axis=1).astype(float))
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {
        "combinations": len(members),
        "estimate_seconds": round(estimated, 1),
        "seconds": round(seconds, 1),
        "peak_gb": round(peak / 1e9, 2),
        "candidates": len(candidates),
    }
    print(found)
    record("planning", COMMAND, found)


if __name__ == "__main__":
    main()
