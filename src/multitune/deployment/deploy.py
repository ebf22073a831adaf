"""From a trained run to what can be served: a routing table, a router, and what the two are worth, as one version.

A version is a folder `routing/v0001` of the run, written whole and never changed; the last one is in force. In it lie
table.json, the router's two files (see routing.router), and report.json, or change.json where a task joined or left.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from multitune.config.schema import RunConfig
from multitune.core.bases import BASE
from multitune.core.errors import RouterError
from multitune.core.events import Observe
from multitune.core.files import json_text, recover_tree, write_folder
from multitune.core.predictions import write_predictions
from multitune.core.results.events import PhaseEvent, ProgressEvent
from multitune.core.results.routing import RouterReport, RoutingChoice, RoutingTable, RoutingVersion, TaskChange
from multitune.core.run_folder import ROUTING_CHANGE, ROUTING_REPORT, ROUTING_TABLE, RunFolder
from multitune.core.seals import tensors_bytes
from multitune.deployment.homes import OpenRun, TaskHome
from multitune.deployment.router_baselines import measure_baselines
from multitune.deployment.router_report import FITTED_ON, measure_routing, task_texts
from multitune.deployment.select import Candidate, choose, costs
from multitune.evaluation.stats import bootstrap_plan
from multitune.inference.predict import chosen_rows, predict_rows
from multitune.model.bank import AdapterBank
from multitune.routing.costs import LEAST_LOST, RouteCosts, TaskCost
from multitune.routing.features import Features, open_features
from multitune.routing.general_texts import general_vectors
from multitune.routing.router import Router, RouterRows, fit_router, vectors


def can_be_routed(config: RunConfig) -> bool:
    """Whether there is anything to choose between: two tasks or more, and adapters."""
    return len(config.tasks) > 1 and config.method == "lora"


def deploy_run(run: OpenRun, observe: Observe) -> RoutingVersion:
    """Choose on validation, fit the router, measure on the rows of the final table, and write the next version.

    Tasks that joined later take part like the others.

    Raises:
        RouterError: the run cannot be routed.
    """
    if not can_be_routed(run.config):
        raise RouterError("a routing table needs a run of two tasks or more with adapters (method: lora)")
    recover_tree(run.folder.path)
    observe(PhaseEvent(name="select"))
    choices: dict[str, RoutingChoice] = {}
    for task, home in run.homes.items():
        choices[task] = elect(home, run.candidates(task), run.bank)
        observe(ProgressEvent(what="tasks with a chosen adapter", done=len(choices), of=len(run.homes)))
    table = table_of(choices, run.all_candidates(), run.bank)
    settings = run.config.router
    features = open_features(settings.features, run.bank.backbone, run.main.chat.tokenizer)
    rows = _router_rows(run, features)
    router = fit_router(settings.kind, features.key, rows, route_costs(choices, run.shared, settings.outside_cost))
    baselines = measure_baselines(run, table.adapters)
    report = measure_routing(run, table.adapters, router=router, features=features, rows=rows)
    report = report.model_copy(update={"baselines": baselines})
    version = write_version(run.folder, table, router, report)
    return RoutingVersion(version=version.name, table=table, report=report)


def elect(home: TaskHome, candidates: Sequence[Candidate], bank: AdapterBank) -> RoutingChoice:
    """Let candidates answer the validation rows of a task, keep what they answer, and choose."""
    config, item = home.prepared.config, home.item
    places = chosen_rows(item, "validation", seed=config.seed, limit=config.evaluate.select_limit)
    answered = {c.name: predict_rows(home.model(bank, c.name), item, "validation", places) for c in candidates}
    for name, predictions in answered.items():
        write_predictions(home.folder.predictions(name, home.task, "validation"), predictions)
    return choose(item.data.task.metric, candidates, answered, bootstrap_plan(config))


def table_of(choices: Mapping[str, RoutingChoice], candidates: Sequence[Candidate], bank: AdapterBank) -> RoutingTable:
    """A routing table from the choice of each task, with what it costs."""
    shipped = {task: choice.adapter for task, choice in choices.items()}
    return RoutingTable(tasks=dict(choices), cost=costs(bank.backbone.parameters, candidates, shipped))


def route_costs(choices: Mapping[str, RoutingChoice], shared: str | None, outside: float) -> RouteCosts:
    """What wrong routes cost, by the scores on validation that the choices were made by."""
    return RouteCosts(outside, shared, {task: task_cost(choice, shared) for task, choice in choices.items()})


def task_cost(choice: RoutingChoice, shared: str | None) -> TaskCost:
    """What a row of a task loses where the base, or the shared adapter, answers in the place of what ships."""

    def lost(other: str) -> float:
        if other == choice.adapter:
            return 0.0
        return max(LEAST_LOST, choice.standings[choice.adapter].score - choice.standings[other].score)

    base = lost(BASE)
    return TaskCost(base, lost(shared) if shared in choice.standings else base)


def _router_rows(run: OpenRun, features: Features) -> RouterRows:
    """What the router of a run is fitted on."""
    train, held = (
        vectors(features, {task: task_texts(home.prepared, task, split) for task, home in run.homes.items()})
        for split in FITTED_ON
    )
    general = [name for name, item in run.main.tasks.items() if item.general]
    outside = {name: features.of(task_texts(run.main, name, "train")["prompt"]) for name in general}
    return RouterRows(train, held, {**outside, **general_vectors(features)})


def write_version(folder: RunFolder, table: RoutingTable, router: Router, about: RouterReport | TaskChange) -> Path:
    """Write the next routing version, whole or not at all; older ones stay as they are.

    Returns:
        Its folder; that of the last version where nothing differs from it.
    """
    texts, tensors = router.files()
    name = ROUTING_REPORT if isinstance(about, RouterReport) else ROUTING_CHANGE
    for file, document in ((ROUTING_TABLE, table), (name, about)):
        texts[file] = json_text(document.plain())
    files = {file: text.encode() for file, text in texts.items()}
    files |= {file: tensors_bytes(values) for file, values in tensors.items()}
    for last in folder.routing_versions[-1:]:
        if {path.name: path.read_bytes() for path in last.iterdir() if path.is_file()} == files:
            return last
    version = folder.next_routing()
    write_folder(version, texts, tensors)
    return version
