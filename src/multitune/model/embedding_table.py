"""The token embeddings of a base without its layers: all that the usual router needs of it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multitune.core.bases import NO_CODE, BaseRef
from multitune.core.errors import ModelError
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.device import Device, Dtype, pick_device, pick_dtype
from multitune.model.fingerprint import FIRST_VALUES, digest_of
from multitune.model.gguf import dequantized_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddingTable:
    """The embeddings of a base, and the fingerprint of the whole base."""

    weight: torch.Tensor  # (vocabulary, width)
    fingerprint: str

    @classmethod
    def of(cls, backbone: Backbone) -> "EmbeddingTable":
        """Of a base that is loaded."""
        return cls(backbone.model.get_input_embeddings().weight.detach(), backbone.fingerprint)


def load_embedding_table(ref: BaseRef, device: Device = "auto", dtype: Dtype = "auto") -> EmbeddingTable:
    """The embeddings of a base as `load_backbone` would have them, read alone where the base lies in safetensors.

    Another base is loaded whole, and its layers are let go.

    Raises:
        ModelError: the base is not found, damaged, or not a causal language model.
    """
    try:
        found = _read_alone(
            dequantized_folder(ref) if ref.gguf else ref.location, pick_dtype(dtype, pick_device(device))
        )
    except (OSError, ValueError, KeyError, ImportError, ModelError) as error:
        found, why = None, str(error)
    else:
        why = "its files name their weights otherwise"
    if found is None:
        _log.info("base %s is loaded whole for its embeddings: %s", ref.name, why)
        whole = EmbeddingTable.of(load_backbone(ref, device, dtype))
        found = EmbeddingTable(whole.weight.cpu().clone(), whole.fingerprint)
    return found


def _read_alone(location: str, dtype: torch.dtype) -> EmbeddingTable | None:
    """The embeddings, and of every weight what the fingerprint holds; None where one is not in the files."""
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(location, **NO_CODE), **NO_CODE)
    weights = dict(model.named_parameters())
    embedding = model.get_input_embeddings().weight
    firsts: dict[str, torch.Tensor] = {}
    table: torch.Tensor | None = None
    try:
        for path in _weight_files(location):
            with safe_open(path, framework="pt") as file:
                for name in set(file.keys()).intersection(weights):
                    part = file.get_slice(name)
                    if tuple(part.get_shape()) != tuple(weights[name].shape):
                        return None
                    if weights[name] is embedding:
                        table = file.get_tensor(name).to(dtype)
                    width = max(1, weights[name][0].numel()) if weights[name].dim() else 1
                    firsts[name] = part[: -(-FIRST_VALUES // width)].to(dtype).flatten()[:FIRST_VALUES]
    except SafetensorError as error:
        raise ModelError(f"base: {location} is damaged ({error})") from error
    if table is None or firsts.keys() != weights.keys():
        return None
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    return EmbeddingTable(table, digest_of(type(model).__name__, shapes, firsts))


def _weight_files(location: str) -> list[Path]:
    """The safetensors of a folder or of a downloaded repository."""
    from huggingface_hub import snapshot_download

    patterns = ["config.json", "*.safetensors"]
    folder = Path(location) if Path(location).is_dir() else Path(snapshot_download(location, allow_patterns=patterns))
    return sorted(folder.glob("*.safetensors"))
