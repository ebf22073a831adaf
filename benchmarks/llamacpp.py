"""Our adapter in llama.cpp: logits of the same tokens there and here, on a base as it is and unpacked to float32.

`make bench PART=llamacpp` needs llama-cpp-python (`pip install llama-cpp-python`, which compiles for some minutes).
The adapter is random. The last row is a control: the file without llama.cpp's order of the rows of q and k.
"""

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize

from benchmarks.record import record
from multitune.core.bases import resolve_base
from multitune.data.tokenizer import load_tokenizer
from multitune.model import gguf_lora
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import read_pairs, save_adapter

COMMAND = "make bench PART=llamacpp"
TEXTS = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Shares of the bank fell by four percent after it cut its outlook for the year.",
    "def add(a, b):\n    return a + b\n\nprint(add(2, 3))",
)


def main() -> None:
    """Measure, print and record."""
    import llama_cpp  # pyright: ignore[reportMissingImports]

    ref = resolve_base("smollm2-135m")
    bank, tokenizer = AdapterBank(load_backbone(ref, "cpu", "float32")), load_tokenizer(ref)
    randomise(bank)
    rows = [tokenizer(text).input_ids for text in TEXTS]
    ours = {name: np.concatenate([here(bank, name, row) for row in rows]) for name in ("base", "a")}
    figures: dict[str, Any] = {"llama_cpp_python": llama_cpp.__version__, "tokens": len(ours["a"])}
    figures["here, adapter against base"] = agreement(ours["a"], ours["base"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        as_it_is, unpacked = Path(ref.location) / ref.gguf, folder / "float32.gguf"
        unpack(as_it_is, unpacked)
        save_adapter(bank["a"], folder / "a", bank, {})
        pairs, config = read_pairs(folder / "a"), bank.backbone.model.config
        gguf_lora.write_gguf_lora(pairs, config, folder / "a.gguf")
        with mock.patch.object(gguf_lora, "neighbours", lambda rows, heads: rows):
            gguf_lora.write_gguf_lora(pairs, config, folder / "unordered.gguf")
        for kind, base in (("Q4_1", as_it_is), ("float32", unpacked)):
            theirs = {"base": there(base, None, rows), "a": there(base, folder / "a.gguf", rows)}
            figures[f"base, {kind}"] = agreement(theirs["base"], ours["base"])
            figures[f"adapter, {kind}"] = agreement(theirs["a"], ours["a"])
            change = correlations(theirs["a"] - theirs["base"], ours["a"] - ours["base"])
            figures[f"change by the adapter, {kind}"] = {"mean_correlation": round(float(change.mean()), 6)}
        wrong = there(unpacked, folder / "unordered.gguf", rows)
        figures["control: rows in our order, float32"] = agreement(wrong, ours["a"])
    for what, value in figures.items():
        print(f"{what:40} {value}")
    record("llamacpp", COMMAND, figures)


def randomise(bank: AdapterBank) -> None:
    """Put an adapter 'a' into the bank that visibly changes the answers."""
    adapter = bank.create("a", rank=8, alpha=16.0, targets="all", seed=0)
    noise = torch.Generator().manual_seed(0)
    for slot in adapter.slots:
        b = slot.views(adapter.weights)[1]
        b.copy_(torch.randn(b.shape, generator=noise) * 0.05)
    adapter.publish()


def here(bank: AdapterBank, name: str, row: list[int]) -> np.ndarray:
    """Our logits (token, vocab)."""
    with torch.no_grad(), bank.use(name) as model:
        return model(input_ids=torch.tensor([row]), use_cache=False).logits[0].double().numpy()


def there(base: Path, adapter: Path | None, rows: list[list[int]]) -> np.ndarray:
    """llama.cpp's logits (token, vocab)."""
    from llama_cpp import GGML_TYPE_F32, Llama  # pyright: ignore[reportMissingImports]

    exact = {"type_k": GGML_TYPE_F32, "type_v": GGML_TYPE_F32}  # keys and values are kept in float16 otherwise
    lora = str(adapter) if adapter else None
    model = Llama(str(base), lora_path=lora, n_ctx=128, n_threads=2, logits_all=True, verbose=False, **exact)
    found: list[np.ndarray] = []
    for row in rows:
        model.reset()
        model.eval(row)
        found.append(np.array(model.scores[: len(row)], dtype=np.float64))
    return np.concatenate(found)


def correlations(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Per token, over the vocabulary."""
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(found, expected, strict=True)])


def agreement(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """How alike two sets of logits (token, vocab) are."""
    alike = correlations(found, expected)
    return {
        "same_top_token": round(float((found.argmax(1) == expected.argmax(1)).mean()), 3),
        "mean_correlation": round(float(alike.mean()), 6),
        "lowest_correlation": round(float(alike.min()), 6),
        "largest_difference": float(f"{np.abs(found - expected).max():.2g}"),
    }


def unpack(source: Path, target: Path) -> None:
    """The same GGUF model with every tensor in float32."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        value = 0 if name == "general.file_type" else field.contents()
        writer.add_key_value(name, value, kind, field.types[-1] if kind == GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
