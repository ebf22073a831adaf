"""Tasks that join a finished run or leave it, with an integrity check that nothing else changed.

A task that joins is a run of its own in `added/TASK`, whose adapter stands on the shared one or on the base; then a
new routing version names it, beside a change.json with the integrity check.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from multitune.config.adapters import adapter_faults
from multitune.config.load import load_config
from multitune.config.schema import AdapterConfig, RunConfig, Section, TrainConfig
from multitune.core.bases import BASE
from multitune.core.errors import ConfigError, RouterError, RunFolderError, suggest
from multitune.core.events import Observe, unwatched
from multitune.core.files import delete_folder, recover_tree
from multitune.core.predictions import read_predictions
from multitune.core.results.routing import RoutingChoice, RoutingTable, TaskChange
from multitune.core.routing_versions import require_table
from multitune.core.run_folder import RunFolder
from multitune.deployment.deploy import elect, table_of, task_cost, write_version
from multitune.deployment.homes import OpenRun, open_run_models, read_joined, shared_adapter
from multitune.deployment.integrity import RunState, file_digests, logits_digests
from multitune.deployment.router_report import FITTED_ON, answers, held_quality, task_texts, texts_of
from multitune.evaluation.experiment import evaluated_run
from multitune.evaluation.resampling import corpus_score
from multitune.inference.predict import chosen_rows
from multitune.model.backbone import Backbone
from multitune.routing.features import Features, open_features
from multitune.routing.router import Decision, Router, load_router, vectors
from multitune.training.prepare import PreparedRun, prepare_run

INHERITED = ("base", "system", "seed", "lora", "train", "evaluate", "device", "dtype")


@dataclass(slots=True)
class _RoutedRun:
    """A run with its routing version."""

    run: OpenRun
    table: RoutingTable
    router: Router
    features: Features

    @property
    def adapters(self) -> dict[str, str]:
        """Task -> adapter."""
        return self.table.adapters


def add_task(
    folder: RunFolder,
    new: RunConfig,
    *,
    alone: bool = False,
    overwrite: bool = False,
    observe: Observe = unwatched,
    backbone: Backbone | None = None,
) -> TaskChange:
    """Train an adapter for one new task, and write a routing version that knows it.

    Args:
        folder: a run with a routing table.
        new: holds the new task; what else it states wins over the run's own settings.
        alone: learn from the base, also where there is a shared adapter.
        overwrite: start a task over that was begun from another file.
        observe: gets the events of its training.
        backbone: the run's base, without a bank, and so it is left; loaded when None.

    Raises:
        InputError: the task is there already, is for another base, or does not fit; the run folder is unchanged.
        TrainingError, Interrupted: adding the same file again goes on.
    """
    before = _open(folder, backbone=backbone)
    backbone = before.run.bank.backbone
    before.router.require_growing()
    config = _joining(before, new, alone)
    name = config.tasks[0].name
    began = folder.added(name)
    state, known = _state(before, began.path), before.run
    main, joined = known.main, {task: h.prepared for task, h in known.homes.items() if h.folder != folder}
    known.bank.close()
    resume = began.config.is_file() and not overwrite
    try:
        with evaluated_run(config, resume, observe, overwrite, backbone) as begun:
            begun.subjects[0].model.bank.close()
    except RunFolderError as error:
        if not resume:
            raise
        raise RunFolderError(
            f"{began.path}: task {name!r} was begun from another file. To start over: multitune add --overwrite"
        ) from error
    now = _open(folder, main, {**joined, name: prepare_run(config)}, backbone)
    home = now.run.homes[name]
    choice = elect(home, now.run.candidates(name), now.run.bank)
    router = deepcopy(now.router)
    train, held = (vectors(now.features, {name: task_texts(home.prepared, name, s)})[name] for s in FITTED_ON)
    router.add(name, train, held, task_cost(choice, router.costs.shared))
    choices = {**now.table.tasks, name: choice}
    change = _write(now, router, choices, state, added=name)
    now.run.bank.close()
    return change


def remove_task(folder: RunFolder, name: str, backbone: Backbone | None = None) -> TaskChange:
    """Write a routing version without a task, and delete what it brought if it joined later.

    Raises:
        RouterError: no such task, or it is the last one; the run folder is unchanged.
    """
    now = _open(folder, backbone=backbone)
    if name not in now.table.tasks:
        raise RouterError(f"{folder.path}: no task {name!r} is routed to. {suggest(name, now.table.tasks)}")
    left = folder.added(name).path
    state = _state(now, left)
    router = deepcopy(now.router)
    router.remove(name)
    choices = {task: choice for task, choice in now.table.tasks.items() if task != name}
    users = [task for task, choice in choices.items() if Path(choice.path).is_relative_to(f"added/{name}")]
    if users:
        raise RouterError(f"{folder.path}: task {users[0]!r} ships with an adapter of {name!r}. Remove that one first")
    done = _write(now, router, choices, state, removed=name)
    now.run.bank.close()
    delete_folder(left, folder.path)
    return done


def _open(
    folder: RunFolder,
    main: PreparedRun | None = None,
    joined: Mapping[str, PreparedRun] | None = None,
    backbone: Backbone | None = None,
) -> _RoutedRun:
    """Load a run from disk; what is given is at hand already: its data, the data of joined tasks, its base."""
    recover_tree(folder.path)
    table = require_table(folder)
    main = main or prepare_run(load_config(folder.config))
    joined = read_joined(folder) if joined is None else joined
    wanted = {*table.adapters.values(), *joined, shared_adapter(folder, main.config)}
    run = open_run_models(folder, main, joined, backbone=backbone, only={name for name in wanted if name})
    features = open_features(main.config.router.features, run.bank.backbone, main.chat.tokenizer)
    return _RoutedRun(run, table, load_router(folder.routing_versions[-1], features.key), features)


def _joining(before: _RoutedRun, new: RunConfig, alone: bool) -> RunConfig:
    """The run file of a task that joins: its own, with the older run's settings where it says nothing."""
    if len(new.tasks) != 1:
        raise ConfigError(f"tasks: {len(new.tasks)} of them; `add` takes one at a time. Give each a file of its own")
    name, old, folder = new.tasks[0].name, before.run.config, before.run.folder
    taken = {BASE, *before.table.tasks, *(plan.spec.name for plan in before.run.main.plans)}
    if name in taken | {task.name for task in (*old.tasks, *old.general, *old.retention)}:
        raise ConfigError(f"tasks[0].name is {name!r}, which this run has already. Choose another name")
    if "base" in new.model_fields_set and new.base != old.base:
        raise ConfigError(f"base is {new.base!r}, but {folder.path} stands on {old.base!r}. Remove the line")
    shared = before.run.shared
    parent = None if alone or shared is None else str(folder.adapter(shared).resolve())
    adapter = AdapterConfig(name=name, tasks=(name,), general=bool(new.general), stack_on=parent)
    kept = {key: _inherited(getattr(old, key), getattr(new, key), key in new.model_fields_set) for key in INHERITED}
    kept["evaluate"] = kept["evaluate"].without_robustness()  # of which nothing is looked at in tasks that join
    output = str((folder.path / "added").resolve())
    config = new.model_copy(update={**kept, "name": name, "output": output, "adapters": (adapter,), "seeds": 1})
    if faults := adapter_faults(config):
        raise ConfigError("\n".join(faults))
    return config


def _inherited(old: Any, new: Any, stated: bool) -> Any:
    """A setting of the older run, with what the new file states; its length is that of another mixture."""
    if not isinstance(old, Section):
        return new if stated else old
    length = {"max_steps": None} if isinstance(old, TrainConfig) else {}
    return old.model_copy(update={**length, **{key: getattr(new, key) for key in new.model_fields_set}})


def _write(
    now: _RoutedRun,
    router: Router,
    choices: Mapping[str, RoutingChoice],
    before: RunState,
    *,
    added: str | None = None,
    removed: str | None = None,
) -> TaskChange:
    """Write the next version, and say what is the same and what is not for the tasks that stay."""
    after = _state(now, before.without)
    adapters = {task: choice.adapter for task, choice in choices.items()}
    stay = [task for task in now.adapters if task in adapters]
    rerouted = {task: _rerouted(now, router, adapters, task) for task in stay}
    views = held_quality(router, adapters)
    folder = now.run.folder
    change = TaskChange(
        added=added,
        removed=removed,
        version=folder.next_routing().name,
        files=len(before.files),
        files_changed=tuple(path for path in before.files if after.files.get(path) != before.files[path]),
        logits_changed=tuple(task for task in before.logits if after.logits[task] != before.logits[task]),
        routes_changed={task: moved for task, (moved, _) in rerouted.items()},
        scores={task: scores for task, (_, scores) in rerouted.items()},
        accuracy={view: found.accuracy for view, found in views.items()},
        choice=choices[added] if added else None,
        views=views,
    )
    table = table_of(choices, now.run.all_candidates(), now.run.bank)
    write_version(folder, table, router, change)
    return change


def _rerouted(
    now: _RoutedRun, router: Router, adapters: Mapping[str, str], task: str
) -> tuple[float, dict[Literal["before", "after"], float]]:
    """Share of a task's validation rows that now go elsewhere, and its score by the router before and after."""
    home = now.run.homes[task]
    config = home.prepared.config
    places = chosen_rows(home.item, "validation", seed=config.seed, limit=config.evaluate.select_limit)
    features = now.features.of(texts_of(home.item, "validation", places)["prompt"])
    old, new = now.router.decide(features, now.adapters), router.decide(features, adapters)
    files = {name: home.folder.predictions(name, task, "validation") for name in (BASE, *now.run.bank.names)}
    known = {name: read_predictions(file) for name, file in files.items() if file.is_file()}
    metric = home.item.data.task.metric

    def scored(decisions: list[Decision]) -> float:
        by = [decision.adapter for decision in decisions]
        return corpus_score(metric, answers(home, now.run.bank, "validation", places, adapters=by, known=known))

    moved = float(np.mean([a.adapter != b.adapter for a, b in zip(old, new, strict=True)]))
    return moved, {"before": scored(old), "after": scored(new)}


def _state(now: _RoutedRun, without: Path) -> RunState:
    homes = now.run.homes
    prompts = {task: homes[task].item.tokens["validation"][0].prompt for task in now.adapters}
    logits = logits_digests(now.run.bank, now.adapters, prompts, now.run.config.train.pack_tokens)
    return RunState(without, file_digests(now.run.folder, without), logits)
