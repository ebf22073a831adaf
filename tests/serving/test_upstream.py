"""A router in front of a second server of ours, in processes of their own, answers as the embedded engine does."""

import json
import shutil
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import load_file, save_file

from multitune.core.run_folder import RunFolder
from tests.serving.conftest import serving

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ADMIN = {"Authorization": "Bearer admin-key"}
NAMES = ["auto", "base", "shared", "colours", "copy", "adapter:colours", "adapter:copy", "copy.residual"]
PROMPTS = ["say w3 w21", "copy w5 w9", "general w4"]


@pytest.fixture(scope="module")
def loud_run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose adapters answer otherwise than the base and each other; nothing of it is recorded any more."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("loud") / "run"))
    for number, folder in enumerate(RunFolder(run).adapters.values()):
        weights = folder / "adapter_model.safetensors"
        save_file({name: tensor * (20 + 5 * number) for name, tensor in load_file(weights).items()}, weights)
    shutil.rmtree(run / "predictions")
    return run


@pytest.fixture(scope="module")
def embedded(loud_run: Path) -> Generator[str]:
    with serving(loud_run, "--admin-key", "admin-key") as url:
        yield url


@pytest.fixture(scope="module")
def router(loud_run: Path, embedded: str) -> Generator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSTREAM_KEY", "admin-key")
        with serving(loud_run, "--upstream", embedded, "--key-env", "UPSTREAM_KEY") as url:
            yield url


def ask(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """An answer, without what is new each time."""
    found = httpx.post(url + path, json=body, timeout=60)
    assert found.status_code == 200, found.text
    return {name: value for name, value in found.json().items() if name not in ("id", "created")}


def stream(url: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a stream, without what is new each time."""
    with httpx.stream("POST", url + path, json={**body, "stream": True}, timeout=60) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    return [{k: v for k, v in json.loads(line).items() if k not in ("id", "created")} for line in lines]


def chat(model: str, prompt: str, **how: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 8, **how}


@pytest.mark.parametrize("model", NAMES)
def test_a_chat_is_answered_as_by_the_embedded_engine(embedded: str, router: str, model: str) -> None:
    for prompt in PROMPTS:
        body = chat(model, prompt)
        found = ask(router, CHAT, body)
        assert found == ask(embedded, CHAT, body) and found["model"] == model
        assert stream(router, CHAT, body) == stream(embedded, CHAT, body)


def test_the_adapters_of_the_comparison_answer_differently(embedded: str) -> None:
    answers = {ask(embedded, CHAT, chat(name, PROMPTS[1]))["choices"][0]["message"]["content"] for name in NAMES[1:]}
    assert len(answers) >= 4


def test_headers_say_who_answered(embedded: str, router: str) -> None:
    body = chat("auto", PROMPTS[0])
    theirs, ours = (httpx.post(url + CHAT, json=body).headers for url in (embedded, router))
    names = [name for name in theirs if name.startswith("x-multitune")]
    assert len(names) >= 3 and [ours[name] for name in names] == [theirs[name] for name in names]


@pytest.mark.parametrize(
    "how",
    [
        {"stream_options": {"include_usage": True}},
        {"logprobs": True, "top_logprobs": 2},
        {"n": 3, "temperature": 1.5, "top_p": 0.9, "seed": 7},
        {"stop": ["w1"]},
        {"messages": [{"role": "system", "content": "say"}, {"role": "user", "content": "copy w5 w9"}]},
    ],
)
def test_options_of_a_chat_mean_the_same(embedded: str, router: str, how: dict[str, Any]) -> None:
    body = chat("shared", PROMPTS[1], **how)
    if "stream_options" not in how:
        assert ask(router, CHAT, body) == ask(embedded, CHAT, body)
    ours, theirs = stream(router, CHAT, body), stream(embedded, CHAT, body)
    assert sorted(map(json.dumps, ours)) == sorted(map(json.dumps, theirs))  # several answers come interleaved
    if "stream_options" in how:
        assert ours[-1]["choices"] == [] and ours[-1]["usage"]["completion_tokens"] == 8 and not ours[-2]["usage"]


@pytest.mark.parametrize(
    "how",
    [
        {"prompt": PROMPTS, "max_tokens": 5},
        {"prompt": [5, 6, 7]},
        {"prompt": "copy w5 w9", "echo": True, "logprobs": 1, "max_tokens": 0},
    ],
)
def test_a_completion_is_answered_as_by_the_embedded_engine(embedded: str, router: str, how: dict[str, Any]) -> None:
    body = {"model": "adapter:copy", **how}
    assert ask(router, COMPLETIONS, body) == ask(embedded, COMPLETIONS, body)


def test_what_the_upstream_refuses_is_relayed_with_its_message(embedded: str, router: str) -> None:
    body = chat("shared", "copy " + "w5 " * 300, max_tokens=200)
    ours, theirs = (httpx.post(url + CHAT, json=body) for url in (router, embedded))
    assert ours.status_code == theirs.status_code == 400
    assert theirs.json()["error"]["message"] in ours.json()["error"]["message"] + "."


def test_labels_and_control_tokens_are_400_and_say_why(embedded: str, router: str) -> None:
    for body, why in (
        (chat("colours", "say w1", multitune={"labels": True}), "multitune.labels"),
        (chat("auto", "say <end> w1"), "messages.0: holds a control token of the base (<end>)"),
    ):
        assert httpx.post(embedded + CHAT, json=body).status_code == 200
        found = httpx.post(router + CHAT, json=body)
        assert found.status_code == 400 and why in found.json()["error"]["message"]


def test_names_figures_and_the_tokenizer_are_served_as_ever(embedded: str, router: str) -> None:
    for path in ("/v1/models", "/tokenizer_info"):
        theirs, ours = (httpx.get(url + path).json() for url in (embedded, router))
        for one in (*theirs.get("data", ()), *ours.get("data", ())):
            del one["created"]
        assert ours == theirs
    figures = httpx.get(f"{router}/metrics").text
    assert "multitune:generation_tokens_total" in figures and "multitune:engine_steps" not in figures
    assert "multitune:num_requests_running 0.0" in figures


def unload(url: str, name: str) -> None:
    body = {"lora_name": name}
    assert httpx.post(f"{url}/v1/unload_lora_adapter", headers=ADMIN, json=body).status_code == 200


def load(url: str, name: str, run: Path) -> None:
    body = {"lora_name": name, "lora_path": str(run / "adapters" / name)}
    assert httpx.post(f"{url}/v1/load_lora_adapter", headers=ADMIN, json=body).status_code == 200


def wait_until_ready(url: str) -> None:
    for _ in range(600):
        if httpx.get(f"{url}/ready").status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError(httpx.get(f"{url}/ready").text)


def test_an_adapter_that_the_upstream_lost_is_loaded_again(embedded: str, router: str, loud_run: Path) -> None:
    before = ask(router, CHAT, chat("shared", PROMPTS[1]))
    unload(embedded, "shared")
    assert httpx.post(router + CHAT, json=chat("shared", PROMPTS[1])).status_code == 502
    for _ in range(600):
        if httpx.get(f"{embedded}/v1/models/adapter:shared").status_code == 200:
            break
        time.sleep(0.1)
    assert ask(router, CHAT, chat("shared", PROMPTS[1])) == before


def test_a_whole_run_agrees_with_its_record_through_the_upstream(finished: Path, server: str) -> None:
    with serving(finished, "--upstream", f"{server}/v1") as url:
        ours, theirs = (httpx.get(f"{one}/ready").json() for one in (url, server))
    assert ours["ready"] and all(row["rows"] == 4 and row["difference"] < 1e-3 for row in ours["parity"])
    assert [(row["adapter"], row["task"]) for row in ours["parity"]] == [
        (row["adapter"], row["task"]) for row in theirs["parity"]
    ]


def test_an_adapter_of_other_weights_at_the_upstream_is_named(finished: Path, embedded: str) -> None:
    """The upstream serves the loud adapters under the names of the quiet run."""
    from tests.serving.test_upstream_faults import routed

    with routed(finished, embedded) as (url, served):
        assert set(served.faults()) == {"colours", "copy", "colours.residual", "copy.residual", "shared"}
        assert httpx.post(url + CHAT, json=chat("shared", "say w1")).status_code == 503
        assert httpx.post(url + CHAT, json=chat("base", "say w1")).status_code == 200
