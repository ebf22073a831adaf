"""Bases that a proposal can name: open models of all sizes, and which of them fit into a memory."""

from collections.abc import Sequence
from dataclasses import dataclass

GIB = 1 << 30
DEFAULT = "smollm2-135m"


@dataclass(frozen=True, slots=True)
class OpenBase:
    """A base on the hub."""

    hub: str
    billions: float  # parameters


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a run has to itself."""

    accelerator: bool
    memory_bytes: int  # of the accelerator, else of the machine

    @property
    def line(self) -> str:
        """In words."""
        return f"{'an accelerator with' if self.accelerator else 'a CPU with'} {self.memory_bytes / GIB:.0f} GiB"


BASES = (
    OpenBase("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36),
    OpenBase("Qwen/Qwen2.5-0.5B-Instruct", 0.49),
    OpenBase("Qwen/Qwen2.5-1.5B-Instruct", 1.54),
    OpenBase("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.71),
    OpenBase("Qwen/Qwen2.5-3B-Instruct", 3.09),
    OpenBase("mistralai/Mistral-7B-Instruct-v0.3", 7.25),
    OpenBase("Qwen/Qwen2.5-7B-Instruct", 7.62),
    OpenBase("meta-llama/Llama-3.1-8B-Instruct", 8.03),
    OpenBase("Qwen/Qwen2.5-14B-Instruct", 14.77),
)
ACTIVATIONS = 0.3  # of the weights' bytes: adapters, their optimizer and the activations of a pack
PROCESS = 2 * GIB  # Python, torch, and the logits of a large vocabulary
SLOW = 2.0  # billions of parameters that a CPU takes days for


def fitting(hardware: Hardware) -> Sequence[OpenBase]:
    """Bases that fit, the smallest first; `check` measures the one that is chosen."""
    bytes_each = 2 if hardware.accelerator else 4
    return [
        base
        for base in BASES
        if base.billions * 1e9 * bytes_each * (1 + ACTIVATIONS) + PROCESS <= hardware.memory_bytes
        and (hardware.accelerator or base.billions <= SLOW)
    ]
