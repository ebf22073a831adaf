"""What routing adds to the time to first token: features and decision against prefill and one token.

`make bench PART=first_token`: the demo's tweets (short) and annual reports (long), one request at a time, with the
adapter in place. Measured in turn, so that a busy moment meets both.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.many_adapters import DEMO
from benchmarks.record import record
from multitune.config.load import load_config
from multitune.deployment.router_report import FITTED_ON, task_texts
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.routing.features import open_features
from multitune.routing.router import RouterRows, fit_router, vectors
from multitune.training.prepare import PreparedRun, prepare_run

COMMAND = "make bench PART=first_token"
TASKS = ("tweets", "reports")
ROUNDS = 20
SMALL = tuple(f"tasks.{task}.limit={{train: 200, validation: 50, test: {ROUNDS}}}" for task in TASKS)


def main() -> None:
    """Fit a router of the demo's tasks, and time single requests."""
    prepared = prepare_run(load_config(DEMO, SMALL))
    bank = AdapterBank(load_backbone(prepared.ref, "cpu", prepared.config.dtype))
    lora = prepared.config.lora
    bank.create("adapter", lora.rank, lora.alpha, lora.targets, prepared.config.seed)
    features = open_features("embedding", bank.backbone, prepared.chat.tokenizer)
    names = [task.name for task in prepared.config.tasks]
    train, held = (
        vectors(features, {name: task_texts(prepared, name, split) for name in names}) for split in FITTED_ON
    )
    general = {"dolly": features.of(task_texts(prepared, "dolly", "train")["prompt"])}
    router = fit_router("discriminant", features.key, RouterRows(train, held, general))
    table = dict.fromkeys(names, "adapter")
    router.decide(features.of(["warm up"]), table)  # thresholds are found once

    figures: dict[str, Any] = {"threads": torch.get_num_threads(), "dtype": str(bank.backbone.dtype)}
    for task in TASKS:
        texts = task_texts(prepared, task, "test")["prompt"][:ROUNDS]
        figures[task] = one_task(prepared, bank, texts, lambda text: router.decide(features.of([text]), table))
    print(json.dumps(figures, indent=2))
    record("first_token", COMMAND, figures)


def one_task(
    prepared: PreparedRun, bank: AdapterBank, texts: list[str], route: Callable[[str], Any]
) -> dict[str, float]:
    """Medians over single requests, in milliseconds, and the share of routing in both together."""
    routing, answering, tokens = [], [], []
    for text in texts:
        started = time.perf_counter()
        route(text)
        routed = time.perf_counter()
        length = first_token(prepared, bank, text)
        answering.append(time.perf_counter() - routed)
        routing.append(routed - started)
        tokens.append(length)
    routed, answered = 1000 * statistics.median(routing), 1000 * statistics.median(answering)
    return {
        "requests": len(texts),
        "prompt_tokens": statistics.median(tokens),
        "routing_ms": round(routed, 3),
        "first_token_ms": round(answered, 2),
        "share": round(routed / (routed + answered), 4),
    }


@torch.no_grad()
def first_token(prepared: PreparedRun, bank: AdapterBank, text: str) -> int:
    """Tokenise a request, run its prompt with a cache for what follows, pick the likeliest token; its tokens."""
    ids = prepared.chat.encode_prompts([text])[0].tolist()
    with bank.use("adapter") as model:
        logits = model(input_ids=torch.tensor([ids]), use_cache=True, logits_to_keep=1).logits
    int(logits[0, -1].argmax())
    return len(ids)


if __name__ == "__main__":
    main()
