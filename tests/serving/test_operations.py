"""Keys, limits, figures, and adapters that come and go while others are answered."""

import json
import shutil
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from multitune.cli.main import app
from tests.conftest import unseal
from tests.serving.conftest import serving

KEY, ADMIN = {"Authorization": "Bearer client-key"}, {"Authorization": "Bearer admin-key"}
ASKED: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": "say w1"}], "max_tokens": 4}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("guarded") / "run"))


@pytest.fixture(scope="module")
def guarded(run: Path) -> Generator[str]:
    """A server with keys and a short queue."""
    keys = ("--api-key", "client-key", "--admin-key", "admin-key")
    with serving(run, *keys, "--max-running", "1", "--max-waiting", "2") as url:
        yield url


@pytest.fixture
def admin(guarded: str) -> Generator[httpx.Client]:
    with httpx.Client(base_url=guarded, headers=ADMIN, timeout=60) as client:
        yield client


def load(client: httpx.Client, name: str, path: Path | str, **how: Any) -> httpx.Response:
    return client.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(path), **how})


def unload(client: httpx.Client, name: str) -> httpx.Response:
    return client.post("/v1/unload_lora_adapter", json={"lora_name": name})


def text(client: httpx.Client, model: str, **how: Any) -> str:
    found = client.post(CHAT, json={**ASKED, "model": model, "max_tokens": 12, **how})
    assert found.status_code == 200, found.text
    return found.json()["choices"][0]["message"]["content"]


def changed(folder: Path, to: Path, factor: float) -> Path:
    """A copy of an adapter with larger weights."""
    shutil.copytree(folder, to)
    weights = to / "adapter_model.safetensors"
    save_file({name: tensor * factor for name, tensor in load_file(weights).items()}, weights)
    return to


@pytest.mark.parametrize(
    "route", [CHAT, "/v1/models", "/ready", "/metrics", "/tokenizer_info", "/nothing", "/openapi.json"]
)
def test_every_route_but_health_asks_for_the_key(guarded: str, route: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "client-key-and-more"}):
        found = httpx.get(guarded + route, headers=headers)
        assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_api_key")
    assert httpx.get(f"{guarded}/health").status_code == 200
    assert httpx.get(guarded + route, headers=KEY).status_code != 401


def test_adapters_are_the_administrators_alone(guarded: str, server: str) -> None:
    for route in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
        body = {"lora_name": "shared", "lora_path": "adapters/shared"}
        assert httpx.post(guarded + route, headers=KEY, json=body).status_code == 403
        assert httpx.post(server + route, json=body).status_code == 403  # a server without an admin key


def test_a_body_that_is_too_large_is_413_with_a_length_and_without(admin: httpx.Client) -> None:
    whole = json.dumps({**ASKED, "user": "x" * (5 << 20)}).encode()
    pieces = (whole[start : start + 65536] for start in range(0, len(whole), 65536))
    for content in (whole, pieces):
        found = admin.post(CHAT, content=content, headers={"Content-Type": "application/json"})
        assert (found.status_code, found.json()["error"]["code"]) == (413, "request_too_large")


def test_a_full_queue_is_429_with_retry_after_and_no_request_is_lost(guarded: str) -> None:
    codes: list[int] = []
    answers: list[httpx.Response] = []

    def ask() -> None:
        found = httpx.post(guarded + CHAT, headers=KEY, json={**ASKED, "max_tokens": 200}, timeout=120)
        answers.append(found)
        codes.append(found.status_code)

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == {200, 429}
    refused = next(one for one in answers if one.status_code == 429)
    assert refused.headers["retry-after"] == "1" and refused.json()["error"]["type"] == "rate_limit_error"
    assert len({one.json()["choices"][0]["message"]["content"] for one in answers if one.status_code == 200}) == 1


def test_a_client_that_leaves_frees_its_place(guarded: str, admin: httpx.Client) -> None:
    for stream in (True, False):
        body = {**ASKED, "max_tokens": 240, "stream": stream, "temperature": 2, "seed": 1}
        with httpx.Client(base_url=guarded, headers=KEY) as client:
            if stream:
                with client.stream("POST", CHAT, json=body) as answer:
                    assert next(answer.iter_lines()).startswith("data: {")
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(CHAT, json=body, timeout=0.05)
        deadline = time.monotonic() + 60
        while figure(admin, "num_requests_running") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert figure(admin, "num_requests_running") == figure(admin, "kv_cache_usage_perc") == 0


def figure(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"multitune:{name}")).rpartition(" ")[2])


def test_figures_are_those_of_the_gateway_protocol(admin: httpx.Client) -> None:
    text(admin, "shared")
    exposition = admin.get("/metrics").text
    for line in (
        "# TYPE multitune:num_requests_waiting gauge",
        "# TYPE multitune:kv_cache_usage_perc gauge",
        'multitune:lora_requests_info{max_lora="5",running_lora_adapters="",waiting_lora_adapters=""} ',
        'multitune:routes_total{adapter="shared",reason="named"} ',
        "# TYPE multitune:generation_tokens_total counter",
    ):
        assert line in exposition


def test_an_adapter_is_loaded_replaced_and_unloaded(admin: httpx.Client, run: Path) -> None:
    first = changed(run / "adapters" / "shared", run / "more" / "first", 20)
    second = changed(run / "adapters" / "shared", run / "more" / "second", -15)
    assert "Success" in load(admin, "late", "more/first").text
    answer = text(admin, "late")
    assert answer != text(admin, "base") and "late" in [one["id"] for one in admin.get("/v1/models").json()["data"]]
    assert load(admin, "late", first).status_code == 400
    assert load(admin, "late", second, load_inplace=True).status_code == 200
    assert text(admin, "late") != answer
    assert load(admin, "late", first, load_inplace=True).status_code == 200
    assert text(admin, "late") == answer
    assert unload(admin, "late").status_code == 200 and unload(admin, "late").status_code == 404
    assert admin.post(CHAT, json={**ASKED, "model": "late"}).status_code == 404


def test_a_replaced_adapter_answers_to_the_end_those_who_began_with_it(
    admin: httpx.Client, guarded: str, run: Path
) -> None:
    first = changed(run / "adapters" / "shared", run / "more" / "third", 20)
    second = changed(run / "adapters" / "shared", run / "more" / "fourth", -15)
    load(admin, "moving", first)
    how: dict[str, Any] = {"max_tokens": 200, "temperature": 2, "seed": 3}
    expected = text(admin, "moving", **how)
    client = OpenAI(base_url=f"{guarded}/v1", api_key="client-key")
    stream = client.chat.completions.create(**{**ASKED, "model": "moving", **how}, stream=True)
    begun = next(stream).choices[0].delta.content or ""
    assert load(admin, "moving", second, load_inplace=True).status_code == 200
    assert begun + "".join(part.choices[0].delta.content or "" for part in stream) == expected
    assert text(admin, "moving", **how) != expected
    assert unload(admin, "moving").status_code == 200


@pytest.mark.parametrize("name", ["", "../elsewhere", "a/b", ".hidden", "x" * 129, "base", "auto", "new\nline"])
def test_a_name_that_is_none_is_refused(admin: httpx.Client, name: str) -> None:
    assert load(admin, name, "adapters/shared").status_code == 400


def test_a_folder_outside_a_broken_one_or_none_is_refused_and_nothing_changes(
    admin: httpx.Client, run: Path, tmp_path: Path
) -> None:
    before = text(admin, "shared")
    outside = Path(shutil.copytree(run / "adapters" / "shared", tmp_path / "outside"))
    (run / "link").symlink_to(outside)
    pickled = Path(shutil.copytree(run / "adapters" / "shared", run / "more" / "pickled"))
    (pickled / "extra.bin").write_bytes(b"")
    other_base = Path(shutil.copytree(run / "adapters" / "shared", run / "more" / "other_base"))
    card = unseal(other_base) / "multitune.json"
    card.write_text(card.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    broken = changed(run / "adapters" / "shared", run / "more" / "broken", float("nan"))
    cut = Path(shutil.copytree(run / "adapters" / "shared", run / "more" / "cut"))
    (cut / "adapter_model.safetensors").write_bytes((cut / "adapter_model.safetensors").read_bytes()[:100])
    for path in (outside, "link", "../../etc", "\0", pickled, other_base, broken, cut, "routing"):
        found = load(admin, "bad", path)
        assert found.status_code == 400, (path, found.text)
    assert load(admin, "bad", "more/nothing").status_code == 404
    assert "bad" not in [one["id"] for one in admin.get("/v1/models").json()["data"]]
    assert text(admin, "shared") == before


def test_a_task_that_joins_the_run_is_served_without_a_restart(
    admin: httpx.Client, run: Path, run_fields: dict[str, Any], tmp_path: Path
) -> None:
    new = {**run_fields, "name": "joined", "output": str(tmp_path)}
    new["tasks"] = [{**run_fields["tasks"][1], "name": "again", "prompt": "red {{ text }}"}]
    (tmp_path / "new.json").write_text(json.dumps({k: v for k, v in new.items() if k != "general"}))
    result = CliRunner().invoke(app, ["add", str(tmp_path / "new.json"), "--to", str(run)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    deadline = time.monotonic() + 60
    while "again" not in (names := [one["id"] for one in admin.get("/v1/models").json()["data"]]):
        assert time.monotonic() < deadline, names
        time.sleep(0.1)
    found = admin.post(CHAT, json={**ASKED, "model": "again"}).json()["multitune"]
    assert found["task"] == "again"
