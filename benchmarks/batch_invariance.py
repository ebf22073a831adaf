"""Whether a row's answer and loss move with the rows that are evaluated beside it, and what it costs that they do not.

`make bench PART=batch_invariance`: the demo's four tasks under a random adapter, in the compute type of this machine
and in float32. "Before" is the arithmetic of training, whose sums follow the pack, on the same rows.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import record
from multitune.config.load import load_config
from multitune.core.records import Segments
from multitune.data.task_input import TaskInput
from multitune.inference.generate import GenerateOptions, generate
from multitune.inference.labels import score_labels
from multitune.inference.likelihood import row_losses
from multitune.inference.predict import longest_answer
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.device import pick_dtype
from multitune.training.prepare import PreparedRun, prepare_run

COMMAND = "make bench PART=batch_invariance"
DEMO = Path(__file__).parent.parent / "examples" / "finance" / "demo.yaml"
ROWS = {"tweets": 40, "intents": 6, "entities": 16, "reports": 8}
WAYS = ((32, 2048), (7, 2048), (1, 700))  # (batch_size, pack_tokens), the rows in another order each time
ROUNDS = 2


def main() -> None:
    """Measure, print and record."""
    run = prepare_run(load_config(DEMO))
    native = str(pick_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    figures: dict[str, Any] = {}
    for dtype in dict.fromkeys((native, "float32")):
        bank = _bank(run, dtype)
        answers = {name: _answers(bank, run, run.tasks[name], rows) for name, rows in ROWS.items()}
        figures[dtype] = {"answers": answers, "labels_before": _before(bank, run), "read": _reading(bank, run)}
    print(json.dumps(figures, indent=2))
    record("batch_invariance", COMMAND, figures)


def _bank(run: PreparedRun, dtype: Any) -> AdapterBank:
    bank = AdapterBank(load_backbone(run.ref, "cpu", dtype))
    adapter = bank.create("a", run.config.lora.rank, run.config.lora.alpha, "all", run.config.seed)
    adapter.weights.add_(torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(0)) * 1e-3)
    adapter.publish()
    return bank


def _answers(bank: AdapterBank, run: PreparedRun, task: TaskInput, count: int) -> dict[str, int]:
    """Rows whose answer, or any of its numbers, differs between the ways."""
    rows = [task.tokens["test"][i] for i in range(min(count, len(task.tokens["test"])))]
    found = [_one_way(bank, run, task, rows, way) for way in WAYS]
    pairs = [(row, other) for ways in found[1:] for row, other in zip(found[0], ways, strict=True)]
    return {
        "rows": len(pairs),
        "other_answer": sum(row[0] != other[0] for row, other in pairs),
        "other_number": sum(row[1] != other[1] for row, other in pairs),
    }


def _one_way(
    bank: AdapterBank, run: PreparedRun, task: TaskInput, rows: Sequence[Segments], way: tuple[int, int]
) -> list[tuple[Any, Any]]:
    """(answer, its loss or the scores of all labels) of each row, computed in an order of their own."""
    batch_size, pack_tokens = way
    order = np.random.default_rng(way).permutation(len(rows))
    mixed = [rows[i] for i in order]
    if task.data.task.config.kind == "classify":
        labels = run.chat.encode_answers(task.data.task.labels)
        scores = score_labels(bank, "a", [row.prompt for row in mixed], labels, pack_tokens)
        pairs = list(zip(scores.best.tolist(), scores.log_likelihood.tolist(), strict=True))
    else:
        options = GenerateOptions(longest_answer(task), batch_size, pack_tokens)
        generated = generate(bank, "a", mixed, run.chat, options)
        texts, losses = generated.texts, generated.losses
        pairs = list(zip(texts, losses.tolist(), strict=True))
    return [pairs[place] for place in np.argsort(order)]


def _before(bank: AdapterBank, run: PreparedRun) -> dict[str, float]:
    """The labels of the tweets by the sums of training, in two packings."""
    task = run.tasks["tweets"]
    labels = run.chat.encode_answers(task.data.task.labels)
    rows = [Segments(task.tokens["test"][i].prompt, label) for i in range(ROWS["tweets"]) for label in labels]
    scores = [
        row_losses(bank, "a", rows, pack_tokens, batch_invariant=False).reshape(-1, len(labels))
        * [-len(label) for label in labels]
        for pack_tokens in (2048, 700)
    ]
    margins = np.sort(scores[0])[:, -1] - np.sort(scores[0])[:, -2]
    noise = float(np.abs(scores[0] - scores[1]).max())
    return {
        "rows": len(margins),
        "other_answer": int((scores[0].argmax(1) != scores[1].argmax(1)).sum()),
        "other_number": int((scores[0] != scores[1]).any(1).sum()),
        "largest_difference_nats": round(noise, 6),
        "margins_below_twice_that": round(float((margins < 2 * noise).mean()), 3),
    }


def _reading(bank: AdapterBank, run: PreparedRun) -> dict[str, float]:
    """CPU seconds to read each task's rows, the fastest of ROUNDS: with the sums of training, and with these."""
    seconds: dict[str, float] = {}
    for name, count in ROWS.items():
        rows = [run.tasks[name].tokens["test"][i] for i in range(count)]
        if name in ("tweets", "intents"):
            labels = run.chat.encode_answers(run.tasks[name].data.task.labels)
            rows = [Segments(row.prompt, label) for row in rows for label in labels]

        def read(invariant: bool, rows: Sequence[Segments] = rows) -> None:
            row_losses(bank, "a", rows, 2048, batch_invariant=invariant)

        times = [(_timed(read, False), _timed(read, True)) for _ in range(ROUNDS)]
        before, after = (min(column) for column in zip(*times, strict=True))
        seconds |= {
            f"{name}_before": round(before, 2),
            f"{name}_after": round(after, 2),
            f"{name}_ratio": round(after / before, 2),
        }
    return seconds


def _timed(read: Callable[[bool], None], invariant: bool) -> float:
    started = time.process_time()
    read(invariant)
    return time.process_time() - started


if __name__ == "__main__":
    main()
