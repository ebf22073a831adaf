"""Which layers of a base an adapter can act on, and which of them a run file means."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from multitune.core.errors import ModelError, suggest
from multitune.model.quantized import QuantizedLinear

FrozenLinear = nn.Linear | QuantizedLinear

# With fast kernels these read the weights of out_proj and dt_proj past the layer, so that an adapter there could do
# nothing. Without the kernels both layers work, so no probe would find them; PEFT refuses the same model types.
FUSED = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")


def linear_layers(model: Any) -> dict[str, FrozenLinear]:
    """Every plain linear layer, quantized or not, that an adapter can act on, by its name in the model."""
    head = model.get_output_embeddings()
    unread = ("out_proj", "dt_proj") if model.config.model_type in FUSED else ()
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) in (nn.Linear, QuantizedLinear) and module is not head and not name.endswith(unread)
    }


def select_targets(linears: Mapping[str, FrozenLinear], targets: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the layers that `targets` means: all, attention, or endings of names.

    Raises:
        ModelError: nothing matches; the message lists the endings there are.
    """
    endings = sorted({name.rpartition(".")[2] for name in linears})
    if not linears:
        raise ModelError(
            "lora: this base has no plain linear layers to adapt (GPT-2 writes its own kind). "
            "Give another base, or train the whole model with `method: full`"
        )
    if targets == "all":
        return tuple(linears)
    if targets == "attention":
        chosen = tuple(name for name in linears if ".self_attn." in name or ".attn." in name or ".attention." in name)
    else:
        unknown = [t for t in targets if not any(n == t or n.endswith("." + t) for n in linears)]
        if unknown:
            raise ModelError(f"lora.targets: no linear layer is called {unknown[0]!r}. {suggest(unknown[0], endings)}")
        chosen = tuple(n for n in linears if any(n == t or n.endswith("." + t) for t in targets))
    if not chosen:
        raise ModelError(f"lora.targets is {targets!r}, but no layer of this base matches. All: {', '.join(endings)}")
    return chosen
