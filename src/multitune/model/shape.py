"""Sizes of a base from its config alone, without a weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from multitune.core.bases import BaseRef
from multitune.core.errors import ModelError
from multitune.model.gguf import base_config, no_config
from multitune.model.quantized import Quantization, require_unquantized
from multitune.model.targets import linear_layers, select_targets


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a base, and of an adapter on it."""

    parameters: int  # tied weights count once
    rank_parameters: int  # of an adapter, per unit of its rank
    adapted: int  # linear layers that an adapter acts on
    linear_weights: int  # weights that every token is multiplied with, the output embedding left out
    linear_widths: int  # inputs and outputs of all linear layers, added up
    widest: tuple[int, int]  # (in, out) of the largest linear layer
    layers: int
    hidden: int
    heads: int  # of queries; 0 for a model without attention
    vocabulary: int


def model_shape(ref: BaseRef, targets: str | Sequence[str], quantization: Quantization | None = None) -> ModelShape:
    """Sizes of a base from its config alone: the model is built without memory, on torch's meta device.

    Args:
        ref: the base.
        targets: layers that adapters act on, as `lora.targets` says them.
        quantization: of the run.

    Raises:
        ModelError: no config of a causal language model, one that was saved quantized, or `lora.targets` names no
            layer of it.
    """
    model = _empty_model(ref)
    require_unquantized(ref.name, model.config, quantization)
    if not linear_layers(model):
        raise ModelError(
            f"base: {ref.name!r} ({type(model).__name__}) has no linear layers to adapt. Use another base"
        )
    return shape_of(model, targets)


def shape_of(model: Any, targets: str | Sequence[str]) -> ModelShape:
    """Sizes of a model that is there, with or without its weights.

    Raises:
        ModelError: `targets` names no layer of it.
    """
    linears = linear_layers(model)
    shapes = {name: (linear.in_features, linear.out_features) for name, linear in linears.items()}
    adapted = select_targets(linears, targets)
    config = model.config.get_text_config()
    return ModelShape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        rank_parameters=sum(sum(shapes[module]) for module in adapted),
        adapted=len(adapted),
        linear_weights=sum(inputs * outputs for inputs, outputs in shapes.values()),
        linear_widths=sum(inputs + outputs for inputs, outputs in shapes.values()),
        widest=max(shapes.values(), key=lambda shape: shape[0] * shape[1]),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=getattr(config, "num_attention_heads", 0),
        vocabulary=config.vocab_size,
    )


def _empty_model(ref: BaseRef) -> Any:
    from transformers import AutoModelForCausalLM

    config = base_config(ref)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise no_config(ref, error) from error
