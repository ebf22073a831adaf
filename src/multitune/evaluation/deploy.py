"""From a trained run to what can be served: a routing table, a router, and what the two are worth, as one version.

A version is a folder `routing/v0001` of the run, written whole and never changed; the last one holds::

    table.json   {"tasks": {TASK: {"adapter", "path", "metric", "examples", "why", "standings": {NAME: {...}}}},
                  "cost": {the fields of select.costs}}
    router.json, router.safetensors    see routing.router
    report.json  {the fields of `report` below}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from multitune.config.schema import RecipeConfig
from multitune.core.errors import RouterError
from multitune.core.rundir import RunFolder, read_json, write_folder
from multitune.evaluation.routed import ROUTER_ROWS, measure_routing, task_texts
from multitune.evaluation.runner import (
    Subject,
    bootstrap_plan,
    predict_options,
    predict_task,
    write_predictions,
)
from multitune.evaluation.select import Candidate, Choice, Role, choose, costs
from multitune.model.bank import BASE, AdapterBank
from multitune.routing.features import open_features
from multitune.routing.router import Router, fit_router
from multitune.training.events import Observe
from multitune.training.prepare import PreparedRun

TABLE, REPORT = "table.json", "report.json"


def deploy_run(
    folder: RunFolder, prepared: PreparedRun, subjects: Sequence[Subject], observe: Observe
) -> dict[str, Any]:
    """Choose on validation, fit the router, measure on the rows of the final table, and write the next version.

    Returns:
        {"version", "table", "report"} as in the files.

    Raises:
        RouterError: fewer than two tasks, or a whole model was trained.
    """
    tasks = [name for name, item in prepared.tasks.items() if not item.general]
    if len(tasks) < 2 or prepared.config.method == "full":
        raise RouterError("a routing table needs a run of two tasks or more with adapters (method: lora)")
    bank = subjects[0].bank
    observe({"kind": "phase", "name": "select"})
    candidates = _candidates(prepared, bank)
    choices = [_choose(folder, prepared, name, candidates, bank) for name in tasks]
    table = _table(choices, list(candidates.values()), bank)
    features = open_features(prepared.config.router.features, bank.backbone, prepared.chat.tokenizer)
    texts = {split: {name: task_texts(prepared, name, split) for name in tasks} for split in ROUTER_ROWS}
    router = fit_router(
        prepared.config.router.kind, features, texts["train"], texts["validation"], general_texts(prepared, "train")
    )
    report = measure_routing(folder, prepared, bank, table, (router, features, texts))
    version = write_version(folder, table, router, report)
    return {"version": version.name, "table": table, "report": report}


def _candidates(prepared: PreparedRun, bank: AdapterBank) -> dict[str, Candidate]:
    most = max(len(plan.tasks) for plan in prepared.plans)
    found = {BASE: Candidate(BASE, "base", 0)}
    for plan in prepared.plans:
        name = plan.recipe.name
        found[name] = Candidate(name, _role(plan.recipe, most), len(bank[name].weights))
    return found


def _role(recipe: RecipeConfig, most: int) -> Role:
    if recipe.on is not None:
        return "residual"
    if len(recipe.tasks) == 1:
        return "alone"
    return "shared" if len(recipe.tasks) == most else "group"


def _choose(
    folder: RunFolder, prepared: PreparedRun, task: str, candidates: Mapping[str, Candidate], bank: AdapterBank
) -> Choice:
    """Let every candidate of a task answer its validation rows, and choose."""
    item = prepared.tasks[task]
    options = predict_options(prepared, prepared.config.train.validate_limit)
    asked = [BASE, *(plan.recipe.name for plan in prepared.plans if task in plan.tasks)]
    said = {name: predict_task(bank, name, item, "validation", prepared.chat, options) for name in asked}
    for name, predictions in said.items():
        write_predictions(folder.predictions(name, task, "validation"), predictions)
    few = [candidates[name] for name in asked]
    return choose(task, item.data.task.metric, few, said, bootstrap_plan(prepared))


def _table(choices: Sequence[Choice], candidates: Sequence[Candidate], bank: AdapterBank) -> dict[str, Any]:
    paths = {c.name: f"adapters/{c.name}" for c in candidates} | {BASE: ""}
    tasks = {choice.task: table_row(choice, paths[choice.adapter]) for choice in choices}
    parameters = sum(weight.numel() for weight in bank.backbone.model.parameters())
    return {"tasks": tasks, "cost": costs(parameters, candidates, {c.task: c.adapter for c in choices})}


def table_row(choice: Choice, path: str) -> dict[str, Any]:
    """A task's row of table.json; `path` is the folder of its adapter in the run, empty for the base."""
    return {
        "adapter": choice.adapter,
        "path": path,
        "metric": choice.metric,
        "examples": choice.examples,
        "why": choice.why,
        "standings": {name: asdict(standing) for name, standing in choice.standings.items()},
    }


def general_texts(prepared: PreparedRun, split: Any) -> list[str]:
    """Texts of no task: those of the general sets."""
    found: list[str] = []
    for name, item in prepared.tasks.items():
        if item.general:
            found += list(task_texts(prepared, name, split)["prompt"])
    return found


def write_version(folder: RunFolder, table: Mapping[str, Any], router: Router, report: Mapping[str, Any]) -> Path:
    """Write the next routing version, whole or not at all; older ones stay as they are."""
    texts, tensors = router.files()
    texts |= {name: json.dumps(value, indent=2) + "\n" for name, value in ((TABLE, table), (REPORT, report))}
    version = folder.next_routing()
    write_folder(version, texts, tensors)
    return version


def read_version(folder: RunFolder) -> dict[str, Any]:
    """What `deploy_run` returned when it wrote the last version."""
    version, table = read_table(folder)
    return {"version": version.name, "table": table, "report": read_json(version / REPORT)}


def read_table(folder: RunFolder) -> tuple[Path, dict[str, Any]]:
    """The last routing version of a run: its folder and its table, each adapter of which is there.

    Raises:
        RouterError: there is none, or its table names an adapter that is gone.
    """
    versions = folder.require().routing_versions
    if not versions:
        raise RouterError(f"{folder.path}: has no routing table yet. Make one: multitune select {folder.path}")
    table = read_json(versions[-1] / TABLE)
    for task, row in table["tasks"].items():
        if row["path"] and not (folder.path / row["path"]).is_dir():
            raise RouterError(
                f"{versions[-1] / TABLE}: task {task!r} is answered by {row['path']}, which is gone. Put it back, or "
                f"delete this version so that the one before it holds"
            )
    return versions[-1], table
