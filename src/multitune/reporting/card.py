"""A model card: README.md for an adapter on its way to a model hub, with metadata that a hub can read."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from multitune.config.adapters import expand_adapters
from multitune.config.schema import AdapterConfig, RunConfig, TaskConfig
from multitune.config.shorthand import read_template, template_notes
from multitune.config.text import write_yaml
from multitune.core.bases import ALIASES, BASE, ORIGINS, public_name
from multitune.core.errors import ConfigError, InputError, suggest
from multitune.core.hub_folders import is_on_hub
from multitune.core.records import SPLITS, Split
from multitune.core.results.run import DataRecord, SetRecord, Versions
from multitune.core.run_folder import RunFolder
from multitune.core.text import printable
from multitune.reporting.answers import ScoredRun
from multitune.reporting.blocks import Cell, Table, header, number
from multitune.reporting.formatting import count, score_interval
from multitune.reporting.markdown import audit_parts, kept_parts, robustness_parts, routing_parts
from multitune.reporting.renderers import inert, markdown_table, templates
from multitune.reporting.sentences import evidence_lines
from multitune.reporting.tables.scores import transfer_note, transfer_table

HOME = "https://github.com/multitune/multitune"
PATHS = ("train", "validation", "test", "base", "output", "stack_on", "accept")  # fields that may hold one
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# What is not listed generates text.
HUB_TASKS = {"classify": "text-classification", "labels": "text-classification", "tag": "token-classification"}
HUB_METRICS = {  # others have one name
    "macro_f1": "f1",
    "balanced_accuracy": "accuracy",
    "entity_f1": "f1",
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "rouge_l": "rouge",
}


def model_card(folder: RunFolder, adapter: str | None = None) -> str:
    """The card of one adapter of an evaluated run.

    Args:
        folder: of the run.
        adapter: its name; the first with a transfer table when None.

    Raises:
        InputError: no such adapter; the run was not evaluated, is damaged, or is of another version.
    """
    run = ScoredRun(folder)
    one = _adapter(run, adapter)
    config, scores = run.own.config, run.own.scores
    tasks = {task.name: task for task in config.tasks if task.name in one.tasks}
    versions, record = Versions.read(folder.versions), DataRecord.read(folder.data).sets
    table = scores.transfer.get(one.name)
    card = templates(html=False)
    card.filters.update(inert=inert, fenced=_fenced, last_part=_last_part)
    return card.get_template("card.md.j2").render(
        metadata=_metadata(run, one, tasks).to_yaml(line_break="\n"),
        config=config,
        adapter=one,
        full=config.method == "full",
        base=_hub_base(config),
        tasks=tasks,
        home=HOME,
        version=versions.packages.get("multitune") or "",
        scores=scores,
        own=markdown_table(_own_scores(run, one.name, tasks)),
        transfer=markdown_table(transfer_table(scores, [one.name])) if table else "",
        note=transfer_note(scores),
        evidence=evidence_lines(scores, one.name) if table else (),
        kept=kept_parts(scores, one.name),
        robustness=robustness_parts(folder),
        routing=routing_parts(folder),
        audit=audit_parts(folder),
        shots={name: record[name].shots for name in tasks if name in record},
        data=_data(config, one, tasks, record),
        smallest=min(scores.tasks[task].scores[one.name].examples for task in tasks),
        degenerate=[f"{task}: {text}" for task in tasks if (text := scores.tasks[task].scores[one.name].degenerate)],
        undecided=[row.task for row in (table.tasks if table else ()) if row.verdict == "cannot tell"],
        left_out={name: sum(map(len, record[name].too_long.values())) for name in tasks if name in record},
        copied=config.base.endswith(".gguf") or config.base in ALIASES,
        packages=inert(versions.line),
        settings=write_yaml(_without_paths(config.model_dump(mode="json"))),
    )


def card_or_none(folder: RunFolder, adapter: str) -> str | None:
    """The card of an adapter; None where the run was not evaluated, or the adapter has no scores of its own."""
    try:
        return model_card(folder, adapter)
    except InputError:
        return None


def _adapter(run: ScoredRun, adapter: str | None) -> AdapterConfig:
    adapters = {one.name: one for one in expand_adapters(run.own.config)}
    name = adapter or next(iter(run.own.scores.transfer), next(iter(adapters)))
    if name not in adapters:
        raise InputError(f"--adapter {name}: no such adapter in {run.folder.path}. {suggest(name, adapters)}")
    for task in adapters[name].tasks:
        if name not in run.own.scores.tasks[task].scores:
            raise InputError(
                f"{run.folder.scores}: no score of {name} on {task}. Score again: multitune eval {run.folder.path}"
            )
    return adapters[name]


def _hub_base(config: RunConfig) -> str | None:
    """The hub id of the base, if it has one: a folder or a file has none."""
    name = config.base
    if name in ALIASES:
        return ORIGINS.get(name)
    if is_on_hub(name):
        return public_name(name)
    return name if HUB_ID.fullmatch(name) and not name.endswith(".gguf") and not Path(name).exists() else None


def _metadata(run: ScoredRun, adapter: AdapterConfig, tasks: Mapping[str, TaskConfig]) -> ModelCardData:
    """The front matter; results only of tasks whose data a hub can be asked for."""
    config, full = run.own.config, run.own.config.method == "full"
    trained = [*tasks.values(), *(config.general if adapter.general else ())]
    results = [_result(run, adapter.name, task) for task in tasks.values() if task.data.hub]
    return ModelCardData(
        base_model=_hub_base(config),
        datasets=sorted({task.data.hub for task in trained if task.data.hub}) or None,
        library_name="transformers" if full else "peft",
        pipeline_tag="text-generation",
        tags=["multitune", "multi-task" if len(tasks) > 1 else "single-task", *([] if full else ["lora"])],
        metrics=sorted({_hub_metric(run.own.scores.tasks[task].metric) for task in tasks}),
        model_name=f"{config.name}-{adapter.name}" if results else None,
        eval_results=results or None,
    )


def _result(run: ScoredRun, adapter: str, task: TaskConfig) -> EvalResult:
    found, split = run.own.scores.tasks[task.name], run.own.scores.split
    assert task.data.hub
    return EvalResult(
        task_type=HUB_TASKS.get(found.kind, "text-generation"),
        dataset_type=task.data.hub,
        dataset_name=task.name,
        dataset_config=task.data.config,
        dataset_split=getattr(task.data, split) or task.data.train,
        dataset_revision=task.data.revision,
        metric_type=_hub_metric(found.metric),
        metric_name=found.metric,
        metric_value=round(found.scores[adapter].score, 4),
        source_name="multitune",
        source_url=HOME,
    )


def _own_scores(run: ScoredRun, adapter: str, tasks: Mapping[str, TaskConfig]) -> Table:
    """Scores with intervals, beside those of the base."""
    rows: list[list[Cell]] = []
    for task in tasks:
        answers, base = run.answers(task, adapter), run.own.scores.tasks[task].scores.get(BASE)
        shown = score_interval(answers.score, *answers.interval(run.own.plan))
        cells = [Cell(task), Cell(answers.metric.name), number(len(answers.predictions), count)]
        rows.append([*cells, number(base.score if base else None), Cell(shown)])
    columns = header("task", "metric", ["n", "base", f"this ({run.own.plan.confidence:.0%})"])
    return Table("scores", "Scores", columns, rows)


def _data(
    config: RunConfig, adapter: AdapterConfig, tasks: Mapping[str, TaskConfig], record: Mapping[str, SetRecord]
) -> list[list[str]]:
    """Every set with its role; of training sets the hash of the training rows counts."""
    replayed = config.general if adapter.general else ()
    rows = [_set(task, "task", "train", record) for task in tasks.values()]
    rows += [_set(task, "replay", "train", record) for task in replayed]
    return rows + [_set(task, "retention, not trained on", "test", record) for task in config.retention]


def _set(task: TaskConfig, role: str, split: Split, record: Mapping[str, SetRecord]) -> list[str]:
    """A set with source, licence as far as the run knows it, rows, and the hash of those of one split."""
    known = record.get(task.name)  # absent only if the run file was changed since
    numbers = " / ".join(str(known.rows.get(one, "–") if known else "–") for one in SPLITS)
    digest = printable(known.digests.get(split, ""))[:16] if known else ""
    return [inert(task.name), role, *_source(task), numbers, f"`{digest or '–'}`"]


def _hub_metric(name: str) -> str:
    return HUB_METRICS.get(name, name)


def _source(task: TaskConfig) -> tuple[str, str]:
    """Where a set comes from, and under which licence; a template's counts only for the template's own data."""
    data = task.data
    unknown = "not known to the run"
    if task.use is not None:
        try:
            notes, template = template_notes(task.use), read_template(task.use)
        except ConfigError:  # of another version
            notes, template = {}, {}
        own = data.model_dump(exclude_defaults=True, exclude_none=True) == template.get("data")
        if own and notes:
            return f"[{inert(notes['title'])}]({notes['home']})", inert(notes.get("licence", unknown))
    if data.hub:
        return f"[{inert(data.hub)}](https://huggingface.co/datasets/{data.hub})", unknown
    if data.sql:
        return "SQL query", unknown  # the address may hold a password
    names = dict.fromkeys(_last_part(path) for path in (data.train, data.validation, data.test) if path)
    return f"own data, {', '.join(f'`{name}`' for name in names)}", unknown


def _last_part(path: str) -> str:
    """The name of a folder or file; of a hub id or alias, all of it."""
    text = printable(path).replace("`", "'").replace("|", "/")
    return Path(text).name if Path(text).is_absolute() or text.startswith("~") else text


def _without_paths(value: Any, key: str = "") -> Any:
    """A config whose paths are cut to their last part, and whose database addresses are left out."""
    if isinstance(value, Mapping):
        return {str(name): _without_paths(part, str(name)) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_paths(part) for part in value]
    if not isinstance(value, str):
        return value
    if key == "sql":
        return "…"
    return _last_part(value) if key in PATHS else value


def _fenced(text: str, language: str = "") -> str:
    """A block of code whose fence is longer than any in the text."""
    runs = re.findall(r"`{3,}", text)
    fence = "`" * max(3, *(len(run) + 1 for run in runs)) if runs else "```"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
