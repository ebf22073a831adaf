"""With fewer adapters in memory than are served, every request is answered as with all of them, and in its turn."""

import queue
import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from multitune.data.tokenizer import ChatFormat
from multitune.model.bank import AdapterBank
from multitune.serving.engine import Engine, EngineOptions
from multitune.serving.requests import AdapterUnavailableError, GenerationRequest
from tests.conftest import randomise
from tests.greedy import greedy_loop
from tests.serving.conftest import answer, asked, serving
from tests.serving.test_operations import ADMIN, CHAT, figure, load, text, unload

NAMES = ("a", "b", "c")
EOS = 1


def loader(name: str, seen: list[tuple[str, ...]]) -> Callable[[AdapterBank], None]:
    """Puts an adapter into a bank, the same one each time."""

    def into(bank: AdapterBank) -> None:
        randomise(bank.create(name, 4, 8.0, "all", NAMES.index(name)), NAMES.index(name))
        seen.append(bank.names)

    return into


def small_engine(bank: AdapterBank, chat: ChatFormat, most: int, seen: list[tuple[str, ...]]) -> Engine:
    for name in bank.names:
        bank.remove(name)
    engine = Engine(bank, chat.tokenizer, chat.stop_ids, EngineOptions(cache_tokens=2048, max_loras=most))
    for name in NAMES:
        engine.load(name, loader(name, seen)).result(60)
    return engine


@pytest.mark.parametrize("most", [1, 2])
def test_requests_of_all_adapters_at_once_are_answered_as_alone_with_so_many_in_memory(
    bank: AdapterBank, chat: ChatFormat, most: int
) -> None:
    seen: list[tuple[str, ...]] = []
    engine = small_engine(bank, chat, most, seen)
    rows = [((*NAMES, "base")[i % 4], [5 + i, 9, 11 + i]) for i in range(24)]
    found = answer(engine, *(asked(name, prompt) for name, prompt in rows))
    engine.close()
    assert max(map(len, seen)) == most and len(seen) > len(NAMES)
    for name in NAMES:
        if name not in bank.names:
            loader(name, [])(bank)
    assert [one.ids for one in found] == [greedy_loop(bank, name, np.array(p), 8, EOS) for name, p in rows]


def test_a_request_whose_adapter_must_wait_for_room_is_not_overtaken(bank: AdapterBank, chat: ChatFormat) -> None:
    engine = small_engine(bank, chat, 1, [])
    long = asked("a", [5, 9], 60)
    engine.submit([long.request])
    long.next()
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in ("b", "a", "a"):
        report = partial(lambda name, delta: ended.put(name) if delta.finish else None, name)
        engine.submit([GenerationRequest(name, np.array([7], dtype=np.int32), 4, report)])
    assert [ended.get(timeout=60) for _ in range(3)] == ["b", "a", "a"] and long.wait().finish
    engine.close()


def test_the_least_recently_used_leaves(bank: AdapterBank, chat: ChatFormat) -> None:
    engine = small_engine(bank, chat, 2, [])
    for name in ("a", "b", "a", "c"):
        answer(engine, asked(name, [5, 9]))
    assert set(engine.run(lambda: engine.bank.names).result(60)) == {"a", "c"}
    engine.close()


def test_work_on_an_adapter_waits_until_there_is_room_and_is_done(bank: AdapterBank, chat: ChatFormat) -> None:
    engine = small_engine(bank, chat, 1, [])
    long = asked("a", [5, 9], 60)
    engine.submit([long.request])
    long.next()
    jobs = [engine.run(lambda: engine.bank.names, name) for name in ("b", "c")]
    assert [job.result(60) for job in jobs] == [("b",), ("c",)] and long.wait().finish
    engine.close()


def test_an_adapter_that_cannot_be_read_again_fails_its_own_requests_alone(
    bank: AdapterBank, chat: ChatFormat
) -> None:
    engine = small_engine(bank, chat, 1, [])
    broken: list[Any] = []

    def breaks(bank: AdapterBank) -> None:
        if broken:
            raise OSError("the disk is gone")
        bank.create("d", 4, 8.0, "all", 1)
        broken.append(True)

    engine.load("d", breaks).result(60)
    names = ["d", "a", "d", "b", "nobody"]
    assert answer(engine, asked("a", [5]))[0].finish != "error"
    found = answer(engine, *(asked(name, [5, 9]) for name in names))
    assert [one.finish == "error" for one in found] == [True, False, True, False, True]
    assert found[0].error == "the disk is gone" and "loaded no longer" in found[4].error
    with pytest.raises(AdapterUnavailableError, match="loaded no longer"):
        engine.run(lambda: None, "nobody").result(60)
    engine.close()


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("limited") / "run"))


@pytest.fixture(scope="module")
def limited(run: Path) -> Generator[httpx.Client]:
    """A server with one adapter in memory."""
    with (
        serving(run, "--admin-key", "admin-key", "--max-loras", "1") as url,
        httpx.Client(base_url=url, headers=ADMIN, timeout=120) as client,
    ):
        yield client


def test_a_server_with_one_adapter_in_memory_answers_as_one_with_all(limited: httpx.Client, server: str) -> None:
    models = [one["id"] for one in limited.get("/v1/models").json()["data"]]
    bodies = [
        {"model": name, "messages": [{"role": "user", "content": f"say w{i}"}]} for name in models for i in (1, 7)
    ]
    bodies += [{**bodies[0], "model": "colours", "multitune": {"labels": True}}]
    bodies += [{**bodies[0], "model": name, "guided_choice": ["red", "w5 w6"]} for name in ("shared", "copy")]

    def ask(client: httpx.Client, body: dict[str, Any]) -> Any:
        found = client.post(CHAT, json={**body, "max_tokens": 12})
        assert found.status_code == 200, found.text
        return [found.json()[part] for part in ("choices", "usage", "multitune")]

    assert limited.get("/ready").json()["ready"]
    before = figure(limited, "adapter_loads_total")
    with ThreadPoolExecutor(8) as threads, httpx.Client(base_url=server, timeout=120) as whole:
        found = list(threads.map(lambda body: ask(limited, body), [*bodies, *reversed(bodies)]))
        expected = [ask(whole, body) for body in bodies]
    assert found == [*expected, *reversed(expected)]
    assert figure(limited, "adapter_loads_total") > before
    assert 'lora_requests_info{max_lora="1",' in limited.get("/metrics").text


def test_files_that_changed_while_their_adapter_was_not_in_memory_are_not_served_under_its_version(
    limited: httpx.Client, run: Path
) -> None:
    folder = Path(shutil.copytree(run / "adapters" / "shared", run / "more" / "moving"))
    assert load(limited, "moving", folder).status_code == 200
    expected = text(limited, "moving")
    before = text(limited, "copy")  # takes its place
    weights = folder / "adapter_model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes((run / "adapters" / "copy" / "adapter_model.safetensors").read_bytes())
    found = limited.post(CHAT, json={"model": "moving", "messages": [{"role": "user", "content": "say w1"}]})
    assert (found.status_code, found.headers["retry-after"]) == (503, "1") and "load_inplace" in found.text
    assert text(limited, "copy") == before
    weights.write_bytes(kept)
    assert text(limited, "moving") == expected and unload(limited, "moving").status_code == 200
