"""A config of LLaMA-Factory, with its dataset_info.json, as the fields of a run file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from multitune.config.text import read_text
from multitune.conversion.columns import Templates, conversation, instruction
from multitune.conversion.given import Draft, Given, unique_name
from multitune.conversion.sources import add_validation, located, task_of
from multitune.conversion.training import Defaults, convert_adapter, convert_training, held_out
from multitune.core.errors import ConfigError, suggest
from multitune.core.untrusted import parse_json

DEFAULTS = Defaults(
    learning_rate=5e-5, batch_size=8, epochs=3.0, length=2048, cuts=True, rank=8, alpha=0, checkpointing=True
)
INFO = "dataset_info.json"
MIXES = {"interleave_under", "interleave_over", "interleave_once"}


def convert(given: Given, read_from: Path, written_to: Path) -> Draft:
    """Base, data, adapters and training of a config of LLaMA-Factory.

    Args:
        given: the config.
        read_from: its folder.
        written_to: the folder of the run file, at which paths in it start.

    Raises:
        ConfigError: it is for another kind of training, a data set is not described, or a value is none.
    """
    stage, method = given.take("stage", default="sft"), given.take("finetuning_type", default="lora")
    if stage != "sft" or method not in ("lora", "full"):
        what = f"stage is {stage!r}" if stage != "sft" else f"finetuning_type is {method!r}"
        raise ConfigError(
            f"{given.place}: {what}; a run is supervised fine-tuning by lora or full. Keep LLaMA-Factory for it"
        )
    draft = Draft()
    draft.fields["base"] = located(str(given.take("model_name_or_path", default="")), read_from, written_to)
    if system := given.take("default_system"):
        draft.fields["system"] = system
    info, home = _dataset_info(given, read_from)
    split = held_out(given.take("val_size"), draft, "val_size")
    folders = (home, written_to)
    tasks = [_task(name, info, home / INFO, split, draft, folders) for name in given.texts("dataset")]
    if not tasks:
        raise ConfigError(f"{given.place}: dataset is empty. Name at least one data set of {home / INFO}")
    limit = given.take("max_samples")
    for task in tasks:
        task["name"] = unique_name(task["name"], [one["name"] for one in tasks if one is not task])
        if limit:
            task["limit"] = min(int(limit), int(task.get("limit", limit)))
    _validation(given.texts("eval_dataset"), info, home / INFO, tasks, draft, folders)
    draft.fields["tasks"] = tasks
    _mix(given, draft, [task["name"] for task in tasks])
    convert_adapter(given, draft, method, given.texts("lora_target") or ["all"], DEFAULTS)
    convert_training(given, draft, DEFAULTS)
    if given.take("template") not in (None, "default", "empty"):
        draft.notes.append(
            "template: no counterpart, the chat template of the base is used. Take an instruct model as base"
        )
    if given.take("train_on_prompt"):
        draft.notes.append("train_on_prompt: no counterpart, answers alone carry loss")
    given.take("output_dir", "do_train", "dataset_dir")
    return draft


def _dataset_info(given: Given, read_from: Path) -> tuple[dict[str, Any], Path]:
    """What dataset_info.json says, and the folder in which it lies."""
    named = given.take("dataset_dir", default="data")
    places = [Path.cwd() / str(named), read_from / str(named), read_from]
    for folder in places:
        if (folder / INFO).is_file():
            try:
                found = parse_json(read_text(folder / INFO))
            except ValueError as error:
                raise ConfigError(f"{folder / INFO}: no JSON ({error}). Correct it") from error
            if isinstance(found, dict):
                return cast(dict[str, Any], found), folder
    looked = ", ".join(dict.fromkeys(str(folder / INFO) for folder in places))
    raise ConfigError(f"{given.place}: no {INFO}, which says what each data set is. Looked for {looked}. Put it there")


def _task(
    name: str,
    info: Mapping[str, Any],
    place: Path,
    split: dict[str, float],
    draft: Draft,
    folders: tuple[Path, Path],
) -> dict[str, Any]:
    entry = _described(name, info, place)
    if entry.get("ranking"):
        raise ConfigError(f"{place}: {name!r} holds preferences; a run is supervised fine-tuning. Leave it out")
    columns = cast(dict[str, str], entry.get("columns") or {})
    if media := sorted({"images", "videos", "audios", "tools"} & columns.keys()):
        draft.notes.append(f"tasks.{name}: {', '.join(media)} have no counterpart, prompts are text alone")
    templates, data = _templates(entry, name, place), _data(entry, name, place, folders)
    task = {**task_of(unique_name(name, ()), data, templates, draft), "split": dict(split)}
    if count := entry.get("num_samples"):
        task["limit"] = count
    return task


def _data(entry: Mapping[str, Any], name: str, place: Path, folders: tuple[Path, Path]) -> dict[str, Any]:
    if hub := entry.get("hf_hub_url"):
        data = {"hub": hub, "train": entry.get("split") or "train"}
        return {**data, **({"config": entry["subset"]} if entry.get("subset") else {})}
    if file := entry.get("file_name"):
        home, written_to = folders
        return {"train": located(str(home / file), home, written_to)}
    raise ConfigError(f"{place}: {name!r} has neither file_name nor hf_hub_url. Download its rows, and name the file")


def _validation(
    names: list[str],
    info: Mapping[str, Any],
    place: Path,
    tasks: list[dict[str, Any]],
    draft: Draft,
    folders: tuple[Path, Path],
) -> None:
    """Data sets to validate on, where there are as many as to train on."""
    if len(names) == len(tasks):
        for name, task in zip(names, tasks, strict=True):
            add_validation(task, _data(_described(name, info, place), name, place, folders), draft)
    elif names:
        draft.notes.append(
            f"eval_dataset {', '.join(names)}: name its file as `data.validation` of the task it is for"
        )


def _described(name: str, info: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """What dataset_info.json says of a data set."""
    entry = info.get(name)
    if not isinstance(entry, dict):
        raise ConfigError(f"{place}: no data set {name!r}. {suggest(name, info)}")
    return cast(dict[str, Any], entry)


def _templates(entry: Mapping[str, Any], name: str, place: Path) -> Templates:
    """How rows read; a description with `columns` has those columns and no others, as there."""
    usual = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
    columns = cast(dict[str, str], entry.get("columns") or usual)
    talks = entry.get("formatting", "alpaca") != "alpaca"
    for needed in ("messages",) if talks else ("prompt", "response"):
        if not columns.get(needed):
            raise ConfigError(
                f"{place}: {name!r} names no column for {needed}, but a row needs a prompt and an answer. Add it"
            )
    if talks:
        tags = {"role_tag": "from", "content_tag": "value", "system_tag": "system", **(entry.get("tags") or {})}
        return conversation(columns["messages"], tags["role_tag"], tags["content_tag"], tags["system_tag"])
    asked = [columns["prompt"], *([columns["query"]] if columns.get("query") else [])]
    return instruction(
        asked,
        columns["response"],
        between="\n",
        system=columns.get("system", ""),
        history=columns.get("history", ""),
    )


def _mix(given: Given, draft: Draft, names: list[str]) -> None:
    """How the rows of several data sets are mixed."""
    strategy, chances = given.take("mix_strategy", default="concat"), given.texts("interleave_probs")
    if strategy in MIXES and len(chances) == len(names) > 1:
        shares = {name: float(chance) for name, chance in zip(names, chances, strict=True)}
        draft.fields["mixture"] = {"schedule": "fixed", "shares": shares}
    elif strategy in MIXES and len(names) > 1:
        draft.fields["mixture"] = {"schedule": "round_robin"}
