"""Frozen linear weights in 4 or 8 bits: kept as codes, and made whole in the compute type each time they are read."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, cast, final

import torch
from torch import nn
from torch.nn import functional as F

from multitune.core.errors import ModelError
from multitune.core.extras import missing_extra
from multitune.model.fingerprint import first_values

Quantization = Literal["nf4", "int8"]

# Bytes per weight: NF4 codes, an 8-bit scale for each 64 of them and a 32-bit one for each 256 of those; int8 codes,
# whose scales, one per output, are next to nothing.
BYTES: dict[Quantization, float] = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedWeight(ABC):
    """The weight of a frozen linear layer (out, in), stored in few bits."""

    shape: torch.Size
    dtype: torch.dtype  # in which it computes
    first_values: torch.Tensor  # of the weight as it was, which the fingerprint of the base reads

    @abstractmethod
    def whole(self) -> torch.Tensor:
        """(out, in) in the compute type: a new tensor each time, for one product, which nobody keeps."""

    @property
    @abstractmethod
    def stored(self) -> int:
        """Bytes that it takes."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Nf4Weight(QuantizedWeight):
    """NormalFloat codes of 4 bits, scaled by blocks of 64, with scales that are quantized once more.

    Source: Dettmers et al. 2023 (QLoRA), arXiv:2305.14314; computed by bitsandbytes.
    """

    codes: torch.Tensor  # uint8 (weight / 2, 1)
    state: Any  # bitsandbytes' QuantState: the scales, the table of values, shape and compute type

    @classmethod
    def of(cls, weight: torch.Tensor) -> "Nf4Weight":
        """The weight (out, in) in its own type, which stays that of the products."""
        codes, state = functional().quantize_4bit(weight.contiguous(), quant_type="nf4", compress_statistics=True)
        return cls(weight.shape, weight.dtype, first_values(weight), codes, state)

    def whole(self) -> torch.Tensor:
        """(out, in) in the compute type."""
        return functional().dequantize_4bit(self.codes, self.state)

    @property
    def stored(self) -> int:
        """Bytes of the codes and both levels of scales."""
        return self.codes.nbytes + self.state.absmax.nbytes + self.state.state2.absmax.nbytes


@final
@dataclass(frozen=True, slots=True, eq=False)
class Int8Weight(QuantizedWeight):
    """Codes of 8 bits, scaled by the largest weight of each output.

    The weight alone is quantized. LLM.int8() also rounds the inputs, which a row's neighbours would then move.
    """

    codes: torch.Tensor  # int8 (out, in)
    scales: torch.Tensor  # float32 (out, 1)

    @classmethod
    def of(cls, weight: torch.Tensor) -> "Int8Weight":
        """The weight (out, in) in its own type, which stays that of the products."""
        codes, largest, _ = functional().int8_vectorwise_quant(weight.to(torch.float16))
        return cls(weight.shape, weight.dtype, first_values(weight), codes, largest[:, None] / 127)

    def whole(self) -> torch.Tensor:
        """(out, in) in the compute type, rounded once."""
        return self.codes.to(self.dtype).mul_(self.scales)  # codes are exact in any type, products are float32

    @property
    def stored(self) -> int:
        """Bytes of the codes and scales."""
        return self.codes.nbytes + self.scales.nbytes


def quantize(weight: torch.Tensor, kind: Quantization) -> QuantizedWeight:
    """A weight (out, in) in 4 or 8 bits, on the device where it lies."""
    return Nf4Weight.of(weight) if kind == "nf4" else Int8Weight.of(weight)


def functional() -> Any:
    """The functions of bitsandbytes.

    Raises:
        MissingExtraError: it is not installed.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that are not called here
    try:
        from bitsandbytes import functional as found
    except ImportError as error:
        raise missing_extra("quantization", "quantize") from error
    return found


def require_unquantized(name: str, config: Any, quantization: Quantization | None) -> None:
    """Refuse a base that was saved quantized where a run quantizes it itself, or where its layers could not be read.

    Args:
        name: of the base.
        config: of transformers.
        quantization: of the run.

    Raises:
        ModelError: it was.
    """
    settings = getattr(config, "quantization_config", None)
    method = str(settings.get("quant_method", "by an unknown method")) if isinstance(settings, dict) else ""
    if method and (quantization or method == "bitsandbytes"):
        raise ModelError(
            f"base: {name!r} was saved quantized ({method}), and what its weights were is not known here. Give the "
            "base that it was made from, with `quantization: nf4` or `int8`"
        )


Weight = torch.Tensor | QuantizedWeight


def whole(weight: Weight) -> torch.Tensor:
    """The one place where a layer asks for its weight: as it is, or made whole for one product."""
    return weight.whole() if isinstance(weight, QuantizedWeight) else weight


def frozen_linear(x: torch.Tensor, weight: Weight, bias: torch.Tensor | None) -> torch.Tensor:
    """F.linear by a weight that is not trained; a quantized one is made whole again for the way back."""
    if isinstance(weight, QuantizedWeight) and torch.is_grad_enabled() and x.requires_grad:
        return cast(torch.Tensor, _FrozenLinear.apply(x, weight, bias))
    return F.linear(x, whole(weight), bias)


class _FrozenLinear(torch.autograd.Function):
    """Autograd would keep the whole weight of every layer from the forward to the backward pass; this keeps codes."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: QuantizedWeight, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.weight = weight
        return F.linear(x, weight.whole(), bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grads[0] @ ctx.weight.whole(), None, None


@final
class QuantizedLinear(nn.Module):
    """What nn.Linear is, with a quantized weight."""

    def __init__(self, weight: QuantizedWeight, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.out_features, self.in_features = weight.shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        return frozen_linear(x, self.weight, self.bias)


def quantized_weights(model: nn.Module) -> dict[str, QuantizedWeight]:
    """Quantized weights by the names that they have as parameters where they are whole."""
    found = ((name, getattr(module, "weight", None)) for name, module in model.named_modules())
    return {f"{name}.weight": weight for name, weight in found if isinstance(weight, QuantizedWeight)}
