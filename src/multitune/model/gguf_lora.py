"""An adapter as a GGUF file that llama.cpp loads beside its base."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from multitune.core.errors import AdapterError, ModelError
from multitune.model.files import LoraPair

# Model type -> llama.cpp's name of the architecture, where its converter only renames the linear layers.
RENAMED = {
    **{name: name for name in ("gemma", "gemma2", "olmo2", "phi3", "qwen2", "qwen3")},
    "gemma3_text": "gemma3",
}
# The same where it also reorders the rows of q and k, because it rotates neighbours instead of halves.
PERMUTED = {"granite": "granite", "llama": "llama", "mistral": "llama", "smollm3": "smollm3"}


def write_gguf_lora(pairs: Mapping[str, LoraPair], base: Any, path: Path) -> None:
    """Write an adapter for `llama-cli --lora`; `base` is the transformers config of its model.

    Raises:
        ModelError: the architecture cannot be converted.
        AdapterError: a layer has no name there.
        OSError: the file could not be written.
    """
    from gguf import GGUFType, GGUFWriter, Keys

    tensors = gguf_tensors(pairs, base)
    first = next(iter(pairs.values()))
    alpha = first.scale * first.a.shape[0] or 1.0  # llama.cpp reads 0 as no scaling at all
    writer = GGUFWriter(path, _architecture(base))
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string(Keys.Adapter.TYPE, "lora")
    writer.add_float32(Keys.Adapter.LORA_ALPHA, alpha)
    for name, (a, b, scale) in tensors.items():
        # llama.cpp scales every layer by alpha / rank: what a layer's own scale is beyond that goes into B.
        folded = b * (scale * a.shape[0] / alpha)
        writer.add_tensor(f"{name}.lora_a", a.contiguous().numpy())
        writer.add_tensor(f"{name}.lora_b", folded.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf_lora(path: Path) -> dict[str, LoraPair]:
    """GGUF name of a weight -> the pair that llama.cpp adds to it, from an adapter file.

    Raises:
        AdapterError: damaged, or no LoRA adapter.
    """
    from gguf import GGUFReader, Keys

    try:
        reader = GGUFReader(path)
        kind = reader.fields[Keys.Adapter.TYPE].contents() if Keys.Adapter.TYPE in reader.fields else ""
        if kind != "lora":
            raise AdapterError(f"{path}: holds no LoRA adapter. Give a file that `export --as gguf` wrote")
        alpha = float(reader.fields[Keys.Adapter.LORA_ALPHA].contents())
        tensors = {one.name: torch.from_numpy(one.data.copy()).float() for one in reader.tensors}
        names = [name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")]
        pairs = {name: (tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]) for name in names}
    except (OSError, ValueError, KeyError, IndexError) as error:
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(f"{path}: damaged ({error}). Export the adapter again") from error
    return {name: LoraPair(a, b, (alpha or 1.0) / a.shape[0]) for name, (a, b) in pairs.items()}


def gguf_tensors(pairs: Mapping[str, LoraPair], base: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor, float]]:
    """GGUF name of a weight -> A (rank, in), B (out, rank) with its rows in llama.cpp's order, and scale."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = _architecture(base)
    (number,) = (key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(number, base.num_hidden_layers)
    heads = {"q_proj": base.num_attention_heads, "k_proj": base.num_key_value_heads}
    tensors: dict[str, tuple[torch.Tensor, torch.Tensor, float]] = {}
    for module, pair in pairs.items():
        name = names.get_name(f"{module}.weight", try_suffixes=(".weight",))
        if name is None:
            raise AdapterError(f"--as gguf: llama.cpp's {architecture} has no layer {module!r}. Use --as merged")
        ending = module.rpartition(".")[2]
        permuted = base.model_type in PERMUTED and ending in heads
        b = neighbours(pair.b, heads[ending]) if permuted else pair.b
        tensors[name] = (pair.a.float(), b.float(), pair.scale)
    return tensors


def neighbours(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows (heads * size, any) with the two halves of every head interleaved, as llama.cpp keeps q and k."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _architecture(base: Any) -> str:
    known = RENAMED | PERMUTED
    if base.model_type not in known:
        raise ModelError(
            f"--as gguf: model type {base.model_type!r} cannot be converted. All: {', '.join(sorted(known))}. "
            "Use --as merged and llama.cpp's own converter"
        )
    return known[base.model_type]
