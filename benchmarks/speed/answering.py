"""Speed of evaluation: label scoring against a generate loop and lm-evaluation-harness, and generation against PEFT's.

`make bench PART=answering DATA=folder`. All answer the same prompts with the same adapter on the same model.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch

from benchmarks.record import record
from benchmarks.speed.workloads import prepared
from multitune.core.records import Segments
from multitune.inference.generate import GenerateOptions, generate
from multitune.inference.labels import score_labels
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import save_adapter
from multitune.model.gguf import dequantized_folder
from multitune.training.prepare import PreparedRun

COMMAND = "make bench PART=answering DATA=folder"
ROWS = {"tweets": 96, "short_intents": 12}
TEXTS = {"word_problems": 24, "long_tables": 24}
NEW_TOKENS = 64


def main() -> None:
    """Measure each kind twice, in turn, and record the better time of each."""
    figures: dict[str, Any] = {name: choices(name, rows) for name, rows in ROWS.items()}
    figures["generation"] = {name: generation(name, rows) for name, rows in TEXTS.items()}
    print(json.dumps(figures, indent=2))
    record("answering", COMMAND, figures)


def choices(name: str, rows: int) -> dict[str, Any]:
    """Rows per second of four ways to pick a label, and how often two of them pick the same."""
    run = prepared(name, 1)
    bank, model = _models(run)
    task = next(iter(run.tasks.values()))
    chosen = [task.tokens["train"][i] for i in range(rows)]
    labels = task.data.task.labels or ()
    answers = run.chat.encode_answers(labels)
    picked: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}
    ways: dict[str, Callable[[Sequence[Segments]], list[int]]] = {
        "multitune": lambda some: score_labels(bank, "a", [s.prompt for s in some], answers, 2048).best.tolist(),
        "harness": lambda some: _harness(model, run, some, answers),
        "generate_loop": lambda some: _generate_loop(model, run, some, labels),
    }
    for way, answer in ways.items():
        some = chosen if way == "multitune" or name == "tweets" else chosen[: rows // 3]
        answer(some[:2])  # warm up
        times: list[float] = []
        for _ in range(2):
            started = time.monotonic()
            picked[way] = answer(some)
            times.append((time.monotonic() - started) / len(some))
        seconds[way] = min(times)
    both = list(zip(picked["multitune"], picked["harness"], strict=False))
    return {
        "labels": len(labels),
        "rows_per_second": {way: round(1 / value, 2) for way, value in seconds.items()},
        "times_harness": round(seconds["harness"] / seconds["multitune"], 1),
        "times_generate_loop": round(seconds["generate_loop"] / seconds["multitune"], 1),
        "same_choice_as_harness": round(float(np.mean([a == b for a, b in both])), 3),
    }


def _harness(model: Any, run: PreparedRun, rows: Sequence[Segments], labels: Sequence[np.ndarray]) -> list[int]:
    """lm-evaluation-harness: every label behind every prompt, in its own batching."""
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    harness = HFLM(pretrained=model, tokenizer=run.chat.tokenizer, batch_size=16, max_length=2048)
    requests = [(("", ""), row.prompt.tolist(), label.tolist()) for row in rows for label in labels]
    scores = harness._loglikelihood_tokens(requests, disable_tqdm=True)
    return np.array([score for score, _ in scores]).reshape(len(rows), len(labels)).argmax(1).tolist()


@torch.no_grad()
def _generate_loop(model: Any, run: PreparedRun, rows: Sequence[Segments], labels: Sequence[str]) -> list[int]:
    """One prompt after the other through `generate`, and the label that the text begins with."""
    longest = max(len(ids) for ids in run.chat.encode_answers(labels))
    found: list[int] = []
    for row in rows:
        ids = torch.from_numpy(row.prompt.astype(np.int64))[None]
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=longest, do_sample=False
        )
        text = str(run.chat.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()
        found.append(next((i for i, label in enumerate(labels) if text.startswith(label)), -1))
    return found


@torch.no_grad()
def generation(name: str, rows: int) -> dict[str, float]:
    """Rows answered per second: ours, and PEFT's model in transformers' batched generate."""
    run = prepared(name, 1)
    bank, model = _models(run)
    prompts = [run.tasks[name].tokens["train"][i].prompt for i in range(rows)]
    alone = [Segments(prompt, prompt[-1:]) for prompt in prompts]
    tokenizer: Any = run.chat.tokenizer
    texts = [tokenizer.decode(prompt) for prompt in prompts]
    tokenizer.padding_side = "left"

    def ours() -> None:
        generate(bank, "a", alone, run.chat, GenerateOptions(NEW_TOKENS, batch_size=8))

    def theirs() -> None:
        for start in range(0, rows, 8):
            batch = tokenizer(texts[start : start + 8], return_tensors="pt", padding=True, add_special_tokens=False)
            model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=list(run.chat.stop_ids))

    times: dict[str, list[float]] = {"multitune": [], "transformers": []}
    for _ in range(2):
        for way, answer in (("multitune", ours), ("transformers", theirs)):
            started = time.monotonic()
            answer()
            times[way].append(time.monotonic() - started)
    best = {way: min(values) for way, values in times.items()}
    return {
        **{f"{way}_rows_per_second": round(rows / value, 2) for way, value in best.items()},
        "times_transformers": round(best["transformers"] / best["multitune"], 2),
    }


def _models(run: PreparedRun) -> tuple[AdapterBank, Any]:
    """The same base and the same random adapter, in our layers and in PEFT's."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    bank = AdapterBank(load_backbone(run.ref, run.config.device, run.config.dtype))
    adapter = bank.create("a", run.config.lora.rank, run.config.lora.alpha, "all", run.config.seed)
    with torch.no_grad():
        adapter.weights.add_(torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(0)) * 1e-3)
    adapter.publish()
    folder = Path(mkdtemp(), "adapter")
    save_adapter(adapter, folder, bank, {})
    location = dequantized_folder(run.ref) if run.ref.gguf else run.ref.location
    base: Any = AutoModelForCausalLM.from_pretrained(location, dtype=bank.backbone.dtype)
    return bank, PeftModel.from_pretrained(base.to(bank.backbone.device), folder).eval()
