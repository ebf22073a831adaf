"""Which settings are usual for each method; one outside is a warning that says the range and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from multitune.config.schema import RunConfig

Field = Literal["learning_rate", "batch_size", "epochs", "weight_decay", "rank", "temperature", "anneal_end"]
DEFAULT_LEARNING_RATE = {"lora": 2e-4, "full": 3e-5}


@dataclass(frozen=True, slots=True)
class _Range:
    """Usual values of one field, and what goes wrong outside them."""

    field: Field
    low: float
    high: float
    below: str
    above: str


_BATCH_SIZE = _Range("batch_size", 16, 64, "its gradient is noisy", "it leaves few steps in an epoch")
_EPOCHS = _Range("epochs", 3, 10, "most tasks are still improving there", "small tasks are learnt by heart")
# Mixtures of many sizes were trained with T from 1.4 (mBERT) to 3.3 (XLM-R, mT5); annealed ones end at an exponent of
# 0.2 (arXiv:1902.02671).
_MIXTURE = (
    _Range("temperature", 1.0, 5.0, "", "small tasks repeat more than they gain"),
    _Range("anneal_end", 0.0, 0.5, "", "small tasks stay rare to the end"),
)
# The usual guides for fine-tuning pretrained transformers (BERT, arXiv:1810.04805, appendix A.3, for full); low-rank
# updates start from zero and want about ten times the learning rate.
_RANGES = {
    "full": (
        _Range("learning_rate", 2e-5, 5e-5, "it learns too little", "it overwrites what the base knows"),
        _BATCH_SIZE,
        _EPOCHS,
        _Range("weight_decay", 0.01, 0.1, "it hardly restrains the weights", "it pulls the base's weights to zero"),
        *_MIXTURE,
    ),
    "lora": (  # its ranks are a rule of thumb
        _Range("learning_rate", 1e-4, 5e-4, "adapters want about ten times full tuning's", "adapters then diverge"),
        _BATCH_SIZE,
        _EPOCHS,
        _Range("weight_decay", 0.0, 0.1, "", "it holds the adapter near zero"),
        _Range("rank", 8, 64, "several tasks get little room", "it costs memory and seldom gains"),
        *_MIXTURE,
    ),
}


def learning_rate(config: RunConfig) -> float:
    """The peak learning rate: as given, or the method's default."""
    return config.train.learning_rate or DEFAULT_LEARNING_RATE[config.method]


def range_warnings(config: RunConfig) -> list[str]:
    """One line for each setting outside its usual range: the field, its value, the range and the reason."""
    warnings = [line for usual in _RANGES[config.method] for line in _outside(config, usual)]
    rank, alpha = config.lora.rank, config.lora.alpha
    if config.method == "lora" and alpha != 2 * rank:
        warnings.append(
            f"lora.alpha is {alpha:g}; usual for rank {rank} is {2 * rank}: "
            "learning rates are quoted for updates scaled by 2"
        )
    return warnings


def usual_range(config: RunConfig, field: Field) -> tuple[float, float] | None:
    """Lowest and highest usual value of a field under the run's method; None where the method has no such field."""
    return next(((usual.low, usual.high) for usual in _RANGES[config.method] if usual.field == field), None)


def _outside(config: RunConfig, usual: _Range) -> Iterator[str]:
    for place, value in _values(config, usual.field):
        if not usual.low <= value <= usual.high:
            reason = usual.below if value < usual.low else usual.above
            span = f"{usual.low:g} to {usual.high:g}"
            yield f"{place} is {value:g}; usual for {config.method} is {span}: {reason}"


def _values(config: RunConfig, field: Field) -> Iterator[tuple[str, float]]:
    """Places where the run sets a field, with their values; epochs only where no steps are set."""
    train = config.train
    if field == "learning_rate":
        rate = learning_rate(config)
        yield "train.learning_rate", rate
        for index, task in enumerate(config.tasks):
            if task.learning_rate_factor != 1.0:
                place = f"train.learning_rate times tasks[{index}].learning_rate_factor"
                yield place, rate * task.learning_rate_factor
    elif field == "rank":
        yield "lora.rank", config.lora.rank
    elif field in ("temperature", "anneal_end"):
        if config.mixture.schedule == {"anneal_end": "anneal"}.get(field, field):
            yield f"mixture.{field}", getattr(config.mixture, field)
    elif field != "epochs":
        yield f"train.{field}", getattr(train, field)
    else:
        if train.max_steps is None:
            yield "train.epochs", train.epochs
        for index, adapter in enumerate(config.adapters if isinstance(config.adapters, tuple) else ()):
            if not isinstance(adapter, str) and adapter.epochs is not None and adapter.steps is None:
                yield f"adapters[{index}].epochs", adapter.epochs
