"""What an exported or served model answers to all rows that a run was scored on."""

from collections.abc import Sequence
from pathlib import Path

from multitune.config.load import load_config
from multitune.core.errors import InputError
from multitune.core.records import Prediction, Split
from multitune.core.results.scores import Scores
from multitune.core.results.verification import Target
from multitune.core.run_folder import RunFolder
from multitune.deployment.recorded_rows import require_prompts
from multitune.deployment.targets import Server, ask_server, form_of, open_folder
from multitune.evaluation.comparison import comparison_tasks
from multitune.evaluation.external import ComparisonTask, answers_of
from multitune.model.files import require_base


def target_answers(
    folder: RunFolder,
    target: str,
    place: str,
    *,
    adapter: str | None = None,
    tasks: Sequence[str] = (),
    model: str | None = None,
    key_env: str | None = None,
) -> list[tuple[ComparisonTask, list[Prediction]]]:
    """Each task with the run's recorded answers, and what the target answers to the same rows.

    Args:
        folder: of the run.
        target: a PEFT or model folder, a GGUF file of a whole model, or the address of a server.
        place: where the user named it, for messages.
        adapter: of the run, for all its tasks; what each task ships with when None.
        tasks: to answer; all when empty.
        model: as a server names it; the adapter's name when None.
        key_env: the environment variable that holds the server's key; see `open_endpoint`.

    Raises:
        InputError: the target cannot be loaded or asked, or the run's rows are not what they were.
    """
    form, path = form_of(target, place)
    if form == "gguf_lora":
        raise InputError(
            f"{place} {target}: a LoRA file for llama.cpp answers nothing by itself. Give the address of a server "
            "that loaded it, or the adapter exported as a PEFT folder"
        )
    split: Split = "validation" if Scores.read(folder.require().scores).split == "validation" else "test"
    every = comparison_tasks(folder, load_config(folder.config), adapter, split, None)
    asked = [task for task in every if not tasks or task.item.name in tasks]
    if not asked:
        raise InputError(f"--adapter {adapter}: did not learn {', '.join(tasks)}. Leave out --adapter or --task")
    for task in asked:
        name = task.item.name
        require_prompts(folder.added(name) if name in folder.joined else folder, task)
    if form == "server":
        theirs = ask_server(Server(target, model or _only_adapter(asked, place, target), key_env), asked, place)
    else:
        theirs = _answers_here(path, form, asked)
    return [(task, theirs[task.item.name]) for task in asked]


def _answers_here(path: Path, form: Target, tasks: list[ComparisonTask]) -> dict[str, list[Prediction]]:
    model = open_folder(path, form, tasks[0].run, None)
    try:
        if form == "peft":
            require_base(model.bank.backbone, path)
        return answers_of(model, tasks)
    finally:
        model.bank.close()


def _only_adapter(tasks: list[ComparisonTask], place: str, target: str) -> str:
    names = sorted({task.adapter for task in tasks})
    if len(names) > 1:
        listed = ", ".join(names)
        raise InputError(f"{place} {target}: the run's tasks ship with {listed}. Name the served one with --model")
    return names[0]
