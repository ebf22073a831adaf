"""A trained adapter out of its run folder: as PEFT, as GGUF for llama.cpp, or merged into an ordinary model."""

import json
from pathlib import Path
from typing import Literal, get_args

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.bases import public_name, resolve_base
from multitune.core.errors import InputError, suggest
from multitune.core.files import copy_folder, write_folder, write_text
from multitune.core.run_folder import RunFolder
from multitune.core.untrusted import load_json

Form = Literal["peft", "merged", "gguf"]
FORMS: tuple[Form, ...] = get_args(Form)


def parse_form(text: str) -> Form:
    """A form by its name.

    Raises:
        InputError: there is none of that name.
    """
    for form in FORMS:
        if text == form:
            return form
    raise InputError(f"--as {text}: {suggest(text, FORMS)}")


def export_adapter(folder: RunFolder, name: str, target: Path, form: Form, card: str | None = None) -> str:
    """Write one adapter of a run to the folder `target`, whole or not at all, and say how it is loaded.

    Args:
        folder: of the run.
        name: of the adapter; that of a task which joined later is called like the task.
        target: an empty folder, or none yet.
        form: peft (with tokenizer, and a base that PEFT finds), merged, or gguf.
        card: README.md of the export, if there is one.

    Raises:
        InputError: no such run or adapter, `target` is taken, or the form does not suit the method.
        StorageError: the disk is full or not writable.
    """
    config = load_config(folder.require().config)
    adapters = folder.adapters
    if name not in adapters:
        remedy = (
            suggest(name, adapters)
            if adapters
            else "The run was not finished: go on with `multitune train … --resume`"
        )
        raise InputError(f"--adapter {name}: no such adapter in {folder.path}. {remedy}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"--to {target}: already exists. Choose another folder, or remove it")
    if config.method == "full" and form != "merged":
        raise InputError(f"--as {form}: {folder.path} trained the whole model (method: full). Use --as merged")
    source = adapters[name]
    texts = {"README.md": card} if card else {}
    if form == "gguf":
        return _convert(config.base, source, target, texts)
    if config.method == "lora" and form == "merged":
        _merge(config, source, name, target)
        return _of_whole_base(config, "merged into")
    if config.method == "full":
        write_folder(target, texts, {}, save=lambda part: copy_folder(source, part))
        return ""
    write_folder(target, texts, {}, save=lambda part: _peft(config, source, part))
    return "\n".join(filter(None, [_vllm(config.base, target), _of_whole_base(config, "names")]))


def _of_whole_base(config: RunConfig, verb: str) -> str:
    """What a user of an export must know of a run that quantized its base; empty for one that did not."""
    if not config.quantization:
        return ""
    return (
        f"{verb} the base in all its bits, while the run trained and scored on it in {config.quantization}: answers "
        "differ by what that rounds off"
    )


def _peft(config: RunConfig, source: Path, target: Path) -> None:
    """A folder that `AutoPeftModelForCausalLM.from_pretrained` loads: its base is named so that PEFT finds it."""
    from multitune.data.tokenizer import load_tokenizer
    from multitune.model.files import CONFIG

    copy_folder(source, target)
    settings = load_json(target / CONFIG)
    named = {**settings, "base_model_name_or_path": public_name(config.base)}
    write_text(target / CONFIG, json.dumps(named, indent=2) + "\n")
    try:
        load_tokenizer(resolve_base(config.base)).save_pretrained(target)
    except InputError:  # the base is not here: the adapter is whole without its tokenizer
        return


def _vllm(base: str, target: Path) -> str:
    from multitune.model.gguf import base_config
    from multitune.model.vllm import check_vllm

    try:
        return str(check_vllm(target, base_config(resolve_base(base))))
    except InputError as error:  # the export is done, and good without its base
        return f"whether vLLM loads it is not known: {error}"


def _convert(base: str, source: Path, target: Path, texts: dict[str, str]) -> str:
    from multitune.model.files import read_pairs
    from multitune.model.gguf import base_config
    from multitune.model.gguf_lora import write_gguf_lora

    config, pairs = base_config(resolve_base(base)), read_pairs(source)
    file = f"{source.name}.gguf"
    write_folder(target, texts, {}, save=lambda part: write_gguf_lora(pairs, config, part / file))
    return f"llama.cpp loads it with: -m BASE.gguf --lora {target / file}"


def _merge(config: RunConfig, source: Path, name: str, target: Path) -> None:
    from multitune.data.tokenizer import load_tokenizer
    from multitune.model.backbone import load_backbone
    from multitune.model.bank import AdapterBank
    from multitune.model.files import load_adapter, merge_into_base

    ref = resolve_base(config.base)
    bank = AdapterBank(load_backbone(ref, "cpu", config.dtype))
    load_adapter(bank, source, name, keep="float32")
    merge_into_base(bank, name, target, load_tokenizer(ref))
