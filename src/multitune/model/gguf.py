"""A GGUF file as an ordinary model folder: unpacked once, so that the next start is fast."""

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from multitune.core.bases import NO_CODE, BaseRef
from multitune.core.errors import ModelError, StorageError
from multitune.core.paths import cache_folder, file_key

_log = logging.getLogger(__name__)


def dequantized_folder(ref: BaseRef) -> str:
    """Folder with config.json and float32 safetensors of a GGUF base, made on first use.

    Raises:
        ModelError: the file is damaged or of a family that cannot be read.
        StorageError: the cache folder is full or not writable.
    """
    folder = _folder(ref)
    if folder.is_dir():
        return str(folder)
    from safetensors import SafetensorError

    _log.info("unpacking %s into %s", ref.gguf, folder)
    model = _load(ref)
    try:
        _save(model, folder)
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in its own error
        if folder.is_dir():  # another process was faster
            return str(folder)
        raise StorageError(
            f"{folder}: the unpacked base could not be written ({error}). "
            "Free some space, or set MULTITUNE_CACHE to another disk"
        ) from error
    return str(folder)


def base_config(ref: BaseRef) -> Any:
    """The transformers config of a base, without its weights: from the unpacked folder if there is one, at once.

    Raises:
        ModelError: the base has none.
    """
    from transformers import AutoConfig

    folder = _folder(ref) if ref.gguf else None
    try:
        if folder is not None and folder.is_dir():
            return AutoConfig.from_pretrained(str(folder), **NO_CODE)
        return AutoConfig.from_pretrained(ref.location, **ref.load_options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise no_config(ref, error) from error


def no_config(ref: BaseRef, error: Exception) -> ModelError:
    """The error of a base that says nothing that makes it a causal language model."""
    first_line = str(error).strip().split("\n")[0]
    return ModelError(
        f"base: {ref.name!r} has no config of a causal language model: {first_line} "
        "Give a hub id, a folder with config.json and safetensors, a .gguf file, or a built-in alias"
    )


def _folder(ref: BaseRef) -> Path:
    return cache_folder() / "bases" / f"{Path(ref.gguf).stem}-{file_key(Path(ref.location) / ref.gguf)}"


def _save(model: Any, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = tempfile.mkdtemp(dir=folder.parent, prefix=".part-")
    try:
        model.save_pretrained(staging)
        os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _load(ref: BaseRef) -> Any:
    """The model with every weight unpacked, and a config that no longer says it is quantized."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            ref.location,
            **ref.load_options,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    except Exception as error:  # a damaged file makes the reader raise anything, struct.error included
        first_line = str(error).strip().split("\n")[0].rstrip(".")
        raise ModelError(
            f"base: {Path(ref.location) / ref.gguf} cannot be read as GGUF: {first_line}. Download the file again, or "
            "give the model as a folder with config.json and safetensors"
        ) from error
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    return model
