"""A config of Axolotl as the fields of a run file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from multitune.conversion.columns import Templates, conversation, custom, instruction, segments
from multitune.conversion.given import Draft, Given, unique_name
from multitune.conversion.sources import add_validation, data_of, located, origin, task_of
from multitune.conversion.training import Defaults, convert_adapter, convert_training, held_out
from multitune.core.errors import ConfigError, suggest

DEFAULTS = Defaults(
    learning_rate=2e-4, batch_size=1, epochs=1.0, length=512, cuts=False, rank=8, alpha=0, checkpointing=False
)
# type of a data set -> columns of the prompt, column of the answer. Source: docs/dataset-formats/inst_tune.qmd there.
INSTRUCTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "alpaca": (("instruction", "input"), "output"),
    "alpaca_chat": (("instruction", "input"), "response"),
    "alpaca_chat.load_concise": (("instruction", "input"), "response"),
    "alpaca_chat.load_qa": (("question",), "answer"),
    "alpaca_chat.load_camel_ai": (("message_1",), "message_2"),
    "alpaca_w_system.load_open_orca": (("system_prompt", "question"), "response"),
    "context_qa": (("article", "question"), "answer"),
    "context_qa.load_v2": (("context", "question"), "answer"),
    "creative_acr.load_answer": (("instruction",), "revision"),
    "gpteacher": (("instruction", "input"), "response"),
    "jeopardy": (("category", "question"), "answer"),
    "metharme": (("prompt",), "generation"),
    "oasst": (("INSTRUCTION",), "RESPONSE"),
    "summarizetldr": (("article",), "summary"),
}
CONVERSATIONS = {"chat_template", "sharegpt", "chat_template.default", "chat_template.argilla"}


def convert(given: Given, read_from: Path, written_to: Path) -> Draft:
    """Base, data, adapters and training of a config of Axolotl.

    Args:
        given: the config.
        read_from: its folder.
        written_to: the folder of the run file, at which paths in it start.

    Raises:
        ConfigError: it is for another kind of training, names no data, or a value is none.
    """
    for key in ("rl", "reward_model", "process_reward_model", "pretraining_dataset"):
        if given.take(key):
            raise ConfigError(f"{given.place}: {key} is set, but a run is supervised fine-tuning. Keep Axolotl for it")
    draft = Draft()
    draft.fields["base"] = located(str(given.take("base_model", default="")), read_from, written_to)
    if system := given.take("default_system_message"):
        draft.fields["system"] = system
    entries = _entries(given, "datasets")
    if not entries:
        raise ConfigError(f"{given.place}: datasets is empty. Name at least one data set there")
    split = held_out(given.take("val_set_size"), draft, "val_set_size")
    tasks: list[dict[str, Any]] = []
    for entry in entries:
        name = unique_name(origin(entry), [task["name"] for task in tasks])
        tasks.append(_task(entry, name, split, draft, (read_from, written_to)))
    _validation(_entries(given, "test_datasets"), tasks, draft, (read_from, written_to))
    draft.fields["tasks"] = tasks
    adapter = given.take("adapter")
    targets = ["all"] if given.take("lora_target_linear") else given.texts("lora_target_modules")
    convert_adapter(given, draft, "lora" if adapter else "full", targets or ["attention"], DEFAULTS)
    convert_training(given, draft, DEFAULTS)
    if given.take("chat_template") not in (None, "tokenizer_default") or given.take("chat_template_jinja"):
        draft.notes.append("chat_template: no counterpart, that of the base is used. Take a base that has it")
    if given.take("train_on_inputs"):
        draft.notes.append("train_on_inputs: no counterpart, answers alone carry loss")
    given.take("special_tokens", "output_dir")
    return draft


def _entries(given: Given, key: str) -> list[dict[str, Any]]:
    found = given.take(key, default=[])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ConfigError(f"{given.place}: {key} is no list of mappings. Write `- path: …` and `type: …` for each")
    return cast(list[dict[str, Any]], found)


def _task(
    entry: Mapping[str, Any], name: str, split: dict[str, float], draft: Draft, folders: tuple[Path, Path]
) -> dict[str, Any]:
    templates = _templates(entry, name)
    return {**task_of(name, data_of(entry, name, draft, *folders), templates, draft), "split": dict(split)}


def _templates(entry: Mapping[str, Any], name: str) -> Templates:
    kind = entry.get("type")
    if isinstance(kind, dict):
        return _custom({**entry, **cast(dict[str, Any], kind)})
    kind = str(kind or "chat_template").partition(":")[0]
    if kind in CONVERSATIONS:
        shared = kind == "sharegpt"
        names = entry.get("message_property_mappings") or {}
        role = names.get("role") or entry.get("message_field_role") or ("from" if shared else "role")
        content = names.get("content") or entry.get("message_field_content") or ("value" if shared else "content")
        return conversation(entry.get("field_messages") or ("conversations" if shared else "messages"), role, content)
    if kind == "input_output":
        return segments()
    if kind in INSTRUCTIONS:
        columns, answer = INSTRUCTIONS[kind]
        return instruction(columns, answer)
    known = [*INSTRUCTIONS, *sorted(CONVERSATIONS), "input_output"]
    raise ConfigError(
        f"datasets: type {kind!r} of {name} has no counterpart: a row needs a prompt and an answer. "
        f"{suggest(kind, known)}"
    )


def _custom(entry: Mapping[str, Any]) -> Templates:
    """Columns and formats of the user's own, with the names that they have there where none are given."""
    names = {key: str(entry.get(f"field_{key}") or key) for key in ("instruction", "input", "output", "system")}
    if not entry.get("field_system"):
        del names["system"]
    bare = str(entry.get("no_input_format") or "{instruction}")
    form = str(entry.get("format") or "{instruction} {input}")
    return custom(form, names, bare, str(entry.get("system_prompt") or ""))


def _validation(
    entries: list[dict[str, Any]], tasks: list[dict[str, Any]], draft: Draft, folders: tuple[Path, Path]
) -> None:
    """Data sets to validate on, where there are as many as to train on."""
    if len(entries) == len(tasks):
        for entry, task in zip(entries, tasks, strict=True):
            add_validation(task, data_of(entry, task["name"], draft, *folders), draft)
    elif entries:
        draft.notes.append(
            f"test_datasets: {len(entries)} for {len(tasks)} datasets. Name each as `data.validation` of its task"
        )
