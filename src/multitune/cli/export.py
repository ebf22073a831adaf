"""A trained adapter out of its run folder: as PEFT, as GGUF for llama.cpp, or merged into an ordinary model."""

import shutil
from enum import StrEnum
from pathlib import Path

from multitune.core.errors import InputError, suggest
from multitune.core.files import write_folder
from multitune.core.run_folder import RunFolder


class Form(StrEnum):
    """What an export is made as."""

    PEFT = "peft"
    MERGED = "merged"
    GGUF = "gguf"


def export_adapter(folder: RunFolder, name: str, target: Path, form: Form) -> str:
    """Write one adapter of a run to the folder `target`, whole or not at all, and say how it is loaded.

    Raises:
        InputError: no such run or adapter, `target` is taken, or the form does not suit the method.
        StorageError: the disk is full or not writable.
    """
    from multitune.config.load import load_config

    config = load_config(folder.require().config)
    source = folder.adapter(name)
    if not source.is_dir():
        there = sorted(path.name for path in source.parent.glob("[!.]*"))
        remedy = suggest(name, there) if there else "The run was not finished: go on with `multitune train … --resume`"
        raise InputError(f"--adapter {name}: no such adapter in {folder.path}. {remedy}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"--to {target}: there is something already. Choose another folder, or remove it")
    if config.method == "full" and form is not Form.MERGED:
        raise InputError(f"--as {form.value}: {folder.path} trained the whole model (method: full). Use --as merged")
    if form is Form.GGUF:
        return _convert(config.base, source, target)
    if config.method == "lora" and form is Form.MERGED:
        _merge(folder, name, target)
    else:
        write_folder(target, {}, {}, save=lambda part: _copy(source, part))
    return _vllm(config.base, target) if form is Form.PEFT else ""


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def _vllm(base: str, target: Path) -> str:
    from multitune.core.bases import resolve_base
    from multitune.model.gguf import base_config
    from multitune.model.vllm import check_vllm

    try:
        return str(check_vllm(target, base_config(resolve_base(base))))
    except InputError as error:  # the export is done, and good without its base
        return f"whether vLLM loads it is not known: {error}"


def _convert(base: str, source: Path, target: Path) -> str:
    from multitune.core.bases import resolve_base
    from multitune.model.files import read_pairs
    from multitune.model.gguf import base_config
    from multitune.model.gguf_lora import write_gguf_lora

    config, pairs = base_config(resolve_base(base)), read_pairs(source)
    file = f"{source.name}.gguf"
    write_folder(target, {}, {}, save=lambda part: write_gguf_lora(pairs, config, part / file))
    return f"llama.cpp loads it with: -m BASE.gguf --lora {target / file}"


def _merge(folder: RunFolder, name: str, target: Path) -> None:
    from multitune.config.load import load_config
    from multitune.core.bases import resolve_base
    from multitune.data.tokenizer import load_tokenizer
    from multitune.model.backbone import load_backbone
    from multitune.model.bank import AdapterBank
    from multitune.model.files import load_adapter, merge_into_base

    config = load_config(folder.config)
    ref = resolve_base(config.base)
    bank = AdapterBank(load_backbone(ref, "cpu", config.dtype))
    load_adapter(bank, folder.adapter(name), name, keep="float32")
    merge_into_base(bank, name, target, load_tokenizer(ref))
