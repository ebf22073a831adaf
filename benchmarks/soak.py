"""A served run above its capacity for minutes, with adapters that come, change and go; then kill -9 under load.

`make soak MINUTES=10`: a run of tiny adapters, so that a minute holds thousands of requests. More clients ask than the
server takes: each request is answered, or refused with 429 or 503 and Retry-After. One adapter is replaced by another
again and again, two come and go, and fewer lie in memory than are served. Every greedy answer of a named adapter must
be the one that its adapter gave before the load; one that is replaced has two. Then the server is killed while it is
asked, and started again on the same folder: what it had confirmed is kept, and the answers are the same. Fewer than
ten minutes are not recorded.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from safetensors.torch import load_file, save_file

import multitune
from benchmarks.record import record
from benchmarks.served import ADMIN, Served, served
from benchmarks.torture.workplace import Workplace
from multitune.serving.listening import listen

CLIENTS, RUNNING, WAITING, IN_MEMORY = 32, 8, 16, 3
OPTIONS = (
    *("--max-running", str(RUNNING), "--max-waiting", str(WAITING), "--max-loras", str(IN_MEMORY)),
    *("--learning", "observe"),
)
CHAT = "/v1/chat/completions"
PROMPTS = ("say w1 w7", "copy w3 w21", "say w8 w30 w2", "copy w9")
MOVING, COMING = "moving", ("late-0", "late-1")
GROWTH, SLOWER = 1.1, 1.5  # most of memory, and of p99, from the second third of the time to the last


@dataclass(slots=True)
class Outcome:
    """What all clients saw so far; only answers in one piece are timed."""

    counts: Counter[str] = field(default_factory=Counter[str])  # by how a request ended
    seconds: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])  # since the start, it took
    faults: list[str] = field(default_factory=list[str])
    feedback: int = 0  # confirmed
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, how: str, fault: str = "") -> None:
        """One request has ended."""
        with self.lock:
            self.counts[how] += 1
            if fault:
                self.faults.append(fault)


@dataclass(slots=True)
class Soak:
    """Clients and an administrator of one server."""

    run: Path
    url: str
    expected: dict[tuple[str, str], set[str]]  # (adapter, prompt) -> answers that are right
    found: Outcome = field(default_factory=Outcome)
    begun: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)
    killed: threading.Event = field(default_factory=threading.Event)  # from here on connections may break

    def client(self, number: int) -> None:
        """Ask, and ask again, until it is over."""
        chance = random.Random(number)
        with httpx.Client(base_url=self.url, headers=ADMIN, timeout=120) as client:
            while not self.over.is_set():
                model = chance.choice([*{name for name, _ in self.expected}, *COMING, "auto"])
                try:
                    self._ask(client, chance, model, chance.choice(PROMPTS))
                except httpx.TransportError as error:
                    if self.killed.is_set():
                        return
                    self.found.add("lost", f"{model}: {type(error).__name__} {error}")

    def _ask(self, client: httpx.Client, chance: random.Random, model: str, prompt: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 16}
        started = time.monotonic()
        if chance.random() < 0.2:
            self._stream(client, body, leaves=chance.random() < 0.5)
            return
        answer = client.post(CHAT, json=body)
        if answer.status_code == 200:
            with self.found.lock:
                self.found.seconds.append((started - self.begun, time.monotonic() - started))
        if answer.status_code in (429, 503) and "retry-after" in answer.headers:
            self.found.add("refused")
            self.over.wait(float(answer.headers["retry-after"]) * chance.random())
        elif answer.status_code == 404 and model in COMING:
            self.found.add("not there")
        elif answer.status_code != 200:
            self.found.add("failed", f"{model}: {answer.status_code} {answer.text[:200]}")
        else:
            self._check(model, prompt, answer.json()["choices"][0]["message"]["content"])
            if model == "auto" and chance.random() < 0.2:
                self._give_feedback(client, answer.json()["id"])

    def _check(self, model: str, prompt: str, text: str) -> None:
        right = self.expected.get((model, prompt))
        wrong = right is not None and text not in right
        self.found.add("answered", f"{model} answered {prompt!r} by {text!r}, not {right}" if wrong else "")

    def _stream(self, client: httpx.Client, body: dict[str, Any], leaves: bool) -> None:
        """Read an answer as it comes, slowly; or leave after its first words."""
        text = ""
        with client.stream("POST", CHAT, json={**body, "stream": True}) as answer:
            if answer.status_code != 200:
                self.found.add("refused" if "retry-after" in answer.headers else "not there")
                if answer.status_code not in (404, 429, 503):
                    self.found.add("failed", f"stream of {body['model']}: {answer.status_code}")
                return
            for line in answer.iter_lines():
                if leaves and text:
                    self.found.add("left")
                    return
                if line.startswith("data: {"):
                    message = json.loads(line.removeprefix("data: "))
                    if "error" in message:
                        self.found.add("failed", f"stream of {body['model']}: {message['error']}")
                        return
                    text += message["choices"][0]["delta"].get("content") or ""
                    time.sleep(0.002)
        self._check(body["model"], body["messages"][0]["content"], text)

    def _give_feedback(self, client: httpx.Client, name: str) -> None:
        answer = client.post("/v1/feedback", json={"request_id": name, "task": "colours"})
        with self.found.lock:
            self.found.feedback += answer.status_code == 200

    def administrator(self) -> None:
        """Replace one adapter, load and unload two others."""
        chance, version = random.Random(0), 0
        with httpx.Client(base_url=self.url, headers=ADMIN, timeout=120) as client:
            while not self.over.wait(0.2):
                try:
                    version = 1 - version
                    load(client, MOVING, self.run / "more" / str(version), load_inplace=True)
                    name = chance.choice(COMING)
                    if not load(client, name, self.run / "more" / "0"):
                        client.post("/v1/unload_lora_adapter", json={"lora_name": name})
                except httpx.TransportError as error:
                    if self.killed.is_set():
                        return
                    self.found.add("lost", f"administrator: {error}")


def load(client: httpx.Client, name: str, folder: Path, **how: Any) -> bool:
    """Whether an adapter is loaded now that was not before."""
    body = {"lora_name": name, "lora_path": str(folder), **how}
    return client.post("/v1/load_lora_adapter", json=body).status_code == 200


def main() -> None:
    """Train, soak, kill, start again; record, and exit with 1 if a law was broken."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder))
        run = multitune.train(place.file).path
        for version, factor in enumerate((20.0, -15.0)):
            louder(run / "adapters" / "shared", run / "more" / str(version), factor)
        with listen("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        with served(run, *OPTIONS, port=port) as server:
            expected = answers(server, run)
            first, figures = soaked(Soak(run, server.url, expected), server, 60 * minutes)
        with served(run, *OPTIONS, port=port) as server:
            figures["restarted"] = restarted(server, run, expected, first)
    laws = {
        "no request lost": not {"lost", "failed"} & first.counts.keys(),
        "answers equal throughout": not first.faults,
        "memory flat": figures["memory"]["growth"] <= GROWTH,
        "p99 bounded": figures["p99_growth"] <= SLOWER,
        "state kept, and the same answers after kill -9": all(figures["restarted"].values()),
    }
    print(json.dumps({**figures, "laws": laws}, indent=2), *first.faults[:10], sep="\n")
    if minutes >= 10:
        record("soak", f"make soak MINUTES={minutes:g}", {**figures, "laws": laws})
    sys.exit(0 if all(laws.values()) else 1)


def louder(folder: Path, to: Path, factor: float) -> None:
    """A copy of an adapter that changes more."""
    shutil.copytree(folder, to)
    weights = to / "adapter_model.safetensors"
    save_file({name: tensor * factor for name, tensor in load_file(weights).items()}, weights)


def answers(server: Served, run: Path) -> dict[tuple[str, str], set[str]]:
    """What each adapter answers in peace; one that will be replaced has two answers, and is loaded then."""
    found: dict[tuple[str, str], set[str]] = {}
    with httpx.Client(base_url=server.url, headers=ADMIN, timeout=120) as client:
        names = [one["id"] for one in client.get("/v1/models").json()["data"] if one["id"] != "auto"]
        for version in (0, 1):
            load(client, MOVING, run / "more" / str(version), load_inplace=True)
            for name in (*names, MOVING):
                for prompt in PROMPTS:
                    body = {"model": name, "messages": [{"role": "user", "content": prompt}], "max_tokens": 16}
                    text = client.post(CHAT, json=body).json()["choices"][0]["message"]["content"]
                    found.setdefault((name, prompt), set()).add(text)
    assert len({frozenset(texts) for texts in found.values()}) > len(PROMPTS), "adapters answer alike"
    return found


def soaked(soak: Soak, server: Served, seconds: float) -> tuple[Outcome, dict[str, Any]]:
    """Ask for so long, then kill the server while it is asked; what was seen, as figures."""
    threads = [threading.Thread(target=soak.client, args=(number,)) for number in range(CLIENTS)]
    threads.append(threading.Thread(target=soak.administrator))
    for thread in threads:
        thread.start()
    memory: list[float] = []
    while time.monotonic() < soak.begun + seconds:
        time.sleep(min(1.0, seconds / 30))
        memory.append(server.resident_mb)
    soak.killed.set()
    server.process.kill()
    soak.over.set()
    for thread in threads:
        thread.join()
    found = soak.found
    times = [
        np.array([took for at, took in found.seconds if n <= 3 * at / seconds < n + 1] or [0.0]) for n in range(3)
    ]
    p99 = [float(np.percentile(one, 99)) for one in times]
    thirds = np.array_split(np.array(memory), 3)
    figures = {
        "minutes": seconds / 60,
        "requests": dict(found.counts),
        "requests_per_second": round(sum(found.counts.values()) / seconds, 1),
        "p50_seconds": round(float(np.median(np.concatenate(times))), 3),
        "p99_seconds": [round(value, 3) for value in p99],
        "p99_growth": round(p99[2] / p99[1], 3) if p99[1] else 1.0,
        "slowest_seconds": round(max(took for _, took in found.seconds), 3),
        "memory": {
            "mb": [round(median(one.tolist()), 1) for one in thirds],
            "growth": round(median(thirds[2].tolist()) / median(thirds[1].tolist()), 4),
        },
    }
    return found, figures


def restarted(server: Served, run: Path, expected: dict[tuple[str, str], set[str]], first: Outcome) -> dict[str, bool]:
    """Whether a server on the folder of one that was killed has its state, and answers as that did."""
    state = httpx.get(f"{server.url}/v1/routing", headers=ADMIN).json()
    return {
        "ready": httpx.get(f"{server.url}/ready", headers=ADMIN).status_code == 200,
        "feedback_kept": state["feedback"] >= first.feedback > 0,
        "answers_equal": answers(server, run) == expected,
    }


if __name__ == "__main__":
    main()
