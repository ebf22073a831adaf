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
from multitune.core.bases import ALIASES, BASE, ORIGINS
from multitune.core.errors import ConfigError, InputError, suggest
from multitune.core.records import SPLITS
from multitune.core.results.run import DataRecord, Versions
from multitune.core.run_folder import RunFolder
from multitune.core.text import printable
from multitune.evaluation.stats import BootstrapPlan
from multitune.reporting.answers import ScoredRun
from multitune.reporting.blocks import Cell, Table, header, number
from multitune.reporting.formatting import count, score_interval
from multitune.reporting.markdown import kept_parts, packages, routing_parts
from multitune.reporting.renderers import inert, markdown_table
from multitune.reporting.tables.scores import transfer_note, transfer_table

HOME = "https://github.com/multitune/multitune"
PATHS = ("train", "validation", "test", "base", "output", "stack_on")  # fields that may hold one
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_TASKS = {"classify": "text-classification", "tag": "token-classification"}  # the rest generates text
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
    card = _Card(run, _adapter(run, adapter))
    metadata = card.metadata().to_yaml(line_break="\n")
    sections = [card.intro(), *card.results(), *card.use(), *card.data(), *card.limits(), *card.repeat()]
    return f"---\n{metadata}\n---\n\n" + "\n\n".join(sections) + "\n"


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


class _Card:
    """The sections of a card, from what the run folder says."""

    def __init__(self, run: ScoredRun, adapter: AdapterConfig) -> None:
        self.run, self.adapter = run, adapter
        self.config: RunConfig = run.own.config
        self.scores = run.own.scores
        self.plan: BootstrapPlan = run.own.plan
        self.tasks = {task.name: task for task in self.config.tasks if task.name in adapter.tasks}
        general = {task.name: task for task in self.config.general} if adapter.general else {}
        retention = {task.name: task for task in self.config.retention}
        self.sets = {"task": self.tasks, "replay": general, "retention, not trained on": retention}
        self.full = self.config.method == "full"

    @property
    def base(self) -> str | None:
        """The hub id of the base, if it has one: a folder or a file has none."""
        name = self.config.base
        if name in ALIASES:
            return ORIGINS.get(name)
        return name if HUB_ID.fullmatch(name) and not name.endswith(".gguf") and not Path(name).exists() else None

    def metadata(self) -> ModelCardData:
        """The front matter; results only of tasks whose data a hub can be asked for."""
        hub = sorted({task.data.hub for task in self._trained() if task.data.hub})
        results = [self._result(task) for task in self.tasks.values() if task.data.hub]
        name = f"{self.config.name}-{self.adapter.name}"
        return ModelCardData(
            base_model=self.base,
            datasets=hub or None,
            library_name="transformers" if self.full else "peft",
            pipeline_tag="text-generation",
            tags=[
                "multitune",
                "multi-task" if len(self.tasks) > 1 else "single-task",
                *([] if self.full else ["lora"]),
            ],
            metrics=sorted({_hub_metric(self._metric(task)) for task in self.tasks}),
            model_name=name if results else None,
            eval_results=results or None,
        )

    def _trained(self) -> list[TaskConfig]:
        return [*self.sets["task"].values(), *self.sets["replay"].values()]

    def _metric(self, task: str) -> str:
        return self.scores.tasks[task].metric

    def _result(self, task: TaskConfig) -> EvalResult:
        metric, split = self._metric(task.name), self.scores.split
        assert task.data.hub
        return EvalResult(
            task_type=HUB_TASKS.get(task.kind, "text-generation"),
            dataset_type=task.data.hub,
            dataset_name=task.name,
            dataset_config=task.data.config,
            dataset_split=getattr(task.data, split) or task.data.train,
            dataset_revision=task.data.revision,
            metric_type=_hub_metric(metric),
            metric_name=metric,
            metric_value=round(self._score(task.name, self.adapter.name) or 0.0, 4),
            source_name="multitune",
            source_url=HOME,
        )

    def _score(self, task: str, subject: str) -> float | None:
        found = self.scores.tasks[task].scores.get(subject)
        return None if found is None else found.score

    def intro(self) -> str:
        """What it is, in a sentence or two."""
        kind = "All weights" if self.full else "A LoRA adapter"
        origin = f" ([{self.base}](https://huggingface.co/{self.base}))" if self.base else ""
        several = "together " if len(self.tasks) > 1 else ""
        version = Versions.read(self.run.folder.versions).packages.get("multitune")
        return (
            f"# {inert(self.config.name)}, {inert(self.adapter.name)}\n\n"
            f"{kind} for `{_last_part(self.config.base)}`{origin}, trained {several}on "
            f"{', '.join(map(inert, self.tasks))} with [multitune]({HOME}) "
            f"{inert(version or '')}."
        )

    def results(self) -> list[str]:
        """Scores with intervals, differences with verdicts, what was kept, and the router."""
        name, split = self.adapter.name, self.scores.split
        rows: list[list[Cell]] = []
        for task in self.tasks:
            answers = self.run.answers(task, name)
            shown = score_interval(answers.score, *answers.interval(self.plan))
            cells = [Cell(task), Cell(answers.metric.name), number(len(answers.predictions), count)]
            rows.append([*cells, number(self._score(task, BASE)), Cell(shown)])
        columns = [*header("task", "metric"), *header(numbers=["n", "base", f"this ({self.plan.confidence:.0%})"])]
        table = Table("scores", "Scores", columns, rows)
        parts = ["## Results", f"On {split} rows that were not trained on:", markdown_table(table)]
        if name in self.scores.transfer:
            parts += [
                "Against what each task had alone, or the base where no adapter learned it alone:",
                markdown_table(transfer_table(self.scores, [name])),
                inert(transfer_note(self.scores)),
            ]
        kept = kept_parts(self.scores, name)
        nothing = ["Not measured: the run names neither retention sets nor general data."]
        parts += ["## What was kept of the base", *(kept or nothing)]
        routing = routing_parts(self.run.folder)
        return [*parts, "## Routing", *routing] if routing else parts

    def use(self) -> list[str]:
        """How it is loaded."""
        if self.full:
            code = 'from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained("…")'
        else:
            base = self.base or "the base named above"
            code = (
                "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
                f'base = AutoModelForCausalLM.from_pretrained("{base}")\n'
                'model = PeftModel.from_pretrained(base, "…")  # this folder or its hub id'
            )
        prompts = [f"`{inert(name)}`\n\n{_fenced(task.prompt)}" for name, task in self.tasks.items()]
        intro = "The model expects the prompts it was trained with, in the base's chat format:"
        return ["## Use", f"```python\n{code}\n```", intro, *prompts]

    def data(self) -> list[str]:
        """Sources, licences as far as the run knows them, rows, and the hash of the training rows."""
        record = DataRecord.read(self.run.folder.data).sets
        lines = [
            "| set | role | source | licence | rows (train / validation / test) | SHA-256 |",
            "|---|---|---|---|---:|---|",
        ]
        for role, sets in self.sets.items():
            for name, task in sets.items():
                known = record.get(name)  # absent only if the run file was changed since
                counts = known.rows if known else {}
                digest = known.digests.get("test" if role.startswith("retention") else "train", "") if known else ""
                source, licence = _source(task)
                numbers = " / ".join(str(counts.get(split, "–")) for split in SPLITS)
                hashed = f"`{printable(digest)[:16] or '–'}`"
                lines.append(f"| {inert(name)} | {role} | {source} | {licence} | {numbers} | {hashed} |")
        shown = "\n".join(lines)
        note = (
            "Licences are those that multitune's task templates name; of own data the run does not know them. This "
            "card states no licence of the adapter: choose one that the base's and the data's allow."
        )
        return ["## Data", shown, note]

    def limits(self) -> list[str]:
        """What the numbers do not say."""
        table = self.scores.transfer.get(self.adapter.name)
        open_ = [inert(row.task) for row in (table.tasks if table else ()) if row.verdict == "cannot tell"]
        smallest = min(self.scores.tasks[task].scores[self.adapter.name].examples for task in self.tasks)
        lines = [
            f"One training run with one seed ({self.config.seed}); intervals cover the choice of test rows, not that "
            "of the seed.",
            f"The smallest task was measured on {smallest} rows, all from the sources that the run names; nothing is "
            "known of texts from elsewhere.",
            "The best step was chosen on validation rows.",
        ]
        if open_:
            lines.append(f"Whether training together helped or hurt is not clear for {', '.join(open_)}.")
        record = DataRecord.read(self.run.folder.data).sets
        cut = {name: sum(map(len, record[name].too_long.values())) for name in self.tasks if name in record}
        lines += [f"{inert(name)}: {n} rows too long for the run were left out." for name, n in cut.items() if n]
        if self.config.base.endswith(".gguf") or self.config.base in ALIASES:
            lines.append("Trained on a GGUF copy of the base; on the original weights, scores may differ.")
        audit = (
            "Not made. This run holds no measurement of bias, safety, privacy, memorised training text, or test rows "
            "that the base may have seen in its own training."
        )
        return ["## Limits", "\n".join(f"- {line}" for line in lines), "## Audit", audit]

    def repeat(self) -> list[str]:
        """The run file without this machine's paths, and the versions."""
        intro = (
            f"`multitune train run.yaml` with this file and {packages(self.run.folder)}. Paths are cut to their last "
            "part: put your own copies there, and compare the hashes above with those in the new run's "
            f"`{self.run.folder.data.name}`."
        )
        text = write_yaml(_without_paths(self.config.model_dump(mode="json")))
        return [
            "## How to repeat",
            intro,
            f"<details><summary>run.yaml</summary>\n\n{_fenced(text, 'yaml')}\n\n</details>",
        ]


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
        own = data.model_dump(exclude_none=True) == template.get("data")
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
