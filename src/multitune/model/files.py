"""Adapters to and from the PEFT folder format, so that whatever we train loads in PEFT and vLLM, and back."""

import json
import math
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from multitune.core.errors import AdapterError
from multitune.core.files import json_text, write_folder
from multitune.core.seals import CHANGED, load_tensors, seal_of, unsealed
from multitune.core.untrusted import bound, load_json, raised_by, within_seconds
from multitune.model.backbone import Backbone
from multitune.model.bank import Adapter, AdapterBank, Slot, lay_out

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "multitune.json"
PREFIX = "base_model.model."

# Settings of PEFT that change what the weights mean, with the values that leave plain LoRA plain.
PLAIN: dict[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "fan_in_fan_out": (False, None),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "use_qalora": (False, None),
    "lora_bias": (False, None),
    "alora_invocation_tokens": (None, []),
    "exclude_modules": (None, []),
    "use_bdlora": (None,),
    "kasa_config": (None,),
    # The others subtract the first A and B from the base's own weights.
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
}


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """What multitune knows about an adapter beyond PEFT's format: the base it belongs to and what it learned from."""

    base: str
    fingerprint: str
    spec: Mapping[str, Any]  # its settings, and the step that it is of
    settings: str = ""  # seal of its adapter_config.json, but for the base's name there; empty in older ones


@dataclass(frozen=True, slots=True)
class LoraPair:
    """What an adapter adds to one layer: scale * b @ a."""

    a: torch.Tensor  # (rank, in)
    b: torch.Tensor  # (out, rank)
    scale: float


def save_adapter(adapter: Adapter, folder: Path, bank: AdapterBank, spec: Mapping[str, Any]) -> None:
    """Write an adapter as a PEFT folder, atomically.

    Raises:
        StorageError: the disk is full or not writable; a folder that was there before stays as it was.
    """
    tensors: dict[str, torch.Tensor] = {}
    for module, (a, b) in adapter.tensors().items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = a.detach().to("cpu").contiguous()
        tensors[f"{PREFIX}{module}.lora_B.weight"] = b.detach().to("cpu").contiguous()
    base = bank.backbone.ref.name
    config = _peft_config(adapter, bank, base)
    card = AdapterCard(base, bank.backbone.fingerprint, dict(spec), _settings_seal(config))
    texts = {CONFIG: json.dumps(config, indent=2) + "\n", CARD: json_text(asdict(card))}
    write_folder(folder, texts, {WEIGHTS: tensors})


def _peft_config(adapter: Adapter, bank: AdapterBank, base: str) -> dict[str, Any]:
    """The adapter_config.json that makes PEFT and vLLM build the same layers."""
    ranks = {slot.rank for slot in adapter.slots}
    rank = max(ranks)
    alphas = {slot.module: slot.scale * slot.rank for slot in adapter.slots}
    alpha = alphas[adapter.slots[0].module]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _whole(alpha),
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "rank_pattern": {s.module: s.rank for s in adapter.slots if s.rank != rank},
        "alpha_pattern": {m: _whole(value) for m, value in alphas.items() if value != alpha},
        "target_modules": _target_names([s.module for s in adapter.slots], list(bank.linear_names)),
    }


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _target_names(modules: list[str], linears: list[str]) -> list[str]:
    """Short endings where they mean just these modules, else the full names."""
    endings = {name.rpartition(".")[2] for name in modules}
    covered = {name for name in linears if name.rpartition(".")[2] in endings}
    return sorted(endings if covered == set(modules) else modules)


def load_adapter(
    bank: AdapterBank, folder: Path, name: str, keep: Literal["compute", "float32"] = "compute"
) -> Adapter:
    """Read a plain LoRA that multitune or PEFT saved, and put it into the bank under `name`.

    Args:
        bank: of the base that it was trained on.
        folder: with its files.
        name: in the bank.
        keep: `compute` rounds to the backbone's type, which is all that answering needs; `float32` keeps a master
            beside that, for what is written from it.

    Raises:
        AdapterError: damaged, unsafe, not plain LoRA, or made for another base. The bank is left as it was.
    """
    require_base(bank.backbone, folder)
    pairs = read_pairs(folder)
    known = set(bank.linear_names)
    for module in pairs:
        if module not in known:
            raise AdapterError(
                f"{folder}/{WEIGHTS}: this base has no linear layer {module!r}; it was made for another"
            )
    ordered = {module: pairs[module] for module in bank.linear_names if module in pairs}
    shapes = {module: (pair.a.shape[1], pair.b.shape[0]) for module, pair in ordered.items()}
    slots = lay_out(shapes, {module: (pair.a.shape[0], pair.scale) for module, pair in ordered.items()})
    dtype = bank.backbone.dtype if keep == "compute" else torch.float32
    return bank.attach(name, slots, _flatten(slots, ordered, dtype))


def require_base(backbone: Backbone, folder: Path) -> None:
    """Refuse a base that an adapter was not trained on, where multitune wrote beside the adapter which one that is.

    Raises:
        AdapterError: it is another.
    """
    card = read_card(folder)
    if card is not None and card.fingerprint != backbone.fingerprint:
        raise AdapterError(
            f"{folder}: this adapter was trained on {card.base!r} (fingerprint {card.fingerprint}), but the base here "
            f"is {backbone.ref.name!r} (fingerprint {backbone.fingerprint}). Load it on its own base"
        )


def read_weights(bank: AdapterBank, folder: Path, name: str) -> None:
    """Put weights that were saved from an adapter of the bank back into it; its parents stay as they are.

    Raises:
        AdapterError: the folder is damaged.
    """
    adapter, pairs = bank[name], read_pairs(folder)
    alone = len(adapter.stack) == 1
    for slot in adapter.slots:
        a, b = slot.views(adapter.weights)
        pair = pairs[slot.module]
        a.copy_(pair.a[-slot.rank :])  # parents' ranks come first, and give the scale
        b.copy_(pair.b if alone else pair.b[:, -slot.rank :] * (pair.scale / slot.scale))
    adapter.publish()


def _flatten(
    slots: tuple[Slot, ...], pairs: Mapping[str, LoraPair], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    weights = torch.empty(slots[-1].start + slots[-1].size, dtype=dtype)
    for slot in slots:
        a, b = slot.views(weights)
        a.copy_(pairs[slot.module].a)
        b.copy_(pairs[slot.module].b)
    return weights


def read_settings(folder: Path) -> dict[str, Any]:
    """The adapter_config.json as it stands.

    Raises:
        AdapterError: not there, or not JSON with settings by name.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise AdapterError(f"{folder}: no {CONFIG}; this is not an adapter folder")
    try:
        config = load_json(path)
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path}: not valid JSON ({error}). Save the adapter again") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{path}: holds a {type(config).__name__}, not settings by name. Save the adapter again")
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """The checked adapter_config.json of a plain LoRA.

    Raises:
        AdapterError: not there, not JSON, or a kind of adapter that is more than plain LoRA.
    """
    path, config = folder / CONFIG, read_settings(folder)
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{path}: peft_type is {config.get('peft_type')!r}; only LORA can be read")
    for key, plain in PLAIN.items():
        if key in config and config[key] not in plain:
            raise AdapterError(f"{path}: {key} is {config[key]!r}; only plain LoRA ({key}: {plain[0]!r}) can be read")
    _check_alphas(path, config)
    card = read_card(folder)
    if card is not None and card.settings and card.settings != _settings_seal(config):
        raise AdapterError(f"{path}: {CHANGED}. Undo that, or delete {CARD} beside it if it was on purpose")
    return config


def _settings_seal(config: Mapping[str, Any]) -> str:
    """Over all but the name of the base, which is another one where the adapter goes."""
    return seal_of({key: value for key, value in config.items() if key != "base_model_name_or_path"})


def _check_alphas(path: Path, config: Mapping[str, Any]) -> None:
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise AdapterError(f"{path}: alpha_pattern is {patterns!r}, not alphas by module. Save the adapter again")
    for key, alpha in {"lora_alpha": config.get("lora_alpha"), **patterns}.items():
        if not isinstance(alpha, int | float) or not abs(alpha) <= sys.float_info.max:  # NaN is not, either
            raise AdapterError(
                f"{path}: the alpha of {key} is {str(alpha)[:40]}, not a number. Save the adapter again"
            )
        try:
            re.compile(key)
        except (re.error, OverflowError, RecursionError) as error:
            raise AdapterError(f"{path}: alpha_pattern {key[:40]!r} is no regular expression ({error})") from error


def read_card(folder: Path) -> AdapterCard | None:
    """What multitune wrote beside the adapter, or None for a folder that PEFT saved."""
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        card = unsealed(load_json(path))
        spec = card["spec"] if "spec" in card else card["recipe"]  # as older versions named it
        return AdapterCard(card["base"], card["fingerprint"], spec, card.get("settings", ""))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"{path}: damaged ({error}). Save the adapter again, or delete this file") from error


def read_pairs(folder: Path) -> dict[str, LoraPair]:
    """Module name -> its pair, from a folder with plain LoRA, without the base.

    Raises:
        AdapterError: damaged, unsafe, or more than plain LoRA.
    """
    config = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        unsafe = [p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pkl", ".pickle"}]
        found = f"; {unsafe[0]} is a pickle, which could run code" if unsafe else ""
        raise AdapterError(f"{folder}: no {WEIGHTS}{found}. Save the adapter with safetensors")
    try:
        tensors = load_tensors(path)
    except (ValueError, OSError) as error:
        raise AdapterError(f"{path}: damaged ({error}). Save the adapter again") from error
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(re.escape(PREFIX) + r"(.+)\.lora_([AB])(?:\.default)?\.weight", key)
        if match is None:
            raise AdapterError(f"{path}: {key!r} is not a plain LoRA weight of a linear layer")
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise AdapterError(f"{path}: {key!r} holds NaN, infinity or whole numbers; the adapter is broken")
        pairs.setdefault(match[1], {})[match[2]] = tensor
    for module, pair in pairs.items():
        whole = pair.keys() == {"A", "B"} and all(tensor.ndim == 2 for tensor in pair.values())
        if not whole or not 0 < pair["A"].shape[0] == pair["B"].shape[1]:
            raise AdapterError(f"{path}: {module} lacks a matching lora_A and lora_B")
    if not pairs:
        raise AdapterError(f"{path}: holds no LoRA weights")
    return {m: LoraPair(p["A"], p["B"], layer_scale(config, m, p["A"].shape[0])) for m, p in pairs.items()}


def distance(found: Mapping[str, LoraPair], expected: Mapping[str, LoraPair]) -> float:
    """How far apart what two adapters add is: the Frobenius norm of the difference, relative to `expected`.

    By products of rank by rank, so that no layer's full matrix is laid out.
    """
    apart = size = 0.0
    for module in {**expected, **found}:
        parts = [(pairs.get(module), sign) for pairs, sign in ((expected, 1.0), (found, -1.0))]
        both = [(p.a.double(), p.b.double() * (p.scale * sign)) for p, sign in parts if p is not None]
        apart += _square_norm(torch.cat([a for a, _ in both]), torch.cat([b for _, b in both], dim=1))
        if module in expected:
            size += _square_norm(*both[0])
    return math.sqrt(max(apart, 0.0) / size) if size else math.inf


def _square_norm(a: torch.Tensor, b: torch.Tensor) -> float:
    """Squared Frobenius norm of b @ a."""
    return float(((b.T @ b) * (a @ a.T)).sum())


def layer_scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA (arXiv:2312.03732)."""
    alpha, patterns = config["lora_alpha"], config.get("alpha_pattern") or {}
    try:
        with within_seconds(bound("PATTERN_SECONDS")) if patterns else nullcontext():
            named = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
            alpha = next(named, alpha)
    except TimeoutError as error:
        raise AdapterError(
            f"{CONFIG}: the regular expressions of alpha_pattern {error}. Name modules in full; or "
            f"{raised_by('PATTERN_SECONDS')}"
        ) from error
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def merge_into_base(bank: AdapterBank, name: str, folder: Path, tokenizer: Any) -> None:
    """Write base + adapter as one ordinary model folder; the bank's own weights are left as they were.

    Raises:
        StorageError: the disk is full or not writable.
    """
    model = bank.backbone.model
    state = {key: value.detach().to("cpu") for key, value in model.state_dict().items()}
    if name != "base":
        for slot in bank[name].slots:
            a, b = slot.views(bank[name].weights)
            key = f"{slot.module}.weight"
            merged = state[key].float() + slot.scale * (b.cpu().float() @ a.cpu().float())
            state[key] = merged.to(state[key].dtype)
    write_folder(folder, {}, {}, save=lambda part: _save_model(model, state, tokenizer, part))


def _save_model(model: Any, state: Mapping[str, torch.Tensor], tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder, state_dict=dict(state))
    tokenizer.save_pretrained(folder)
