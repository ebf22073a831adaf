"""From a trained run to what can be served: a routing table, a router, and what the two are worth, as one version.

A version is a folder `routing/v0001` of the run, written whole and never changed; the last one holds::

    table.json   {"tasks": {TASK: {"adapter", "path", "metric", "examples", "why", "standings": {NAME: {...}}}},
                  "cost": {the fields of select.costs}}
    router.json, router.safetensors    see routing.router
    report.json  see deployment.router_report and deployment.router_baselines; of a change of tasks, deployment.extend
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from multitune.config.adapters import expand_adapters, shared_recipe
from multitune.config.schema import RecipeConfig, RunConfig
from multitune.core.errors import RouterError
from multitune.core.events import Observe
from multitune.core.files import write_folder
from multitune.core.predictions import write_predictions
from multitune.core.run_folder import ROUTING_REPORT, ROUTING_TABLE, RunFolder
from multitune.deployment.router_baselines import measure_rivals
from multitune.deployment.router_report import FITTED_ON, measure_routing, task_texts
from multitune.deployment.select import Candidate, Choice, Role, choose, costs
from multitune.evaluation.stats import bootstrap_plan
from multitune.inference.predict import Subject, predict_options, predict_task
from multitune.model.bank import BASE, AdapterBank
from multitune.routing.features import Features, open_features
from multitune.routing.router import Router, RouterRows, fit_router, vectors
from multitune.training.prepare import PreparedRun


def can_be_routed(config: RunConfig) -> bool:
    """Whether there is anything to choose between: two tasks or more, and adapters."""
    return len(config.tasks) > 1 and config.method == "lora"


def deploy_run(
    folder: RunFolder, prepared: PreparedRun, subjects: Sequence[Subject], observe: Observe
) -> dict[str, Any]:
    """Choose on validation, fit the router, measure on the rows of the final table, and write the next version.

    Returns:
        {"version", "table", "report"} as in the files.

    Raises:
        RouterError: the run cannot be routed.
    """
    if not can_be_routed(prepared.config):
        raise RouterError("a routing table needs a run of two tasks or more with adapters (method: lora)")
    tasks = [task.name for task in prepared.config.tasks]
    bank = subjects[0].bank
    observe({"kind": "phase", "name": "select"})
    sizes = {name: len(bank[name].weights) for name in bank.names}
    candidates = {one.name: one for one in candidates_of(prepared.config, sizes)}
    choices = [_choose(folder, prepared, name, candidates, bank) for name in tasks]
    paths = {name: f"adapters/{name}" for name in candidates} | {BASE: ""}
    rows_of = {choice.task: table_row(choice, paths[choice.adapter]) for choice in choices}
    table = table_of(rows_of, list(candidates.values()), bank)
    features = open_features(prepared.config.router.features, bank.backbone, prepared.chat.tokenizer)
    rows = _router_rows(prepared, features, tasks)
    settings = prepared.config.router
    router = fit_router(settings.kind, features.key, rows, settings.turned_away)
    report = measure_routing(folder, prepared, bank, table, (router, features, rows))
    shipped = {task: row["adapter"] for task, row in table["tasks"].items()}
    report["rivals"] = measure_rivals(prepared, bank, shipped)
    version = write_version(folder, table, router, report)
    return {"version": version.name, "table": table, "report": report}


def candidates_of(config: RunConfig, sizes: Mapping[str, int]) -> list[Candidate]:
    """The base and a run's adapters, with what each is to its tasks.

    Args:
        config: of the run.
        sizes: adapter -> its parameters.
    """
    shared = shared_recipe(config)
    found = [Candidate(BASE, "base", 0)]
    for recipe in expand_adapters(config):
        role: Role = "shared" if recipe == shared else _role(recipe)
        found.append(Candidate(recipe.name, role, sizes[recipe.name]))
    return found


def _role(recipe: RecipeConfig) -> Role:
    if recipe.on is not None:
        return "residual"
    return "alone" if len(recipe.tasks) == 1 else "group"


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
    options = predict_options(prepared.config, prepared.config.evaluate.select_limit)
    said = {c.name: predict_task(bank, c.name, item, "validation", prepared.chat, options) for c in candidates}
    for name, predictions in said.items():
        write_predictions(folder.predictions(name, task, "validation"), predictions)
    return choose(task, item.data.task.metric, candidates, said, bootstrap_plan(prepared.config))


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
    strangers = {name: features.of(task_texts(prepared, name, "train")["prompt"]) for name in general}
    return RouterRows(train, held, strangers)


def write_version(folder: RunFolder, table: Mapping[str, Any], router: Router, report: Mapping[str, Any]) -> Path:
    """Write the next routing version, whole or not at all; older ones stay as they are."""
    texts, tensors = router.files()
    texts |= {
        name: json.dumps(value, indent=2) + "\n" for name, value in ((ROUTING_TABLE, table), (ROUTING_REPORT, report))
    }
    version = folder.next_routing()
    write_folder(version, texts, tensors)
    return version
