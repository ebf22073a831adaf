"""Integrity checks: digests of a run's files and of its adapters' logits, before and after a change of its tasks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from multitune.core.records import PackRow, Segments
from multitune.core.run_folder import RunFolder
from multitune.model.bank import AdapterBank

TOKENS = 16  # of the end of a prompt of each task, behind which logits are compared bit by bit


@dataclass(frozen=True, slots=True)
class RunState:
    """A run as it was."""

    without: Path  # a folder that a change is meant to write or delete
    files: dict[str, str]  # place in the run -> SHA-256, of all files but those under `without`
    logits: dict[str, str]  # task -> SHA-256 as `logits_digests` gives it


def file_digests(folder: RunFolder, without: Path) -> dict[str, str]:
    """Place in the run -> SHA-256 of each file that does not lie under `without`."""
    files = (path for path in sorted(folder.path.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder.path)): _digest(path) for path in files if not path.is_relative_to(without)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@torch.no_grad()
def logits_digests(
    bank: AdapterBank, adapters: Mapping[str, str], prompts: Mapping[str, np.ndarray], pack_tokens: int
) -> dict[str, str]:
    """Task -> SHA-256 of the logits that its adapter gives for the token behind the end of a prompt.

    The tasks share their forward passes, so that the check stays cheap where there are many.

    Args:
        bank: holds the adapters.
        adapters: task -> adapter, or `base`.
        prompts: task -> int32 (token,).
        pack_tokens: most tokens in one pass.
    """
    tasks, rows = list(adapters), list[PackRow]()
    for task, adapter in adapters.items():
        end = prompts[task][-TOKENS:]
        rows.append(PackRow(Segments(end, end[-1:]), bank.number(adapter), task=0))
    digests: dict[str, str] = {}
    for pack in bank.backbone.pack(rows, pack_tokens):
        with bank.route(pack.slices, len(pack)):
            logits, which = bank.backbone.logits(pack)
        for row, node in zip(pack.target_row, which.tolist(), strict=True):
            digests[tasks[pack.rows[row]]] = hashlib.sha256(logits[node].cpu().numpy().tobytes()).hexdigest()
    return {task: digests[task] for task in tasks}
