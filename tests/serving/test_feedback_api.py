"""Feedback over HTTP: ids that we issued, once, with the key; what was learned survives a kill; conversations stay."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.serving.conftest import serving

KEYS = ("--api-key", "client-key", "--admin-key", "admin-key")
KEY, ADMIN = {"Authorization": "Bearer client-key"}, {"Authorization": "Bearer admin-key"}
LEARNING = ("--learning", "apply", "--keep-text")


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("learning") / "run"))


@pytest.fixture(scope="module")
def url(run: Path) -> Generator[str]:
    with serving(run, *KEYS, *LEARNING) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Generator[httpx.Client]:
    with httpx.Client(base_url=url, headers=KEY, timeout=60) as one:
        yield one


def ask(client: httpx.Client, *turns: str, model: str = "auto", **headers: str) -> dict[str, Any]:
    roles = ["user", "assistant"]
    messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(turns)]
    found = client.post(
        "/v1/chat/completions",
        json={"model": model, "messages": messages, "max_tokens": 2},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    assert found.status_code == 200, found.text
    assert found.headers["x-request-id"] == found.json()["id"]
    return found.json()


def say(client: httpx.Client, request: str, **what: Any) -> httpx.Response:
    return client.post("/v1/feedback", json={"request_id": request, **what})


def test_feedback_is_taken_once_for_an_answer_of_ours(client: httpx.Client) -> None:
    first, second = ask(client, "say w1 w7")["id"], ask(client, "say w3 w21")["id"]
    assert say(client, first, task="colours").json() == {"accepted": True}
    assert say(client, second.removeprefix("chatcmpl-"), correct=True).status_code == 200
    assert say(client, first, correct=False).status_code == 409
    assert client.get("/v1/routing").json()["feedback"] == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"request_id": "chatcmpl-0123", "correct": True}, 404),
        ({"request_id": "chatcmpl-0123", "task": "nothing"}, 400),
        ({"request_id": "chatcmpl-0123"}, 400),
        ({"request_id": "chatcmpl-0123", "task": "copy", "correct": True}, 400),
        ({"request_id": "", "correct": True}, 400),
        ({"correct": True}, 400),
    ],
)
def test_feedback_that_is_none_is_refused(client: httpx.Client, body: dict[str, Any], status: int) -> None:
    found = client.post("/v1/feedback", json=body)
    assert found.status_code == status and found.json()["error"]["message"]


def test_a_request_that_named_its_model_was_not_routed_and_takes_no_feedback(client: httpx.Client) -> None:
    assert say(client, ask(client, "say w1", model="shared")["id"], correct=True).status_code == 404


def test_feedback_needs_the_key_and_the_way_back_the_admins(client: httpx.Client, url: str) -> None:
    assert httpx.post(f"{url}/v1/feedback", json={}).status_code == 401
    assert client.post("/v1/routing/rollback", json={"version": 0}).status_code == 403
    assert client.get("/v1/routing/proposals/1.jsonl").status_code == 403
    assert client.get("/v1/routing/proposals").json() == {"proposals": []}
    with httpx.Client(base_url=url, headers=ADMIN) as admin:
        assert admin.post("/v1/routing/rollback", json={"version": 0}).json()["version"] == 0
        assert admin.post("/v1/routing/rollback", json={"version": 5}).status_code == 400
        assert admin.get("/v1/routing/proposals/1.jsonl").status_code == 400


def test_a_client_that_says_too_much_is_told_to_come_again(client: httpx.Client) -> None:
    codes = {say(client, ask(client, f"say w{n % 40}")["id"], correct=True).status_code for n in range(3)}
    assert codes == {200}


def test_where_a_text_would_go_is_shown_without_an_answer_and_nothing_is_kept(client: httpx.Client) -> None:
    before = client.get("/v1/routing").json()["requests"]
    found = client.post("/v1/route", json={"text": "say w1 w7"}).json()
    assert set(found["probabilities"]) == {"colours", "copy"}
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert found["route"]["task"] == max(found["probabilities"], key=found["probabilities"].get)
    assert client.get("/v1/routing").json()["requests"] == before


def test_a_conversation_stays_where_it_began_and_another_does_not(client: httpx.Client) -> None:
    texts = [f"{verb} w{n} w{(7 * n) % 40}" for verb in ("say", "copy") for n in range(40)]
    routes = {text: client.post("/v1/route", json={"text": text}).json()["route"] for text in texts}
    routed = next(text for text in texts if routes[text]["reason"] == "routed")
    began = ask(client, routed)["multitune"]
    later = ask(client, routed, "yes", "general")["multitune"]
    assert later["adapter"] == began["adapter"]
    alone = client.post("/v1/route", json={"text": f"{routed}\n\ngeneral"}).json()["route"]
    named = ask(client, routed, x_conversation_id="mine")["multitune"]
    again = ask(client, "general", x_conversation_id="mine")["multitune"]
    assert again["adapter"] == named["adapter"]
    assert later["reason"] == "conversation" or alone["adapter"] == began["adapter"]


def test_figures_tell_what_was_learned(client: httpx.Client) -> None:
    exposition = client.get("/metrics").text
    for line in ("multitune:learning_feedback ", "multitune:learning_version 0.0", "multitune:learning_faulty 0.0"):
        assert line in exposition


def test_feedback_survives_a_kill_and_a_restart(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    command = [sys.executable, "-m", "multitune.cli.main", "serve", str(run), "--port", "0", "--learning", "observe"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stdout
        url = server.stdout.readline().split(" at ")[1].split("/v1")[0]
        with httpx.Client(base_url=url, timeout=60) as client:
            asked = [ask(client, f"say w{n}")["id"] for n in range(5)]
            assert [say(client, name, correct=True).status_code for name in asked] == [200] * 5
        server.send_signal(signal.SIGKILL)
    with serving(run, "--learning", "observe") as url, httpx.Client(base_url=url) as client:
        state = client.get("/v1/routing").json()
        assert (state["feedback"], state["requests"], state["mode"]) == (5, 5, "observe")
        assert say(client, asked[0], correct=True).status_code == 409


def test_a_server_that_learns_nothing_says_so_and_keeps_no_file(server: str, finished: Path) -> None:
    client = OpenAI(base_url=f"{server}/v1", api_key="none")
    answer = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "say w1"}], max_tokens=2
    )
    found = httpx.post(f"{server}/v1/feedback", json={"request_id": answer.id, "correct": True})
    assert found.status_code == 400 and "--learning observe" in found.json()["error"]["message"]
    assert not (finished / "learning").exists()
