"""Do merged single-task adapters predict what training a combination gains? Held against its mere number of rows.

`make bench PART=merging NAME=grouping DATA=folder`: trains each task of a recorded exhaustive study alone, merges the
adapters of every combination (the mean of what they add, and half of their sum), and scores each merge on validation
rows. A second look scores the other tasks' adapters one by one. Both are compared with the recorded runs.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.record import record
from benchmarks.recorded_arms import rank_correlation, read_arms
from benchmarks.studies import recorded_study
from multitune.core.records import PackRow, Segments
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
from multitune.study.grouping import relative_gains
from multitune.study.jobs import load_base
from multitune.study.plan import baselines
from multitune.study.runner import StudyRunner
from multitune.study.search import Board
from multitune.study.study import open_runner
from multitune.training.loss import pack_loss

COMMAND = "make bench PART=merging NAME={} DATA=folder"
MERGES = {"mean": None, "half of the sum": 0.5}  # what each adapter counts; None: 1 over their number


def main() -> None:
    """Train, merge, score, compare and record."""
    name = os.environ["NAME"]
    with recorded_study(name) as (study, run):
        runner = open_runner(study, run)
        board = Board(runner.planner.tasks)
        bank = trained_alone(runner)
        each = np.array([[loss(runner, bank, by, task) for by in board.tasks] for task in board.tasks])
        merged = {merge: merged_losses(runner, board, bank, weight) for merge, weight in MERGES.items()}
    measured = board.of_several(read_arms(name, study.worth).gains)
    size = board.of_several(np.where(board.members, board.members.sum(axis=1, keepdims=True), np.nan))
    looks = {"rows in the combination": size, "the other tasks' adapters, one by one": others(board, each)}
    looks |= {f"merged, {merge}": relative_gains(losses, np.diag(each)) for merge, losses in merged.items()}
    found = {look: rank_correlation(board.of_several(values), measured) for look, values in looks.items()}
    print(found)
    record(f"merging-{name}", COMMAND.format(name), found)


def trained_alone(runner: StudyRunner) -> AdapterBank:
    """A bank with an adapter of each task alone, by the name of its task."""
    alone = baselines(runner.planner).alone
    runner.train(alone)
    bank = AdapterBank(load_base(runner.prepared))
    for arm in alone:
        load_adapter(bank, runner.folder.adapter(runner.key(arm)), arm.tasks[0])
    return bank


def merged_losses(runner: StudyRunner, board: Board, bank: AdapterBank, weight: float | None) -> np.ndarray:
    """Validation losses of the merge of every combination, float (combination, task)."""
    found = board.empty()
    for row, inside in enumerate(board.members):
        group = board.combination(row)
        if len(group) < 2:
            continue
        merge = bank.averaged("merge", group)
        factor = 1.0 if weight is None else weight * len(group)
        bank.attach("merge", tuple(replace(slot, scale=slot.scale * factor) for slot in merge.slots), merge.weights)
        for column in np.flatnonzero(inside):
            found[row, column] = loss(runner, bank, "merge", board.tasks[column])
        bank.remove("merge")
    return found


def others(board: Board, each: np.ndarray) -> np.ndarray:
    """How well the adapters of the other tasks in a combination do on a task, minus their mean loss."""
    found = board.empty()
    for row, inside in enumerate(board.members):
        for column in np.flatnonzero(inside):
            partners = [other for other in np.flatnonzero(inside) if other != column]
            found[row, column] = -each[column, partners].mean() if partners else np.nan
    return found


@torch.no_grad()
def loss(runner: StudyRunner, bank: AdapterBank, adapter: str, task: str) -> float:
    """Mean validation loss over the rows of a task, in nats per answer token."""
    rows: Sequence[Segments] = list(runner.prepared.tasks[task].tokens["validation"])
    packed = [PackRow(row, adapter=bank.number(adapter), task=0) for row in rows]
    losses = np.empty(len(rows))
    for pack in bank.backbone.pack(packed, runner.prepared.config.train.pack_tokens):
        found = pack_loss(bank, pack)
        losses[list(pack.rows)] = found.row_sum / found.row_tokens
    return float(losses.mean())


if __name__ == "__main__":
    main()
