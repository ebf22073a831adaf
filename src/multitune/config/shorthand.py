"""The short forms of a run file written out: tasks and adapters in few words, and paths from the file's folder."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitune.config.audit import ACCEPTED
from multitune.config.schema import RunConfig, TaskConfig
from multitune.config.text import Tree, read_text, read_yaml
from multitune.core.bases import ALIASES
from multitune.core.errors import ConfigError, suggest
from multitune.core.hub import names_a_path
from multitune.core.records import SPLITS

LIBRARY = Path(__file__).parent.parent / "tasks" / "library"
GROUPS = ("tasks", "general", "retention")  # fields of a run that list tasks
TEMPLATE_NOTES = ("title", "home", "licence", "citation")  # for readers, not for the run
DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".xlsx", ".gz")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SQLITE_FILE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!:memory:|file:|/)(.+)")


def template_names() -> list[str]:
    """Names that `use` takes, in order."""
    return sorted(file.stem for file in LIBRARY.glob("*.yaml"))


def read_template(name: str) -> Tree:
    """A task template as the fields of a task, without its notes for readers; paths in it start at the library.

    Raises:
        ConfigError: no template has this name.
    """
    fields = {key: value for key, value in _template(name).items() if key not in TEMPLATE_NOTES}
    return {"name": name, **_locate_task(fields, LIBRARY)}


def template_notes(name: str) -> dict[str, str]:
    """The notes of a task template: title, home, licence and citation of its data.

    Raises:
        ConfigError: no template has this name.
    """
    template = _template(name)
    return {key: str(template[key]) for key in TEMPLATE_NOTES if key in template}


def _template(name: str) -> Tree:
    if name not in template_names():
        raise ConfigError(f"{name!r} is not a task template. {suggest(name, template_names())}")
    file = LIBRARY / f"{name}.yaml"
    return read_yaml(read_text(file), str(file))


def expand_short_forms(run: Mapping[str, Any], place: str) -> Tree:
    """The run with tasks' templates, sources and limits, adapters' tasks and sweeps, and the audit written out.

    What is wrong in kind is left to validation.

    Raises:
        ConfigError: templates that do not exist, all at once.
    """
    expanded, faults = dict(run), list[str]()
    audit = run.get("audit")
    if isinstance(audit, str) or audit is False:
        expanded["audit"] = {"mode": audit or "off"}
    for group in GROUPS:
        if not isinstance(run.get(group), list):
            continue
        expanded[group] = []
        for index, task in enumerate(run[group]):
            try:
                expanded[group].append(_expand_task(task, group) if isinstance(task, dict) else task)
            except ConfigError as error:
                faults.append(f"{place}: {group}[{index}].use: {error}")
    if faults:
        raise ConfigError("\n".join(faults))
    if isinstance(run.get("adapters"), list):
        tasks = expanded.get("tasks")
        named = [task.get("name") for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
        expanded["adapters"] = [adapter for entry in run["adapters"] for adapter in _expand_adapter(entry, named)]
    return expanded


def _expand_adapter(entry: Any, tasks: list[Any]) -> list[Any]:
    """An adapter that names no task learns all; a list of shares of general data is one adapter for each."""
    if not isinstance(entry, dict):
        return [entry]
    full = {**entry, "tasks": entry.get("tasks", tasks)}
    shares = full.get("general")
    if not isinstance(shares, list) or not shares:
        return [full]
    return [{**full, "name": _with_share(full.get("name"), share), "general": share} for share in shares]


def _with_share(name: Any, share: Any) -> Any:
    """`shared.general-5` for 0.05."""
    stated = isinstance(share, int | float) and not isinstance(share, bool)
    return f"{name}.general-{100 * share:g}" if stated and isinstance(name, str) else name


def _expand_task(task: dict[str, Any], group: str) -> dict[str, Any]:
    # A dumped run states every field: it must stay readable when its template has changed or gone.
    complete = TaskConfig.model_fields.keys() <= task.keys()
    full = dict(task) if task.get("use") is None or complete else {**read_template(str(task["use"])), **task}
    if isinstance(full.get("data"), str):
        full["data"] = {"train": full["data"]}
    limit = full.get("limit")
    if isinstance(limit, int | float) and not isinstance(limit, bool):
        full["limit"] = dict.fromkeys(SPLITS if group == "retention" else ["train"], limit)
    return full


def locate(run: Mapping[str, Any], folder: Path) -> Tree:
    """The run with its paths made absolute, starting at `folder`, and its hub ids distinguished from paths."""
    located = {"output": RunConfig.model_fields["output"].default, **run}
    if isinstance(located["output"], str):
        located["output"] = _absolute(located["output"], folder)
    base = run.get("base")
    if isinstance(base, str) and base not in ALIASES and _is_path(base, folder):
        located["base"] = _absolute(base, folder)
    for group in GROUPS:
        if isinstance(run.get(group), list):
            located[group] = [_locate_task(task, folder) for task in run[group]]
    evaluate = run.get("evaluate")
    if isinstance(evaluate, dict) and isinstance(bias := evaluate.get("bias"), dict):
        paths = {suite: _absolute(data, folder) if isinstance(data, str) else data for suite, data in bias.items()}
        located["evaluate"] = {**evaluate, "bias": paths}
    located["audit"] = _locate_accepted(run.get("audit"), folder)
    if isinstance(run.get("adapters"), list):
        located["adapters"] = [_locate_parent(entry, folder) for entry in run["adapters"]]
    return located


def _locate_accepted(audit: Any, folder: Path) -> Any:
    """The audit with the path of its accepted findings; of the file beside the run file, where there is one."""
    fields = {} if audit is None else audit
    if not isinstance(fields, dict):
        return fields
    stated = fields.get("accept")
    if isinstance(stated, str):
        return {**fields, "accept": _absolute(stated, folder)}
    beside = folder / ACCEPTED
    return {**fields, "accept": str(beside)} if stated is None and beside.is_file() else fields


def _locate_parent(entry: Any, folder: Path) -> Any:
    """A name of an adapter has no slash; a folder must have one."""
    parent = entry.get("stack_on") if isinstance(entry, dict) else None
    return {**entry, "stack_on": _absolute(parent, folder)} if isinstance(parent, str) and "/" in parent else entry


def _locate_task(task: Any, folder: Path) -> Any:
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        return task
    source: dict[str, Any] = task["data"]
    sql, train = source.get("sql"), source.get("train")
    if source.get("hub") is not None:
        return task
    if isinstance(sql, str):
        located = {"sql": _SQLITE_FILE.sub(lambda url: f"{url[1]}{_absolute(url[2], folder)}", sql)}
    elif isinstance(train, str) and _is_hub_id(train, folder):
        located = {"hub": train, "train": "train"}
    else:
        located = {split: _absolute(source[split], folder) for split in SPLITS if isinstance(source.get(split), str)}
    return {**task, "data": {**source, **located}}


def _is_hub_id(text: str, folder: Path) -> bool:
    return bool(_HUB_ID.fullmatch(text)) and not text.endswith(DATA_SUFFIXES) and not names_a_path(text, folder)


def _is_path(base: str, folder: Path) -> bool:
    return base.endswith(".gguf") or base.startswith((".", "~")) or names_a_path(base, folder)


def _absolute(path: str, folder: Path) -> str:
    """Empty texts and addresses such as https://… stay as they are."""
    return path if not path or "://" in path else os.path.normpath(folder / Path(path).expanduser())
