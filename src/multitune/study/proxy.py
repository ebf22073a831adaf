"""Proxy runs: the lower layers stay as they are, so each prefix of the data goes through them once for all arms.

A row becomes a path through the trie of all rows, and the embedding table of the cut model holds what the lower
layers make of each prefix. Packs, losses and adapters work on it as on any model; only the upper layers are computed
and adapted. A proxy run is for comparing combinations, and its weights are thrown away.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from multitune.core.errors import ModelError
from multitune.core.events import Observe, read_events, unwatched
from multitune.core.records import SPLITS, PackRow, Segments
from multitune.core.results.events import ValidationEvent
from multitune.core.results.run import Selection
from multitune.core.run_folder import RunFolder
from multitune.data.task_input import TaskInput
from multitune.model.backbone import TOLERANCE, Backbone
from multitune.model.bank import BASE_NUMBER
from multitune.model.lora import Routes
from multitune.study.jobs import StudyJob, clear_job, load_base, run_of
from multitune.training.job import train_run
from multitune.training.plan import plan_adapters
from multitune.training.prepare import PreparedRun

UPPER = 1 / 3  # share of the layers that a proxy run computes
PROBED = 4  # rows on which a cut model is compared with the whole one


@dataclass(frozen=True, slots=True)
class PathSegments(Segments):
    """A row whose tokens are named by their prefixes; its answer stays in the base's own tokens."""

    path: np.ndarray  # int32 (prompt_token + answer_token,) number of each prefix

    @property
    def tokens(self) -> np.ndarray:
        """int32 (prompt_token + answer_token,)"""
        return self.path


class PathTokens:
    """Tokenised rows as paths; whatever else is asked of them is as before."""

    def __init__(self, rows: Any, paths: Sequence[np.ndarray]) -> None:
        self._rows, self._paths = rows, paths

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> PathSegments:
        row = self._rows[index]
        return PathSegments(row.prompt, row.answer, self._paths[index])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)


class PrefixTrie:
    """Numbers for the prefixes of many rows: two rows share a number as long as they share all tokens up to it."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}
        self.last_token: list[int] = []  # of each prefix

    def path(self, tokens: np.ndarray) -> np.ndarray:
        """The numbers of a row's prefixes, int32 (token,)."""
        numbers, parent = self._numbers, -1
        path = np.empty(len(tokens), dtype=np.int32)
        for place, token in enumerate(tokens.tolist()):
            number = numbers.setdefault((parent, token), len(self.last_token))
            if number == len(self.last_token):
                self.last_token.append(token)
            path[place] = parent = number
        return path


def proxy_losses(prepared: PreparedRun, job: StudyJob, observe: Observe = unwatched) -> dict[str, dict[str, float]]:
    """Train the arms of a job on the upper layers, and measure each task's validation loss at the chosen step.

    Returns:
        key -> task -> nats per answer token; `seconds` stands beside the tasks, an equal part of the whole.
    """
    started = time.monotonic()
    backbone = load_base(prepared)
    cut, upper = cut_run(run_of(prepared, job), backbone)
    del backbone
    folder = RunFolder(job.folder)
    folder.clear()
    run = replace(cut, plans=plan_adapters(cut.config, cut.tasks))
    train_run(run, folder, observe=observe, backbone=upper)
    chosen = {key: entry.chosen for key, entry in Selection.read(folder.selection).adapters.items()}
    losses: dict[str, dict[str, float]] = {}
    for event in read_events(folder.events):
        if isinstance(event, ValidationEvent) and event.step == chosen[event.adapter]:
            losses[event.adapter] = {task: one.loss for task, one in event.tasks.items()}
    clear_job(job)
    part = (time.monotonic() - started) / len(losses)
    return {key: {**by_task, "seconds": part} for key, by_task in losses.items()}


def cut_run(prepared: PreparedRun, backbone: Backbone, upper: float = UPPER) -> tuple[PreparedRun, Backbone]:
    """A prepared run and its backbone, cut down to the upper layers.

    Args:
        prepared: the run; its plans are kept.
        backbone: its base, without adapters.
        upper: share of the layers to keep.

    Raises:
        ModelError: this architecture cannot be cut, which is found out on a few rows.
    """
    if not backbone.shares_prefixes:
        raise ModelError(f"proxy runs: {type(backbone.model).__name__} cannot share prefixes, so none can be kept")
    trie = PrefixTrie()
    tasks = {name: _as_paths(item, trie) for name, item in prepared.tasks.items()}
    inner = _decoder(backbone)
    first = max(1, round(len(inner.layers) * (1 - upper)))
    rows = [row for item in tasks.values() for split in SPLITS for row in item.tokens[split]]
    states = _lower_states(backbone, rows, trie, first, prepared.config.train.pack_tokens)
    cut = _cut(backbone, states, first)
    _require_exact(prepared, backbone, tasks, cut)
    return replace(prepared, tasks=tasks), cut


def _as_paths(item: TaskInput, trie: PrefixTrie) -> TaskInput:
    tokens: Mapping[Any, Any] = {
        split: PathTokens(rows, [trie.path(row.tokens) for row in rows]) for split, rows in item.tokens.items()
    }
    return replace(item, tokens=tokens)


def _decoder(backbone: Backbone) -> Any:
    inner = backbone.model.get_decoder() if hasattr(backbone.model, "get_decoder") else None
    if not isinstance(getattr(inner, "layers", None), nn.ModuleList):
        raise ModelError(f"proxy runs: {type(backbone.model).__name__} has no list of layers that could be cut")
    return inner


@torch.no_grad()
def _lower_states(
    backbone: Backbone, rows: Sequence[Segments], trie: PrefixTrie, first: int, pack_tokens: int
) -> torch.Tensor:
    """What enters layer `first` at the end of each prefix, in the compute type, (prefix, dimension)."""
    last_token = np.array(trie.last_token, dtype=np.int64)
    states = torch.zeros(len(last_token), backbone.model.config.get_text_config().hidden_size, dtype=backbone.dtype)
    caught: list[torch.Tensor] = []

    def catch(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        caught.append(arguments[0] if arguments else options["hidden_states"])

    hook = _decoder(backbone).layers[first].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        for pack in backbone.pack([PackRow(row, adapter=BASE_NUMBER, task=0) for row in rows], pack_tokens):
            caught.clear()
            backbone.losses(replace(pack, tokens=last_token[pack.tokens]))
            states[torch.from_numpy(pack.tokens)] = caught[0][0].to("cpu")
    finally:
        hook.remove()
    return states


def _cut(backbone: Backbone, states: torch.Tensor, first: int) -> Backbone:
    """A copy of the model that begins at layer `first`, with the states as its embedding table."""
    lower = _decoder(backbone).layers
    kept, table = lower[first:], _decoder(backbone).get_input_embeddings()
    memo = {id(lower): nn.ModuleList(), id(table): nn.Identity()}  # neither is copied
    model = copy.deepcopy(backbone.model, memo)
    cut = Backbone(model, backbone.ref, backbone.device, backbone.dtype, routes=Routes())
    inner = _decoder(cut)
    inner.layers = nn.ModuleList(copy.deepcopy(layer) for layer in kept)
    inner.set_input_embeddings(nn.Embedding.from_pretrained(states.to(backbone.device), freeze=True))
    if hasattr(model.config.get_text_config(), "num_hidden_layers"):
        model.config.get_text_config().num_hidden_layers = len(kept)
        inner.config.num_hidden_layers = len(kept)
    model.requires_grad_(False)
    return cut


@torch.no_grad()
def _require_exact(prepared: PreparedRun, backbone: Backbone, tasks: Mapping[str, TaskInput], cut: Backbone) -> None:
    name = next(iter(tasks))
    whole = [prepared.tasks[name].tokens["train"][i] for i in range(min(PROBED, len(tasks[name].tokens["train"])))]
    parts = [tasks[name].tokens["train"][i] for i in range(len(whole))]
    (expected,), (found,) = (
        base.pack([PackRow(row, adapter=BASE_NUMBER, task=0) for row in rows], 1 << 20)
        for base, rows in ((backbone, whole), (cut, parts))
    )
    a, b = (base.losses(pack).sum() for base, pack in ((backbone, expected), (cut, found)))
    apart = float((a - b).abs() / a.abs().clamp_min(1e-12))
    if not apart <= TOLERANCE[backbone.dtype]:
        raise ModelError(
            f"proxy runs: {type(backbone.model).__name__} cannot be cut; its upper layers alone give losses that "
            f"differ by {apart:.2g}. Leave out the proxy runs"
        )
