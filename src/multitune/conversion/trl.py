"""Arguments of `trl sft`, from a YAML file or a command line, as the fields of a run file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from multitune.conversion.columns import Templates, conversation, dialogue, instruction
from multitune.conversion.given import Draft, Given, unique_name
from multitune.conversion.sources import data_of, located, origin, task_of
from multitune.conversion.training import Defaults, convert_adapter, convert_training, held_out
from multitune.core.errors import ConfigError
from multitune.data.formats import is_data_file, read_rows

DEFAULTS = Defaults(
    learning_rate=2e-5, batch_size=8, epochs=3.0, length=1024, cuts=True, rank=16, alpha=32, checkpointing=True
)


def convert(given: Given, read_from: Path, written_to: Path) -> Draft:
    """Base, data, adapters and training of arguments of `trl sft`.

    Args:
        given: the arguments.
        read_from: the folder of their file.
        written_to: the folder of the run file, at which paths in it start.

    Raises:
        ConfigError: no data is named, its rows have no answer, or a value is none.
    """
    draft = Draft()
    draft.fields["base"] = located(str(given.take("model_name_or_path", "model", default="")), read_from, written_to)
    entries = _entries(given)
    split = held_out(given.take("test_split_size"), draft, "test_split_size")
    tasks: list[dict[str, Any]] = []
    for entry in entries:
        name = unique_name(origin(entry), [task["name"] for task in tasks])
        tasks.append(_task(given, entry, name, draft, (read_from, written_to)) | {"split": dict(split)})
    draft.fields["tasks"] = tasks
    fractions = [entry.get("fraction") for entry in entries]
    if len(tasks) > 1 and all(fractions):
        shares = {task["name"]: share for task, share in zip(tasks, fractions, strict=True)}
        draft.fields["mixture"] = {"schedule": "fixed", "shares": shares}
    method = "lora" if given.take("use_peft") else "full"
    targets = given.texts("lora_target_modules")
    if method == "lora" and not targets:
        draft.notes.append(
            "lora_target_modules: PEFT's choice for the base there, often q_proj and v_proj; here all of attention"
        )
    convert_adapter(given, draft, method, targets or ["attention"], DEFAULTS)
    convert_training(given, draft, DEFAULTS)
    given.take("output_dir", "completion_only_loss", "assistant_only_loss", "dataset_text_field", "config")
    return draft


def _entries(given: Given) -> list[dict[str, Any]]:
    """The data sets: a list of mappings, or the one that is named; what is only for evaluation stays behind."""
    found = given.take("datasets")
    name, config = given.take("dataset_name"), given.take("dataset_config")
    train, test = given.take("dataset_train_split", default="train"), given.take("dataset_test_split", default="test")
    if isinstance(found, list) and found and all(isinstance(one, dict) for one in found):
        return cast(list[dict[str, Any]], found)
    if not name:
        raise ConfigError(f"{given.place}: neither dataset_name nor datasets. Name the data to train on")
    validated = given.take("eval_strategy", default="no") != "no"
    return [{"path": name, "name": config, "split": train, **({"validation": test} if validated else {})}]


def _task(
    given: Given, entry: Mapping[str, Any], name: str, draft: Draft, folders: tuple[Path, Path]
) -> dict[str, Any]:
    data = data_of(entry, name, draft, *folders)
    file = None if "hub" in data else _first_file(folders[1] / data["train"])
    if validation := entry.get("validation"):
        if "hub" in data:
            data["validation"] = validation
        else:
            draft.notes.append(
                f"tasks.{name}: validated on the split {validation!r} there; name its file as `data.validation`"
            )
    return task_of(name, data, _templates(given, file, name), draft)


def _first_file(path: Path) -> Path | None:
    """A file of rows: the path itself, or the first in the folder."""
    if path.is_file() and is_data_file(path):
        return path
    inside = sorted(path.iterdir()) if path.is_dir() else []
    return next((one for one in inside if one.is_file() and is_data_file(one)), None)


def _templates(given: Given, file: Path | None, name: str) -> Templates:
    """How rows read, by their columns where they are here, else as the arguments suggest."""
    if file is None:
        pairs = given.take("completion_only_loss")
        found = instruction(["prompt"], "completion") if pairs else conversation("messages")
        others = "`messages`" if pairs else "`prompt` and `completion`"
        note = f"its columns are not known here; correct prompt and answer if its rows have {others}"
        return Templates(found.prompt, found.answer, f"{note}; {found.note}" if found.note else note)
    row = next(read_rows(file, f"task {name!r}"))
    if {"prompt", "completion"} <= row.keys():
        talks = isinstance(row["prompt"], list)
        return dialogue("prompt", "completion") if talks else instruction(["prompt"], "completion")
    for messages in ("messages", "conversations"):
        if messages in row:
            old = messages == "conversations"
            return conversation(messages, *(("from", "value") if old else ("role", "content")))
    raise ConfigError(
        f"{given.place}: the rows of {file} have {', '.join(row)}, but a row needs a prompt and an answer: "
        "`prompt` and `completion`, or `messages`. Write the run file by hand for other columns"
    )
