"""Settings that trainers built on transformers share, as the sections of a run file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, get_args

from multitune.config.schema import RunConfig, TrainConfig
from multitune.config.source import SplitConfig
from multitune.conversion.given import Draft, Given
from multitune.core.errors import ConfigError

BITS: Mapping[float, str] = {4: "nf4", 8: "int8"}
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a tool does where its config says nothing."""

    learning_rate: float
    batch_size: int  # of a device
    epochs: float
    length: int  # tokens
    cuts: bool  # whether longer rows are cut rather than left out
    rank: int
    alpha: float  # 0: twice the rank
    checkpointing: bool  # of gradients


def convert_training(given: Given, draft: Draft, defaults: Defaults) -> None:
    """Length, optimizer, precision, seed and trackers.

    Raises:
        ConfigError: a value is no number.
    """
    micro = given.number("micro_batch_size", "per_device_train_batch_size", default=defaults.batch_size)
    batch = given.take("batch_size") or micro * given.number("gradient_accumulation_steps", default=1)
    length = int(given.number("sequence_len", "cutoff_len", "max_length", "max_seq_length", default=defaults.length))
    if defaults.cuts:
        draft.notes.append(f"rows longer than {length} tokens are left out and counted by `check`; there they are cut")
    train: dict[str, Any] = {
        "epochs": given.number("num_epochs", "num_train_epochs", default=defaults.epochs),
        "batch_size": batch,
        "max_length": length,
        "pack_tokens": max(length, int(TrainConfig.model_fields["pack_tokens"].default)),
        "learning_rate": given.number("learning_rate", default=defaults.learning_rate),
        "weight_decay": given.number("weight_decay", default=0.0),
        "max_grad_norm": given.number("max_grad_norm", default=1.0) or 1.0,
        "loss": "token",
    }
    steps = given.number("max_steps", default=0) if given.take("max_steps", default=-1) != -1 else 0
    if steps:
        train["max_steps"] = steps
    train["warmup"] = _warmup(given, draft, steps)
    off = given.take("disable_gradient_checkpointing")
    if given.take("gradient_checkpointing", default=defaults.checkpointing) and not off:
        train["gradient_checkpointing"] = True
    _convert_intervals(given, train)
    if patience := given.take("early_stopping_patience", "early_stopping_steps"):
        train["patience"] = patience
    _note_optimizer(given, draft)
    draft.fields["train"] = train
    draft.fields["seed"] = given.take("seed", default=42)
    draft.fields["dtype"] = _precision(given, draft)
    _convert_trackers(given, draft)


def _warmup(given: Given, draft: Draft, steps: float) -> float:
    """As a share of the steps."""
    share = given.number("warmup_ratio", default=0.0)
    count = given.number("warmup_steps", default=0.0)
    if count < 1:  # as newer trainers write a share
        return share or count
    if steps > count:
        return round(count / steps, 4)
    draft.notes.append(
        f"warmup_steps {count:g}: `train.warmup` is a share of the steps; set it once `check` shows them"
    )
    return float(TrainConfig.model_fields["warmup"].default)


def _convert_intervals(given: Given, train: dict[str, Any]) -> None:
    for key, strategy, ours in (
        ("eval_steps", ("eval_strategy", "evaluation_strategy"), "validate_every"),
        ("save_steps", ("save_strategy",), "checkpoint_every"),
    ):
        wanted = given.take(*strategy, default="steps")
        value = given.take(key)
        if wanted == "steps" and isinstance(value, int) and not isinstance(value, bool) and value > 0:
            train[ours] = value


def _note_optimizer(given: Given, draft: Draft) -> None:
    """The optimizer is AdamW, its rate falls in a cosine; other choices have no counterpart."""
    for keys, ours in ((("optimizer", "optim"), "adamw"), (("lr_scheduler", "lr_scheduler_type"), "cosine")):
        value = str(given.take(*keys, default=ours))
        if not value.startswith(ours):
            draft.notes.append(f"{keys[0]} {value}: no counterpart; AdamW with a warm-up and a decay to zero is used")


def _precision(given: Given, draft: Draft) -> str:
    if given.take("fp16", "float16"):
        draft.notes.append("fp16: no counterpart; bfloat16 or float32 is chosen by the device. Set `dtype` to decide")
        return "auto"
    wanted = given.take("bf16", "bfloat16", "pure_bf16")
    given.take("tf32", "float32")
    named = given.take("dtype", "torch_dtype")
    if named in get_args(RunConfig.model_fields["dtype"].annotation):
        return str(named)
    return "bfloat16" if wanted is True else "auto"


def _convert_trackers(given: Given, draft: Draft) -> None:
    wanted = given.texts("report_to")
    wanted += ["wandb"] if given.take("wandb_project") else []
    wanted += ["mlflow"] if given.take("mlflow_tracking_uri") else []
    wanted += ["tensorboard"] if given.take("use_tensorboard") else []
    named = [name for name in dict.fromkeys(wanted) if name not in ("none", "all")]
    known = [name for name in named if name in TRACKERS and find_spec(name)]
    if known:
        draft.fields["track"] = known
    for name in named:
        if name in TRACKERS and name not in known:
            draft.notes.append(f"{name}: not installed here. Run `pip install {name}`, and add `track: [{name}]`")
        elif name not in TRACKERS:
            draft.notes.append(f"{name}: no counterpart; `track` takes {', '.join(TRACKERS)}")


def convert_adapter(given: Given, draft: Draft, method: str, targets: Sequence[str], defaults: Defaults) -> None:
    """Method and shape of the adapters.

    Args:
        given: the config.
        draft: gets `method` and `lora`.
        method: lora or full.
        targets: names of layers, or one of all, attention and all-linear.
        defaults: of the tool.

    Raises:
        ConfigError: rank or alpha is no number.
    """
    rank = given.number("lora_r", "lora_rank", default=defaults.rank)
    alpha = given.number("lora_alpha", default=defaults.alpha or 2 * rank)
    dropout = given.number("lora_dropout", default=0.0)
    draft.fields["method"] = method
    _convert_bits(given, draft, method)
    if method == "full":
        return
    if patterns := [name for name in targets if not re.fullmatch(r"[\w.-]+", name)]:
        draft.notes.append(
            f"targets {', '.join(patterns)}: no counterpart, names of layers are wanted; here all linear"
        )
        targets = ["all"]
    words = {"all": "all", "all-linear": "all", "attention": "attention"}
    one = words.get(targets[0]) if len(targets) == 1 else None
    draft.fields["lora"] = {"rank": rank, "alpha": alpha, "targets": one or list(targets)}
    if dropout:
        draft.notes.append(
            f"lora_dropout {dropout:g}: no counterpart, adapters have no dropout; validation chooses the step "
            "that is kept"
        )


def _convert_bits(given: Given, draft: Draft, method: str) -> None:
    """The frozen base in 4 or 8 bits, however the tool says it."""
    four = given.take("load_in_4bit") or given.take("adapter") == "qlora"
    eight = given.take("load_in_8bit")
    bits = given.number("quantization_bit", default=4 if four else 8 if eight else 0)
    kind = str(given.take("quantization_type", "bnb_4bit_quant_type", default="nf4"))
    given.take("double_quantization", "use_bnb_nested_quant", "bnb_4bit_use_double_quant")  # it always is
    if not bits:
        return
    if method == "full" or bits not in BITS:
        why = "the whole model is trained" if method == "full" else "`quantization` is nf4 (4) or int8 (8)"
        draft.notes.append(f"{bits:g} bits: no counterpart, {why}; the base is held in `dtype`")
        return
    draft.fields["quantization"] = BITS[bits]
    if bits == 4 and kind != "nf4":
        draft.notes.append(f"{kind}: no counterpart, 4 bits are nf4")


def held_out(share: Any, draft: Draft, key: str) -> dict[str, float]:
    """`split` of every task; the test rows of the report come on top of what the tool holds out."""
    usual = {name: float(field.default) for name, field in SplitConfig.model_fields.items()}
    try:
        number = float(share or 0)
    except (TypeError, ValueError):
        raise ConfigError(f"{key} is {share!r}; it must be a share of the rows, such as 0.1. Correct it") from None
    if 0.0 < number < 1.0:
        draft.notes.append(
            f"{key} {number:g}: held out for validation; {usual['test']:g} more is held out to report on"
        )
        return {**usual, "validation": number}
    what = "nothing is held out there" if not number else f"{number:g} rows are held out there"
    draft.notes.append(
        f"{key}: {what}; here {usual['validation']:g} of the rows is held out to choose by and {usual['test']:g} to "
        "report. Set `split` to change that"
    )
    return usual
