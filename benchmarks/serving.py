"""Serving in figures: what routing costs, a batch over many adapters, many clients, and peers in the same run.

`make bench PART=serving`: SmolLM2-135M on this machine, about ten minutes on two quiet cores. The demo's tasks are
trained for a few steps, since nothing here depends on how well; RUN=folder takes a run that is there. Ways that are
compared take turns, and each ratio is of one turn. TINY=1 tries all of it at a small size and records nothing.

1. Time to first token through the server, of a request to `auto` against one that names the adapter it goes to.
2. Tokens a second of a batch over 8 adapters against one adapter, and against PEFT (`serving_engines.py`).
3. Tokens a second of 64 clients at once against `transformers serve` on the same base, in the same type.
4. The router's time to decide among 3 to 1,000 adapters (`serving_router.py`).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch

import multitune
from benchmarks.many_adapters import DEMO
from benchmarks.record import record, spread
from benchmarks.served import ADMIN, served
from benchmarks.serving_engines import batches
from benchmarks.serving_router import deciding
from multitune.config.load import load_config
from multitune.core.bases import BASE, resolve_base
from multitune.deployment.router_report import task_texts
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import merge_into_base
from multitune.serving.listening import listen
from multitune.training.prepare import PreparedRun, prepare_run

COMMAND = "make bench PART=serving"
LIMITS = {"tweets": 48, "entities": 48, "reports": 24, "intents": 77}
QUICK = [
    *("train.max_steps=3", "evaluate.limit=4", "evaluate.select_limit=4", "general.0.limit={train: 40, test: 8}"),
    *(f"tasks.{name}.limit={{train: {rows}, validation: 8, test: 24}}" for name, rows in LIMITS.items()),
]
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    pairs: int = 40  # routed and named requests
    clients: int = 64
    tokens: int = 24  # of each client's answer
    turns: int = 2  # of the two servers
    batch: int = 16  # requests of the batches over adapters
    batch_tokens: int = 32
    batch_turns: int = 3
    adapters: tuple[int, ...] = (3, 30, 300, 1000)


TINY = Size(3, 6, 4, 1, 8, 4, 1, (3, 30))


def main() -> None:
    """Measure the four, and record them."""
    size = TINY if os.environ.get("TINY") else Size()
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*QUICK, f"output={folder}"]
        run = Path(os.environ.get("RUN") or multitune.train(DEMO, overrides).path)
        prepared = prepare_run(load_config(run / "config.yaml"))
        with served(run, "--max-running", str(size.clients)) as ours:
            figures: dict[str, Any] = {"first_token": first_tokens(ours.url, prepared, size.pairs)}
            print(json.dumps(figures), flush=True)
            figures["clients"] = clients(ours.url, base_folder(prepared, Path(folder, "base")), prepared, size)
            print(json.dumps(figures["clients"]), flush=True)
    bank = AdapterBank(load_backbone(prepared.ref, "cpu", prepared.config.dtype))
    figures["batches"] = batches(bank, prepared.chat, size.batch, size.batch_tokens, size.batch_turns)
    print(json.dumps(figures["batches"]), flush=True)
    figures["router"] = deciding(bank, prepared, size.adapters)
    figures |= {"threads": torch.get_num_threads(), "dtype": str(bank.backbone.dtype)}
    print(json.dumps(figures, indent=2))
    if size is not TINY:
        record("serving", COMMAND, figures)


def chat(model: str, text: str, tokens: int, **how: Any) -> dict[str, Any]:
    """The body of a greedy request."""
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0, **how}


def first_tokens(url: str, prepared: PreparedRun, pairs: int) -> dict[str, Any]:
    """Times to the first token of requests that are routed and named, in turn; each text begins with a new number."""
    texts = task_texts(prepared, prepared.config.tasks[0].name, "test")["prompt"]
    found: dict[str, list[float]] = {"routed": [], "named": []}
    with httpx.Client(base_url=url, headers=ADMIN, timeout=600) as client:

        def timed(model: str, text: str) -> float:
            started = time.perf_counter()
            with client.stream("POST", CHAT, json=chat(model, text, 2, stream=True)) as answer:
                lines = answer.iter_lines()
                next(line for line in lines if line.startswith("data: {"))
                took = time.perf_counter() - started
                for _ in lines:  # to its end, so that the next one has the server alone
                    pass
            return took

        for place in range(-2, pairs):  # the first ones warm up
            text = texts[place % len(texts)]
            name = client.post("/v1/route", json={"text": text}).json()["route"]["adapter"]
            model = name if name == BASE else f"adapter:{name}"
            numbers = iter(range(200 + 2 * place, 202 + 2 * place))
            turn = [("routed", "auto"), ("named", model)]
            for way, asked in turn if place % 2 else reversed(turn):
                took = timed(asked, f"{next(numbers)} {text}")
                if place >= 0:
                    found[way].append(took)
    ratios = [routed / named for routed, named in zip(found["routed"], found["named"], strict=True)]
    return {
        **{f"{way}_ms": round(1000 * statistics.median(times), 2) for way, times in found.items()},
        "pairs": pairs,
        "routed_to_named": spread(ratios),
    }


def base_folder(prepared: PreparedRun, folder: Path) -> Path:
    """The base as an ordinary model folder, in the type that the run computes in."""
    bank = AdapterBank(load_backbone(resolve_base(prepared.config.base, Path.cwd()), "cpu", prepared.config.dtype))
    merge_into_base(bank, BASE, folder, prepared.chat.tokenizer)
    return folder


@contextmanager
def transformers_serve(folder: Path, *options: str) -> Generator[str]:
    """The address of `transformers serve` with one model."""
    with listen("127.0.0.1", 0) as free:
        port = str(free.getsockname()[1])
    program = str(Path(sys.executable).parent / "transformers")
    command = [program, "serve", str(folder), "--host", "127.0.0.1", "--port", port, "--device", "cpu"]
    command += ["--log-level", "error", *options]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
        url = f"http://127.0.0.1:{port}"
        try:
            while True:
                assert server.poll() is None, "transformers serve has ended"
                try:
                    if httpx.get(f"{url}/health").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.2)
            yield url
        finally:
            server.terminate()


def clients(url: str, folder: Path, prepared: PreparedRun, size: Size) -> dict[str, Any]:
    """Tokens a second of the two servers, asked by as many clients at once, each with a prompt of its own."""
    texts = task_texts(prepared, prepared.config.tasks[0].name, "test")["prompt"]
    found: dict[str, Any] = {"clients": size.clients, "tokens_each": size.tokens}
    for way, options in (("transformers_serve", ()), ("its_continuous_batching", ("--continuous-batching",))):
        ratios: list[float] = []
        rates: dict[str, list[float]] = {"ours": [], way: []}
        try:
            with transformers_serve(folder, *options) as peer:
                load(peer, str(folder), texts[:1], 0, size)
                for turn in range(1, size.turns + 1):
                    rates[way].append(load(peer, str(folder), texts, turn, size))
                    rates["ours"].append(load(url, BASE, texts, turn, size))
                    ratios.append(rates["ours"][-1] / rates[way][-1])
        except (AssertionError, httpx.HTTPError) as error:
            found[way] = f"does not run here: {type(error).__name__} {error}"
            continue
        speeds = {name: round(statistics.median(values), 1) for name, values in rates.items()}
        found[way] = {"tokens_per_second": speeds, "ours_to_it": spread(ratios)}
    return found


def load(url: str, model: str, texts: Sequence[str], turn: int, size: Size) -> float:
    """Tokens a second over one request of each client; turn 0 is one request alone, to warm up."""

    def ask(number: int) -> int:
        text = f"{200 + turn * size.clients + number} {texts[number % len(texts)]}"
        answer = httpx.post(url + CHAT, headers=ADMIN, json=chat(model, text, size.tokens), timeout=600)
        return answer.raise_for_status().json()["usage"]["completion_tokens"]

    count = size.clients if turn else 1
    started = time.perf_counter()
    with ThreadPoolExecutor(count) as threads:
        tokens = sum(threads.map(ask, range(count)))
    return tokens / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
