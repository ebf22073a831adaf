"""Tasks that join a finished run or leave it, with the proof that nothing else moved.

A task that joins is a run of its own in `added/TASK`, whose adapter stands on the shared one or on the base; then a
new routing version names it. Its report.json holds ``{"change": {the fields of Change}, "views": {"prompt" or "body":
{the fields of quality.Quality}}}``, on held-out rows of every task.
"""

import shutil
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from multitune.config.adapters import adapter_faults, shared_recipe
from multitune.config.load import load_config
from multitune.config.schema import RecipeConfig, RunConfig, Section, TrainConfig
from multitune.core.errors import ConfigError, RouterError, suggest
from multitune.core.events import Observe, unwatched
from multitune.core.predictions import read_predictions
from multitune.core.records import Split
from multitune.core.routing_versions import read_table
from multitune.core.run_folder import RunFolder
from multitune.data.task_input import TaskInput
from multitune.deployment.deploy import elect, table_of, table_row, write_version
from multitune.deployment.integrity import Witness, file_digests, logits_digests
from multitune.deployment.router_report import FITTED_ON, answers, held_quality, task_texts, texts_of
from multitune.deployment.select import Candidate
from multitune.evaluation.experiment import evaluated_run
from multitune.evaluation.transfer import corpus_score
from multitune.inference.predict import chosen_rows, predict_options
from multitune.model.backbone import load_backbone
from multitune.model.bank import BASE, AdapterBank
from multitune.model.files import load_adapter
from multitune.routing.features import Features, open_features
from multitune.routing.router import Router, load_router, vectors
from multitune.training.prepare import PreparedRun, prepare_run

INHERITED = ("base", "system", "seed", "lora", "train", "evaluate", "device", "dtype")


@dataclass(frozen=True, slots=True)
class AddOptions:
    """How a task joins."""

    alone: bool = False  # from the base, also where there is a shared adapter
    observe: Observe = unwatched


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of the tasks did to those that were there before."""

    added: str | None
    removed: str | None
    version: str
    files: int  # that were there before
    files_changed: tuple[str, ...]
    logits_changed: tuple[str, ...]  # tasks of which a logit of their adapter differs in a bit
    routes_changed: dict[str, float]  # task -> share of its validation rows that now go elsewhere
    scores: dict[str, dict[str, float]]  # task -> {"before", "after"} on validation rows, under the router
    accuracy: dict[str, float]  # view -> share of held-out rows with the right task, afterwards
    choice: dict[str, Any] = field(default_factory=dict[str, Any])  # the new task's row of the table


@dataclass(slots=True)
class _House:
    """A run with its routing version, opened: data and adapters of every task it routes to."""

    folder: RunFolder
    config: RunConfig
    table: dict[str, Any]
    router: Router
    features: Features
    bank: AdapterBank
    prepared: dict[str, PreparedRun]  # task -> the run that holds its data

    @property
    def adapters(self) -> dict[str, str]:
        """Task -> adapter."""
        return {task: row["adapter"] for task, row in self.table["tasks"].items()}


def add_task(folder: RunFolder, new: RunConfig, options: AddOptions) -> dict[str, Any]:
    """Train an adapter for one new task, and write a routing version that knows it.

    Args:
        folder: a run with a routing table.
        new: holds the new task; what else it states wins over the run's own settings.
        options: how.

    Returns:
        The fields of Change.

    Raises:
        InputError: the task is there already, is for another base, or does not fit; the run folder is unchanged.
        TrainingError, Interrupted: adding the same file again goes on.
    """
    house = _open(folder)
    house.router.require_growing()
    config = _joining(house, new, options.alone)
    name = config.tasks[0].name
    began = folder.added(name)
    before, read = _witness(house, began.path), house.prepared
    del house  # its backbone: training loads its own
    with evaluated_run(config, resume=began.config.is_file(), observe=options.observe):
        pass
    house, prepared = _open(folder, read), prepare_run(config)
    load_adapter(house.bank, began.adapter(name), name)
    row = _row_of(house, began, prepared, name)
    router = deepcopy(house.router)
    train, held = (vectors(house.features, {name: task_texts(prepared, name, s)})[name] for s in FITTED_ON)
    router.add(name, train, held)
    tasks = {**house.table["tasks"], name: row}
    change = _compare(house, router, tasks, before)
    return _write(house, router, tasks, {**change, "added": name, "removed": None, "choice": row})


def remove_task(folder: RunFolder, name: str) -> dict[str, Any]:
    """Write a routing version without a task, and delete what it brought if it joined later.

    Returns:
        The fields of Change.

    Raises:
        RouterError: no such task, or it is the last one; the run folder is unchanged.
    """
    house = _open(folder)
    if name not in house.table["tasks"]:
        raise RouterError(f"{folder.path}: no task {name!r} is routed to. {suggest(name, house.table['tasks'])}")
    left = folder.added(name).path
    before = _witness(house, left)
    router = deepcopy(house.router)
    router.remove(name)
    tasks = {task: row for task, row in house.table["tasks"].items() if task != name}
    users = [task for task, row in tasks.items() if Path(row["path"]).is_relative_to(f"added/{name}")]
    if users:
        raise RouterError(f"{folder.path}: task {users[0]!r} ships with an adapter of {name!r}. Remove that one first")
    change = _compare(house, router, tasks, before)
    done = _write(house, router, tasks, {**change, "added": None, "removed": name})
    shutil.rmtree(left, ignore_errors=True)
    return done


def _open(folder: RunFolder, read: Mapping[str, PreparedRun] | None = None) -> _House:
    """Load a run from disk; `read` is its data where that is at hand."""
    version, table = read_table(folder)
    config = load_config(folder.config)
    prepared = dict(read or _read(folder, config, table["tasks"]))
    any_run = next(iter(prepared.values()))  # they share a base
    bank = AdapterBank(load_backbone(any_run.ref, config.device, config.dtype))
    paths = {row["adapter"]: folder.path / row["path"] for row in table["tasks"].values() if row["path"]}
    if shared := _shared(folder, config):  # what newcomers stand on, and may ship with
        paths[shared] = folder.adapter(shared)
    for name, path in paths.items():
        load_adapter(bank, path, name)
    features = open_features(config.router.features, bank.backbone, any_run.chat.tokenizer)
    return _House(folder, config, table, load_router(version, features.key), features, bank, prepared)


def _read(folder: RunFolder, config: RunConfig, tasks: Iterable[str]) -> dict[str, PreparedRun]:
    """Task -> the run that holds its data."""
    joined = {task: file for task in tasks if (file := folder.added(task).config).is_file()}
    main = prepare_run(config)
    return {task: prepare_run(load_config(joined[task])) if task in joined else main for task in tasks}


def _joining(house: _House, new: RunConfig, alone: bool) -> RunConfig:
    """The run file of a task that joins: its own, with the older run's settings where it says nothing."""
    if len(new.tasks) != 1:
        raise ConfigError(f"tasks: {len(new.tasks)} tasks; one joins at a time. Give each a file of its own")
    name, old = new.tasks[0].name, house.config
    taken = {BASE, *house.table["tasks"], *(path.name for path in house.folder.adapter(BASE).parent.glob("*"))}
    if name in taken | {task.name for task in (*old.tasks, *old.general, *old.retention)}:
        raise ConfigError(f"tasks[0].name is {name!r}, which this run has already. Choose another name")
    if "base" in new.model_fields_set and new.base != old.base:
        raise ConfigError(f"base is {new.base!r}, but {house.folder.path} stands on {old.base!r}. Remove the line")
    shared = _shared(house.folder, old)
    on = None if alone or shared is None else str(house.folder.adapter(shared).resolve())
    recipe = RecipeConfig(name=name, tasks=(name,), general=bool(new.general), on=on)
    kept = {key: _inherited(getattr(old, key), getattr(new, key), key in new.model_fields_set) for key in INHERITED}
    output = str((house.folder.path / "added").resolve())
    config = new.model_copy(update={**kept, "name": name, "output": output, "adapters": (recipe,)})
    if faults := adapter_faults(config):
        raise ConfigError("\n".join(faults))
    return config


def _inherited(old: Any, new: Any, stated: bool) -> Any:
    """A setting of the older run, with what the new file states; its length is that of another mixture."""
    if not isinstance(old, Section):
        return new if stated else old
    length = {"max_steps": None} if isinstance(old, TrainConfig) else {}
    return old.model_copy(update={**length, **{key: getattr(new, key) for key in new.model_fields_set}})


def _row_of(house: _House, began: RunFolder, prepared: PreparedRun, name: str) -> dict[str, Any]:
    """The new task's row of the table: base, shared and its own adapter stand for election."""
    candidates = [Candidate(BASE, "base", 0)]
    if shared := _shared(house.folder, house.config):
        candidates.append(Candidate(shared, "shared", 0))
    candidates.append(Candidate(name, "alone", len(house.bank[name].weights)))
    choice = elect(began, prepared, name, candidates, house.bank)
    paths = {name: f"added/{name}/adapters/{name}", BASE: ""}
    return table_row(choice, paths.get(choice.adapter, f"adapters/{choice.adapter}"))


def _shared(folder: RunFolder, config: RunConfig) -> str | None:
    """The name of the run's adapter that learnt all its tasks, if it has one."""
    recipe = shared_recipe(config)
    return recipe.name if recipe and folder.adapter(recipe.name).is_dir() else None


def _compare(house: _House, router: Router, tasks: Mapping[str, Mapping[str, Any]], before: Witness) -> dict[str, Any]:
    """What is the same and what is not for the tasks that stay."""
    now = _witness(house, before.without)
    adapters = {task: row["adapter"] for task, row in tasks.items()}
    found = {task: _rerouted(house, router, adapters, task) for task in house.adapters if task in adapters}
    return {
        "files": len(before.files),
        "files_changed": tuple(path for path in before.files if now.files.get(path) != before.files[path]),
        "logits_changed": tuple(task for task in before.logits if now.logits[task] != before.logits[task]),
        "routes_changed": {task: moved for task, (moved, _) in found.items()},
        "scores": {task: scores for task, (_, scores) in found.items()},
    }


def _rerouted(house: _House, router: Router, adapters: Mapping[str, str], task: str) -> tuple[float, dict[str, float]]:
    """Share of a task's validation rows that now go elsewhere, and its score by the router before and after."""
    prepared = house.prepared[task]
    item = prepared.tasks[task]
    options = predict_options(prepared.config, prepared.config.evaluate.select_limit)
    places = chosen_rows(item, "validation", options)
    features = house.features.of(texts_of(item, "validation", places)["prompt"])
    old, new = house.router.decide(features, house.adapters), router.decide(features, adapters)
    joined = house.folder.added(task)
    home = joined if joined.config.is_file() else house.folder
    subjects = [name for name in (BASE, *house.bank.names) if home.predictions(name, task, "validation").is_file()]
    said = {name: read_predictions(home.predictions(name, task, "validation")) for name in subjects}
    rows: tuple[TaskInput, Split, list[int]] = (item, "validation", places)
    metric = item.data.task.metric
    scores = {
        label: corpus_score(metric, answers(prepared, house.bank, rows, [d.adapter for d in decisions], said))
        for label, decisions in (("before", old), ("after", new))
    }
    return float(np.mean([a.adapter != b.adapter for a, b in zip(old, new, strict=True)])), scores


def _write(
    house: _House, router: Router, tasks: Mapping[str, Mapping[str, Any]], change: Mapping[str, Any]
) -> dict[str, Any]:
    candidates = [Candidate(name, "alone", len(house.bank[name].weights)) for name in house.bank.names]
    table = table_of(tasks, candidates, house.bank)
    shipped = {task: row["adapter"] for task, row in tasks.items()}
    views = held_quality(router, shipped)
    accuracy = {view: found["accuracy"] for view, found in views.items()}
    done = asdict(Change(**change, version=house.folder.next_routing().name, accuracy=accuracy))
    write_version(house.folder, table, router, {"change": done, "views": views})
    return done


def _witness(house: _House, without: Path) -> Witness:
    prompts = {task: house.prepared[task].tasks[task].tokens["validation"][0].prompt for task in house.adapters}
    logits = logits_digests(house.bank, house.adapters, prompts, house.config.train.pack_tokens)
    return Witness(without, file_digests(house.folder, without), logits)
