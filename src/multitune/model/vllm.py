"""Whether vLLM serves an adapter folder, by its documented rules: what stands against it, and the rank it needs."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitune.core.errors import AdapterError
from multitune.model.files import PLAIN, PREFIX, WEIGHTS, layer_scale, read_config, read_settings

# What --max-lora-rank takes: docs.vllm.ai, API reference, vllm.config.lora.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
MERGE = "Export it with `--as merged`"

# Layers that may carry an adapter, by model type: docs.vllm.ai, supported models. Where vLLM packs q, k and v or gate
# and up into one layer, the names are those of the parts; Phi-3 keeps them packed itself.
_ENDS = {"embed_tokens", "lm_head"}
_USUAL = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
SERVED: dict[str, set[str]] = {
    **dict.fromkeys(("granite", "llama", "mistral"), _USUAL | _ENDS),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "olmo2", "qwen2", "qwen3", "smollm3"), _USUAL),
    "opt": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
    "phi3": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
}

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class VllmCheck:
    """The verdict on a folder."""

    max_lora_rank: int  # the smallest that serves it; 0 where none does
    problems: tuple[str, ...]  # each with its remedy; empty: vLLM loads it

    def __str__(self) -> str:
        if self.problems:
            return f"vLLM does not load it: {'; '.join(self.problems)}"
        return f"vLLM loads it with: --enable-lora --max-lora-rank {self.max_lora_rank}"


def check_vllm(folder: Path, base: Any) -> VllmCheck:
    """Check a PEFT folder by vLLM's rules; `base` is the transformers config of the model it is for."""
    try:
        config = read_settings(folder)
        shapes = _shapes(folder)
    except AdapterError as error:
        return VllmCheck(0, (str(error),))
    pairs, problems = _pairs(shapes)
    ranks = {module: parts["A"][0] for module, parts in pairs.items() if "A" in parts}
    rank = max(ranks.values(), default=0)
    problems += _settings(config) + _pickles(folder) + _layers(pairs, base)
    if not ranks:
        problems.append(f"{WEIGHTS} holds no LoRA weights. Save the adapter again")
    if rank > RANKS[-1]:
        problems.append(f"rank {rank}: vLLM serves {RANKS[-1]} at most. {MERGE}, or train with a lower lora.rank")
    if not problems:
        problems += _scales(folder, ranks)
    return VllmCheck(next((allowed for allowed in RANKS if rank <= allowed), 0), tuple(problems))


def _shapes(folder: Path) -> Shapes:
    from safetensors import SafetensorError, safe_open

    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"{folder}: no {WEIGHTS}. Save the adapter with safetensors")
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{folder / WEIGHTS}: damaged ({error}). Save the adapter again") from error


def _pairs(shapes: Shapes) -> tuple[dict[str, dict[str, tuple[int, ...]]], list[str]]:
    """Module name -> shapes of its A and B, and what is neither."""
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    extra: list[str] = []
    for key, shape in shapes.items():
        match = re.fullmatch(re.escape(PREFIX) + r"(.+)\.lora_(?:([AB])\.weight|embedding_([AB]))", key)
        if match is None or len(shape) != 2:
            extra.append(f"{key!r} is not the lora_A or lora_B of a layer. Save the adapter without it, or merge it")
        else:
            pairs.setdefault(match[1], {})[match[2] or match[3]] = shape
    halves = [f"{module} lacks lora_A or lora_B. Save the adapter again" for module, p in pairs.items() if len(p) < 2]
    return pairs, extra + halves


def _settings(config: Mapping[str, Any]) -> list[str]:
    plain = {"peft_type": ("LORA",), **PLAIN}
    problems = [
        f"{key} is {config[key]!r}, but vLLM serves plain LoRA ({key}: {values[0]!r}). {MERGE}"
        for key, values in plain.items()
        if key in config and config[key] not in values
    ]
    missing = [key for key in ("lora_alpha", "target_modules") if not config.get(key)]
    if type(config.get("r")) is not int or config["r"] < 1:
        missing.append("r")
    return problems + [f"adapter_config.json does not say {key}. Save the adapter again" for key in missing]


def _pickles(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pkl", ".pickle"})
    return [f"{name} is a pickle, which could run code. Delete it; {WEIGHTS} is enough" for name in names]


def _layers(pairs: Mapping[str, Mapping[str, tuple[int, ...]]], base: Any) -> list[str]:
    served = SERVED.get(base.model_type)
    if served is None:
        return [f"model type {base.model_type!r} is not known to take adapters there. {MERGE}"]
    unexpected = sorted({module.rpartition(".")[2] for module in pairs} - served)
    problems = [
        f"layer {name!r} takes no adapter there (those that do: {', '.join(sorted(served))}). {MERGE}"
        for name in unexpected
    ]
    for module, parts in pairs.items():
        name = module.rpartition(".")[2]
        words = parts.get("A", (0,))[-1] if name == "embed_tokens" else parts.get("B", (0,))[0]
        if name in _ENDS and words != base.vocab_size:
            problems.append(f"{module} has {words} words, the base {base.vocab_size}. Train without new tokens")
    return problems


def _scales(folder: Path, ranks: Mapping[str, int]) -> list[str]:
    """Releases that do not read the patterns load them all the same, and scale every layer by lora_alpha / r."""
    try:
        config = read_config(folder)
    except AdapterError as error:
        return [str(error)]
    plain = layer_scale({**config, "alpha_pattern": None}, "", config["r"])
    for module, rank in ranks.items():
        scale = layer_scale(config, module, rank)
        if not math.isclose(scale, plain, rel_tol=1e-6):
            return [
                f"rank_pattern or alpha_pattern: {module} is scaled by {scale:g}, but vLLM releases that ignore the "
                f"patterns scale it by {plain:g}. {MERGE}"
            ]
    return []
