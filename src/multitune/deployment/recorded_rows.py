"""Rows that a run recorded of an adapter, to be sent through what left the run: the most telling ones first."""

from dataclasses import replace

from multitune.config.adapters import expand_adapters
from multitune.config.load import load_config
from multitune.core.errors import InputError, RunFolderError, suggest
from multitune.core.records import Prediction, Split
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from multitune.core.seals import parse_line
from multitune.core.untrusted import read_bytes
from multitune.deployment.homes import shared_adapter
from multitune.evaluation.comparison import recorded_task
from multitune.evaluation.external import ComparisonTask
from multitune.training.prepare import prepare_run


def recorded_rows(folder: RunFolder, adapter: str, limit: int) -> list[ComparisonTask]:
    """The rows that a run recorded of an adapter, those first on which it and the base differ most.

    Args:
        folder: of the run.
        adapter: of the run, or of a task that joined.
        limit: most rows of each task.

    Raises:
        InputError: no such adapter, its answers were not recorded, or the data is not what it was.
    """
    if adapter not in folder.require().adapters:
        raise InputError(f"--adapter {adapter}: no such adapter in {folder.path}. {suggest(adapter, folder.adapters)}")
    where = folder.added(adapter) if adapter in folder.joined else folder
    run, split = prepare_run(load_config(where.config)), Scores.read(where.scores).split
    rows: Split = "validation" if split == "validation" else "test"
    names = [name for name in run.tasks if where.predictions(adapter, name, rows).is_file()]
    if not names:
        raise RunFolderError(
            f"{where.path}: no answers of {adapter!r} to {rows} rows. Run: multitune eval {folder.path}"
        )
    found = [recorded_task(where, run, task=name, adapter=adapter, split=rows) for name in names]
    for task in found:
        require_prompts(where, task)
    return [_most_telling(task, limit) for task in found]


def require_prompts(where: RunFolder, task: ComparisonTask) -> None:
    """Refuse rows whose text is no longer what the record answered.

    Raises:
        RunFolderError: names the first such row.
    """
    path = where.prompts(task.item.name, task.split)
    if not path.is_file():
        return
    try:
        asked = {row["id"]: row["prompt"] for row in map(parse_line, read_bytes(path, "JSON_BYTES").splitlines())}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: damaged ({error}). Evaluate the run again") from error
    for row in task.examples:
        if asked.get(row.id, row.prompt) != row.prompt:
            raise RunFolderError(f"{path}: row {row.id!r} reads otherwise in the data now. Evaluate the run again")


def _most_telling(task: ComparisonTask, limit: int) -> ComparisonTask:
    """A task's rows, those first on which adapter and base differ: in what they answer, then in how likely it was."""
    order = list(range(len(task.places)))
    if task.base is not None:
        base, ours = task.base, task.ours
        order.sort(key=lambda at: (alike(base[at], ours[at]), -loss_apart(base[at], ours[at])))
    order = sorted(order[:limit])
    return replace(
        task,
        places=tuple(task.places[at] for at in order),
        ours=tuple(task.ours[at] for at in order),
        base=None if task.base is None else tuple(task.base[at] for at in order),
    )


def alike(one: Prediction, other: Prediction) -> bool:
    """Whether two outputs are the same, white space at their ends aside."""
    return one.output.strip() == other.output.strip()


def loss_apart(one: Prediction, other: Prediction) -> float:
    """|Δloss| in nats; 0 where one tells none."""
    return abs(one.loss - other.loss) if one.loss is not None and other.loss is not None else 0.0


def default_adapter(folder: RunFolder) -> str:
    """The adapter that is meant where none is named: the shared one, or the only one.

    Raises:
        InputError: there are several.
    """
    config, names = load_config(folder.require().config), list(folder.adapters)
    shared = shared_adapter(folder, config)
    if shared is not None:
        return shared
    own = [one.name for one in expand_adapters(config) if one.name in names]
    if len(own) == 1:
        return own[0]
    raise InputError(f"--adapter: {folder.path} has several. Name one: {', '.join(names)}")
