"""Faults of clients, administrators, files and clocks: each is met by the real server, and nobody else notices."""

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import psutil
import pytest

from tests.serving.conftest import serving
from tests.serving.test_operations import ADMIN, ASKED, CHAT, KEY, changed, figure, load, text, unload

CLOSE = "Connection: close"
KEYS = ("--api-key", "client-key", "--admin-key", "admin-key")
CONNECTIONS = 10_000


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("faults") / "run"))


@pytest.fixture(scope="module")
def faced(run: Path) -> Generator[str]:
    with serving(run, *KEYS, says="Invalid HTTP request received") as url:
        with connect(url) as broken:  # so that it says so whichever tests this process runs
            broken.sendall(b"no request\r\n\r\n")
            assert broken.recv(100).startswith(b"HTTP/1.1 400")
        yield url


@pytest.fixture
def admin(faced: str) -> Generator[httpx.Client]:
    with httpx.Client(base_url=faced, headers=ADMIN, timeout=120) as client:
        yield client


def connect(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((where.hostname, where.port), timeout=120)


def request(body: dict[str, Any], *headers: str) -> bytes:
    """A chat as it is on the wire, with headers besides."""
    sent = json.dumps(body).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(sent)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + sent


def statuses(url: str, sent: bytes) -> list[int]:
    """All that a connection answers to some bytes, until the server closes it."""
    with connect(url) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65536):
            received += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]


def test_a_client_that_does_not_read_holds_up_nobody_and_finds_all_of_its_answer(
    faced: str, admin: httpx.Client
) -> None:
    body = {**ASKED, "model": "shared", "max_tokens": 120, "n": 8, "stream": True, "logprobs": True}
    body |= {"top_logprobs": 20, "temperature": 2, "seed": 1}
    expected = text(admin, "base")
    with connect(faced) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(request(body, "Authorization: Bearer client-key", CLOSE))
        assert text(admin, "base") == expected
        deadline = time.monotonic() + 120
        while figure(admin, "num_requests_running") or not figure(admin, "generation_tokens_total"):
            assert time.monotonic() < deadline, "it holds its places although all is generated"
            time.sleep(0.05)
        received = b""
        while part := slow.recv(65536):
            received += part
    assert len(re.findall(rb'"finish_reason": "(?:length|stop)"', received)) == 8 and received.rstrip().endswith(b"0")
    assert b"data: [DONE]" in received and len(received) > 1_000_000


@pytest.mark.parametrize(
    "name",
    [
        *("../../../etc/passwd", "/etc/passwd", "adapters/shared", "./shared", "shared/../copy", "shared\0"),
        *("shared\n", "file:///etc/passwd", "..\\..\\secret", "%2e%2e%2fshared", "adapter:../copy", "~"),
    ],
)
def test_a_model_that_is_a_path_is_a_name_that_does_not_exist(admin: httpx.Client, name: str) -> None:
    found = admin.post(CHAT, json={**ASKED, "model": name})
    assert (found.status_code, found.json()["error"]["code"]) == (404, "model_not_found")
    assert admin.get(f"/v1/models/{quote(name, safe='')}").status_code == 404
    assert unload(admin, name).status_code == 404
    assert load(admin, name, "adapters/shared").status_code == 400


@pytest.mark.parametrize("ending", ["%0A", "%0D", "%00", "%09", "/", "?x", "%2F", ";x", "%20", "//", "%C2%85"])
@pytest.mark.parametrize("route", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/routing/rollback"])
def test_no_spelling_of_an_admins_route_is_open_to_a_client(
    faced: str, admin: httpx.Client, route: str, ending: str
) -> None:
    body = {"lora_name": "sneaked", "lora_path": "adapters/shared", "version": 0}
    for path in (route + ending, "/" + route + ending, route.upper() + ending, f"/x/..{route}"):
        found = httpx.post(faced + path, headers=KEY, json=body, follow_redirects=True, timeout=60)
        assert found.status_code in (403, 404, 405), path
    assert "sneaked" not in [one["id"] for one in admin.get("/v1/models").json()["data"]]


def test_headers_that_trick_servers_get_a_refusal_or_the_answer(faced: str, admin: httpx.Client) -> None:
    key, chunked = "Authorization: Bearer client-key", "Transfer-Encoding: chunked"
    smuggled = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{key}\r\n\r\n"
    tricks: dict[str, Sequence[str]] = {
        "two lengths": (key, "Content-Length: 3"),
        "a length and chunks": (key, chunked),
        "a length below zero": (key, "Content-Length: -1"),
        "a length in other digits": (key, "Content-Length: \xb2"),
        "chunks of chunks": (key, f"{chunked}, chunked"),
        "an unknown coding": (key, "Transfer-Encoding: gzip"),
        "a folded line": (key, "X-One: 1\r\n  2"),
        "a space before the colon": (key, "X-One : 1"),
        "a null": (key, "X-One: \0"),
        "a name without a value": (key, "X-One"),
        "a huge header": (key, f"X-One: {'x' * 100_000}"),
        "a thousand headers": (key, *(f"X-{n}: {n}" for n in range(1000))),
        "the admin's key behind a client's": (key, "Authorization: Bearer admin-key"),
        "a key in other bytes": ("Authorization: Bearer \xff\xfe",),
        "another host": (key, "Host: evil.example"),
        "a conversation of any bytes": (key, f"X-Conversation-Id: {chr(233) * 5000}"),
        "another client's address": (key, "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: evil.example"),
        "an upgrade": (key, "Connection: Upgrade", "Upgrade: websocket"),
        "an expectation": (key, "Expect: 100-continue"),
    }
    for trick, headers in tricks.items():
        sent = request({**ASKED, "max_tokens": 1}, *headers, CLOSE)
        found = [status for status in statuses(faced, sent) if status != 100]
        assert len(found) == 1 and set(found) <= {200, 400, 401, 404, 405, 411, 413, 431, 501}, (trick, found)
    head = request(ASKED, key, chunked).partition(b"\r\n\r\n")[0]
    assert statuses(faced, head + b"\r\n\r\n0\r\n\r\n" + smuggled.encode()) == [400], "a request out of a body"
    assert text(admin, "shared")


def test_two_administrators_who_replace_one_adapter_leave_one_of_their_versions(
    admin: httpx.Client, run: Path
) -> None:
    louder = {"one": 20.0, "two": -15.0}
    folders = [changed(run / "adapters" / "shared", run / "more" / name, by) for name, by in louder.items()]
    answers: list[str] = []
    for folder in folders:
        assert load(admin, "fought", folder, load_inplace=True).status_code == 200
        answers.append(text(admin, "fought"))
    assert answers[0] != answers[1]

    def replace(number: int) -> int:
        return load(admin, "fought", folders[number % 2], load_inplace=True).status_code

    def ask(number: int) -> str:
        return text(admin, "fought")

    with ThreadPoolExecutor(8) as threads:
        replaced = threads.map(replace, range(24))
        asked = threads.map(ask, range(24))
        assert set(replaced) == {200} and set(asked) <= set(answers)
    assert text(admin, "fought") in answers
    with ThreadPoolExecutor(8) as threads:
        gone = list(threads.map(lambda _: unload(admin, "fought").status_code, range(8)))
    assert sorted(gone) == [200, *[404] * 7]


def test_a_router_cut_in_half_while_it_is_served_leaves_the_base_to_answer_and_a_whole_one_is_taken_up(
    run: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    asked = {**ASKED, "model": "auto"}

    def reason(client: httpx.Client) -> str:
        found = client.post(CHAT, json=asked)
        assert found.status_code == 200, found.text
        return found.json()["multitune"]["reason"]

    def wait(client: httpx.Client, unavailable: bool) -> None:
        deadline = time.monotonic() + 60
        while (reason(client) == "router-unavailable") is not unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    with serving(own, *KEYS) as url, httpx.Client(base_url=url, headers=ADMIN, timeout=60) as client:
        assert reason(client) != "router-unavailable"
        shutil.copytree(own / "routing" / "v0001", tmp_path / "v0002")
        for file in (tmp_path / "v0002").rglob("*.safetensors"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        (tmp_path / "v0002").rename(own / "routing" / "v0002")
        wait(client, unavailable=True)
        assert text(client, "shared") and client.get("/health").status_code == 200
        shutil.copytree(own / "routing" / "v0001", tmp_path / "v0003")
        (tmp_path / "v0003").rename(own / "routing" / "v0003")
        wait(client, unavailable=False)
    (own / "routing" / "v0004").mkdir()
    with (
        serving(own, *KEYS, says="model auto is answered by the base") as url,
        httpx.Client(base_url=url, headers=ADMIN, timeout=60) as client,
    ):
        assert reason(client) == "router-unavailable"


def test_requests_are_answered_while_nothing_can_be_written_and_feedback_is_refused(run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    asked = {**ASKED, "model": "auto", "max_tokens": 1}
    with (
        serving(own, *KEYS, "--learning", "observe") as url,
        httpx.Client(base_url=url, headers=ADMIN, timeout=60) as client,
    ):
        first = client.post(CHAT, json=asked).json()
        server = next(one for one in psutil.Process().children() if str(own) in one.cmdline())
        server.rlimit(psutil.RLIMIT_FSIZE, (1, 1))  # every file is as large as it may be
        for _ in range(5):
            found = client.post(CHAT, json=asked)
            assert found.status_code == 200 and found.json()["multitune"]["reason"] != "router-unavailable"
        given = client.post("/v1/feedback", json={"request_id": first["id"], "task": "colours"})
        assert (given.status_code, given.headers["retry-after"]) == (503, "1")
        assert figure(client, "learning_faulty") == 1 and client.get("/ready").status_code == 200


def test_ten_thousand_connections_that_say_nothing_keep_nobody_from_an_answer(faced: str, admin: httpx.Client) -> None:
    own = psutil.Process()
    soft, hard = own.rlimit(psutil.RLIMIT_NOFILE)
    own.rlimit(psutil.RLIMIT_NOFILE, (hard, hard))
    count = min(CONNECTIONS, (hard if hard > 0 else 1 << 20) - 500)
    answers: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=faced, headers=KEY, timeout=120) as client:
            while not stop.is_set():
                answers.append(text(client, "shared"))

    expected = text(admin, "shared")
    try:
        with ExitStack() as opened:
            asking = threading.Thread(target=ask)
            asking.start()
            for _ in range(count):
                opened.enter_context(connect(faced))
            with httpx.Client(base_url=faced, headers=KEY, timeout=120) as late:
                assert text(late, "shared") == expected
            stop.set()
            asking.join()
        assert set(answers) == {expected}
        assert text(admin, "shared") == expected
    finally:
        stop.set()
        own.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
