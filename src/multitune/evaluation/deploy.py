"""From a trained run to what can be served: a routing table, a router, and what the two are worth, as one version.

A version is a folder `routing/v0001` of the run, written whole and never changed; the last one holds::

    table.json   {"tasks": {TASK: {"adapter", "path", "metric", "examples", "why", "standings": {NAME: {...}}}},
                  "cost": {the fields of select.costs}}
    router.json, router.safetensors    see routing.router
    report.json  see evaluation.routed; of a change of the tasks, evaluation.extend
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from multitune.config.schema import RecipeConfig
from multitune.core.errors import RouterError
from multitune.core.rundir import ROUTING_REPORT, ROUTING_TABLE, RunFolder, read_json, write_folder
from multitune.evaluation.routed import FITTED_ON, measure_routing, task_texts
from multitune.evaluation.runner import (
    Subject,
    bootstrap_plan,
    predict_options,
    predict_task,
    write_predictions,
)
from multitune.evaluation.select import Candidate, Choice, Role, choose, costs
from multitune.model.bank import BASE, AdapterBank
from multitune.routing.features import Features, open_features
from multitune.routing.router import Router, RouterRows, fit_router, vectors
from multitune.training.events import Observe
from multitune.training.prepare import PreparedRun


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
    paths = {name: f"adapters/{name}" for name in candidates} | {BASE: ""}
    rows_of = {choice.task: table_row(choice, paths[choice.adapter]) for choice in choices}
    table = table_of(rows_of, list(candidates.values()), bank)
    features = open_features(prepared.config.router.features, bank.backbone, prepared.chat.tokenizer)
    rows = _router_rows(prepared, features, tasks)
    router = fit_router(prepared.config.router.kind, features.key, rows)
    report = measure_routing(folder, prepared, bank, table, (router, features, rows))
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
    asked = [BASE, *(plan.recipe.name for plan in prepared.plans if task in plan.tasks)]
    return elect(folder, prepared, task, [candidates[name] for name in asked], bank)


def elect(
    folder: RunFolder, prepared: PreparedRun, task: str, candidates: Sequence[Candidate], bank: AdapterBank
) -> Choice:
    """Let candidates answer the validation rows of a task, keep what they say, and choose."""
    item = prepared.tasks[task]
    options = predict_options(prepared, prepared.config.train.validate_limit)
    said = {c.name: predict_task(bank, c.name, item, "validation", prepared.chat, options) for c in candidates}
    for name, predictions in said.items():
        write_predictions(folder.predictions(name, task, "validation"), predictions)
    return choose(task, item.data.task.metric, candidates, said, bootstrap_plan(prepared))


def table_of(
    tasks: Mapping[str, Mapping[str, Any]], candidates: Sequence[Candidate], bank: AdapterBank
) -> dict[str, Any]:
    """table.json from the rows of its tasks."""
    shipped = {task: row["adapter"] for task, row in tasks.items()}
    return {"tasks": dict(tasks), "cost": costs(bank.backbone.parameters, candidates, shipped)}


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


def _router_rows(prepared: PreparedRun, features: Features, tasks: Sequence[str]) -> RouterRows:
    """What the router of a run is fitted on."""
    train, held = (
        vectors(features, {name: task_texts(prepared, name, split) for name in tasks}) for split in FITTED_ON
    )
    general = [name for name, item in prepared.tasks.items() if item.general]
    texts = [text for name in general for text in task_texts(prepared, name, "train")["prompt"]]
    return RouterRows(train, held, features.of(texts))


def write_version(folder: RunFolder, table: Mapping[str, Any], router: Router, report: Mapping[str, Any]) -> Path:
    """Write the next routing version, whole or not at all; older ones stay as they are."""
    texts, tensors = router.files()
    texts |= {
        name: json.dumps(value, indent=2) + "\n" for name, value in ((ROUTING_TABLE, table), (ROUTING_REPORT, report))
    }
    version = folder.next_routing()
    write_folder(version, texts, tensors)
    return version


def read_version(folder: RunFolder) -> dict[str, Any]:
    """What `deploy_run` returned when it wrote the last version."""
    version, table = read_table(folder)
    return {"version": version.name, "table": table, "report": read_json(version / ROUTING_REPORT)}


def read_table(folder: RunFolder) -> tuple[Path, dict[str, Any]]:
    """The last routing version of a run: its folder and its table, each adapter of which is there.

    Raises:
        RouterError: there is none, or its table names an adapter that is gone.
    """
    versions = folder.require().routing_versions
    if not versions:
        raise RouterError(f"{folder.path}: has no routing table yet. Make one: multitune select {folder.path}")
    table = read_json(versions[-1] / ROUTING_TABLE)
    for task, row in table["tasks"].items():
        if row["path"] and not (folder.path / row["path"]).is_dir():
            raise RouterError(
                f"{versions[-1] / ROUTING_TABLE}: task {task!r} is answered by {row['path']}, which is gone. Put it "
                f"back, or delete this version so that the one before it holds"
            )
    return versions[-1], table
