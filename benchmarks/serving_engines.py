"""A batch of requests over eight adapters: on our engine, on one adapter there, and on PEFT in its two ways."""

import queue
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import spread
from multitune.core.bases import BASE
from multitune.core.seeds import generator
from multitune.data.tokenizer import ChatFormat
from multitune.model.bank import AdapterBank
from multitune.model.files import merge_into_base, save_adapter
from multitune.serving.engine import Engine, EngineOptions
from multitune.serving.requests import Delta, GenerationRequest
from multitune.serving.sampling import SamplingOptions

ADAPTERS = tuple(f"adapter{number}" for number in range(8))
PROMPT = 48  # tokens
GREEDY = SamplingOptions(temperature=0)
Way = Callable[[Sequence[np.ndarray]], None]  # answers prompts, each int32 (token,)


def batches(bank: AdapterBank, chat: ChatFormat, requests: int, tokens: int, turns: int) -> dict[str, Any]:
    """Tokens a second of each way, and ratios turn by turn, median and extremes.

    Args:
        bank: on the base; gets the adapters.
        chat: of the base.
        requests: of a batch, spread evenly over the adapters.
        tokens: of each answer, which nothing ends before.
        turns: of all ways, each with prompts of its own.
    """
    for number, name in enumerate(ADAPTERS):
        weights = bank.create(name, 16, 32.0, "all", seed=number).weights
        weights.copy_(torch.from_numpy(generator(number, "weights").normal(0, 0.01, len(weights)).astype(np.float32)))
        bank[name].publish()
    with tempfile.TemporaryDirectory() as folder:
        peer = peft_model(bank, chat, Path(folder))
    engine = Engine(bank, chat.tokenizer, (), EngineOptions(cache_tokens=requests * (PROMPT + tokens + 32) + 64))
    owners = [ADAPTERS[place % len(ADAPTERS)] for place in range(requests)]
    ways: dict[str, Way] = {
        "eight_adapters": partial(by_engine, engine, owners, tokens),
        "one_adapter": partial(by_engine, engine, [ADAPTERS[0]] * requests, tokens),
        "peft_switching": partial(by_switching, peer, owners, tokens),
        "peft_mixed_batch": partial(by_mixed_batch, peer, owners, tokens),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rng = generator(17, "prompts")
    for turn in range(-1, turns):  # the first one warms up
        for name, way in list(ways.items())[:: 1 if turn % 2 else -1]:
            prompts = list(rng.integers(10, len(chat.tokenizer), (requests, PROMPT)).astype(np.int32))
            started = time.perf_counter()
            way(prompts if turn >= 0 else prompts[: len(ADAPTERS)])
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    engine.close()
    total = requests * tokens
    ratios = {
        f"eight_adapters_to_{name}": [b / a for a, b in zip(seconds["eight_adapters"], times, strict=True)]
        for name, times in seconds.items()
        if name != "eight_adapters"
    }
    return {
        "requests": requests,
        "tokens_each": tokens,
        "tokens_per_second": {name: round(total / statistics.median(times), 1) for name, times in seconds.items()},
        "throughput": {name: spread(values) for name, values in ratios.items()},
    }


def peft_model(bank: AdapterBank, chat: ChatFormat, folder: Path) -> Any:
    """The same base with the same adapters, as PEFT loads them from their folders."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merge_into_base(bank, BASE, folder / "base", chat.tokenizer)
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=bank.backbone.dtype)
    for name in ADAPTERS:
        save_adapter(bank[name], folder / name, bank, {})
    model = PeftModel.from_pretrained(base, str(folder / ADAPTERS[0]), adapter_name=ADAPTERS[0])
    for name in ADAPTERS[1:]:
        model.load_adapter(str(folder / name), adapter_name=name)
    return model.eval()


def by_engine(engine: Engine, owners: Sequence[str], tokens: int, prompts: Sequence[np.ndarray]) -> None:
    """All requests at once."""
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()

    def deliver(delta: Delta) -> None:
        if delta.finish:
            ended.put(None)

    engine.submit(
        [
            GenerationRequest(name, prompt, tokens, deliver, GREEDY)
            for name, prompt in zip(owners, prompts, strict=False)
        ]
    )
    for _ in prompts:
        ended.get()


def _generate(model: Any, prompts: np.ndarray, tokens: int, **how: Any) -> None:
    ids = torch.from_numpy(np.asarray(prompts, dtype=np.int64))
    fixed = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **fixed, **how)


def by_switching(model: Any, owners: Sequence[str], tokens: int, prompts: Sequence[np.ndarray]) -> None:
    """One request after the other, each with its adapter put in place first."""
    for name, prompt in zip(owners, prompts, strict=False):
        model.set_adapter(name)
        _generate(model, prompt[None], tokens)


def by_mixed_batch(model: Any, owners: Sequence[str], tokens: int, prompts: Sequence[np.ndarray]) -> None:
    """All requests in one batch, whose rows PEFT gives to their adapters."""
    _generate(model, np.stack(list(prompts)), tokens, adapter_names=list(owners[: len(prompts)]))
