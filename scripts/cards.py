"""Writes the table of bases and cards in docs/memory.md from the estimate: `make cards`."""

import re
import tempfile
from pathlib import Path
from typing import Any

import torch

from multitune.core.bases import BaseRef
from multitune.model.demand import Demand, PackSize
from multitune.model.memory import layers_to_recompute
from multitune.model.quantized import Quantization
from multitune.model.shape import ModelShape, model_shape

PAGE = Path(__file__).parent.parent / "docs" / "memory.md"
TABLE = re.compile(r"(<!-- cards -->\n).*(<!-- end of cards -->)", re.DOTALL)
CARDS = (8, 12, 16, 24, 48, 80)  # GiB
SHARE = 0.9  # of a card that training can have: CUDA itself and holes between tensors take the rest
RANK, MOST = 16, 64
KINDS: tuple[Quantization | None, ...] = (None, "int8", "nf4")
# One row of 2,048 tokens, the most that attention can lay out in such a pack, with 256 predicted tokens.
PACK = PackSize(tokens=2048, nodes=256, keys=2048 * (2048 + 256) // 2)


def llama(hidden: int, inner: int, layers: int, heads: int, key_heads: int, vocabulary: int, **more: Any) -> Any:
    """The config of a Llama with these sizes."""
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        vocab_size=vocabulary,
        **more,
    )


def qwen(hidden: int, inner: int, layers: int, heads: int, key_heads: int, vocabulary: int, **more: Any) -> Any:
    """The config of a Qwen2, whose projections have biases, with these sizes."""
    from transformers import Qwen2Config

    sizes = llama(hidden, inner, layers, heads, key_heads, vocabulary, **more).to_dict()
    return Qwen2Config(**{key: value for key, value in sizes.items() if key not in ("model_type", "architectures")})


def configs() -> dict[str, tuple[Any, int]]:
    """Name -> config, with the sizes that its makers publish, and the parameters that they count."""
    tied = {"tie_word_embeddings": True}
    return {
        "SmolLM2-135M": (llama(576, 1536, 30, 9, 3, 49152, **tied), 134_515_008),
        "SmolLM2-360M": (llama(960, 2560, 32, 15, 5, 49152, **tied), 361_821_120),
        "Qwen2.5-0.5B": (qwen(896, 4864, 24, 14, 2, 151936, **tied), 494_032_768),
        "Llama-3.2-1B": (llama(2048, 8192, 16, 32, 8, 128256, **tied), 1_235_814_400),
        "SmolLM2-1.7B": (llama(2048, 8192, 24, 32, 32, 49152, **tied), 1_711_376_384),
        "Llama-3.2-3B": (llama(3072, 8192, 28, 24, 8, 128256, **tied), 3_212_749_824),
        "Llama-3.1-8B": (llama(4096, 14336, 32, 32, 8, 128256), 8_030_261_248),
        "Qwen2.5-14B": (qwen(5120, 13824, 48, 40, 8, 152064), 14_770_033_664),
        "Qwen2.5-32B": (qwen(5120, 27648, 64, 40, 8, 152064), 32_763_876_352),
        "Llama-3.1-70B": (llama(8192, 28672, 80, 64, 8, 128256), 70_553_706_496),
    }


def shape_of(config: Any) -> ModelShape:
    """Sizes of a base that is nowhere but in its config."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        return model_shape(BaseRef("card", folder), "all")


def most_adapters(shape: ModelShape, kind: Quantization | None, card: int) -> int:
    """How many adapters train side by side on a card, with layers computed again as needed; at most `MOST`."""
    budget = SHARE * card * 2**30
    for count in range(MOST, 0, -1):
        demand = Demand((RANK,) * count, PACK, kind)
        if layers_to_recompute(shape, demand, torch.device("cuda"), torch.bfloat16, budget) is not None:
            return count
    return 0


def table() -> str:
    """A line for each base, a column for each card: adapters in bfloat16, int8 and nf4."""
    lines = [f"| base | {' | '.join(f'{card} GB' for card in CARDS)} |\n", "|---" * (len(CARDS) + 1) + "|\n"]
    for name, (config, _) in configs().items():
        shape = shape_of(config)
        cells = [" / ".join(_shown(most_adapters(shape, kind, card)) for kind in KINDS) for card in CARDS]
        lines.append(f"| {name} | {' | '.join(cells)} |\n")
    return "".join(lines)


def _shown(count: int) -> str:
    return f"{MOST}+" if count == MOST else str(count or "–")


def written() -> str:
    """docs/memory.md as it should be."""
    return TABLE.sub(lambda match: match[1] + table() + match[2], PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
