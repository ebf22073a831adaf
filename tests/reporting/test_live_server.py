"""The live page and its stream, asked over a real server: nothing is missed, nothing doubled, nothing acts."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from multitune.core.errors import InputError, MissingExtraError, RunFolderError
from multitune.reporting.live import create_app, serve
from multitune.serving.listening import LOCAL, is_known, names_of, protocol

PATIENCE = 60.0  # seconds until a stream that says nothing fails a test
HOSTILE = "</script><script>alert(1)</script>&\"'"
ROOT = Path(__file__).parents[2]


def step(number: int, **losses: float) -> dict[str, Any]:
    adapters = {"shared": {"loss": 1.0, "tasks": losses or {"tweets": 1.0}, "shares": {"tweets": 1.0}}}
    counts = {"steps": 9, "seconds": 0.5 + number / 1e6, "tokens": 10}
    return {"kind": "step", "step": number, **counts, "adapters": adapters}


def write(folder: Path, *events: dict[str, Any], anew: bool = False) -> None:
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    if anew:  # in one piece: a reader who looked in between would see a log that began from nothing
        (folder / "new").write_bytes(lines)
        (folder / "new").replace(folder / "events.jsonl")
        return
    with (folder / "events.jsonl").open("ab") as file:
        file.write(lines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "demo"
    path.mkdir()
    (path / "config.yaml").write_text("name: demo\ntasks: [{name: tweets}]\n")
    return path


@contextlib.contextmanager
def served(folder: Path) -> Generator[str]:
    """The address of a server of this folder on a free port."""
    app = create_app(folder, LOCAL, lambda: server.should_exit)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off", http=protocol(1.0)))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


Message = dict[str, Any]


@contextlib.contextmanager
def stream(url: str, last: str | None = None) -> Generator[Iterator[Message]]:
    """The messages of the stream as a browser would take them: id, kind of event, data."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with httpx.stream("GET", f"{url}/events", headers=headers, timeout=PATIENCE) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")

        def read() -> Iterator[Message]:
            message: Message = {}
            for line in answer.iter_lines():
                if line:
                    key, _, value = line.partition(": ")
                    message[key] = json.loads(value) if key == "data" else value
                elif "data" in message:
                    yield message
                    message = {}

        yield read()


def until(messages: Iterator[Message], enough: Callable[[Message], bool]) -> list[Message]:
    """The messages up to the first that is enough."""
    found: list[Message] = []
    for message in messages:
        found.append(message)
        if enough(message):
            return found
    raise AssertionError(f"the stream ended with {found[-1:]}")


def is_step(number: int) -> Callable[[Message], bool]:
    return lambda message: message["data"].get("event", {}).get("step") == number


def is_state(state: str) -> Callable[[Message], bool]:
    return lambda message: message["data"].get("state") == state


def steps(messages: list[Message]) -> list[int]:
    return [message["data"]["event"]["step"] for message in messages if "id" in message]


def test_a_reader_who_comes_back_misses_nothing_and_gets_nothing_twice(folder: Path) -> None:
    write(folder, *(step(i) for i in (1, 2, 3, 4)))
    with served(folder) as url:
        with stream(url) as messages:
            first = until(messages, is_step(3))
        write(folder, step(5), step(6))
        with stream(url, first[-1]["id"]) as messages:
            second = until(messages, is_step(6))
    assert steps(first) + steps(second) == [1, 2, 3, 4, 5, 6]
    assert [m["data"]["number"] for m in first + second if "id" in m] == list(range(6))


def test_a_reader_who_comes_back_to_another_server_goes_on_too(folder: Path) -> None:
    write(folder, step(1), step(2))
    with served(folder) as url, stream(url) as messages:
        last = until(messages, is_step(2))[-1]["id"]
    write(folder, step(3))
    with served(folder) as url, stream(url, last) as messages:
        assert steps(until(messages, is_step(3))) == [3]


def test_a_reader_who_was_away_while_the_run_went_back_is_told_all_from_the_start(folder: Path) -> None:
    write(folder, step(1), step(2), step(3))
    with served(folder) as url:
        with stream(url) as messages:
            last = until(messages, is_step(3))[-1]["id"]
        write(folder, step(1), {**step(2), "seconds": 7.0}, anew=True)
        with stream(url, last) as messages:
            told = until(messages, is_step(2))
    assert [m["data"]["number"] for m in told if "id" in m] == [0, 1]


def test_a_connected_reader_is_told_where_a_run_went_back_to(folder: Path) -> None:
    write(folder, step(1), step(2), step(3))
    with served(folder) as url, stream(url) as messages:
        until(messages, is_step(3))
        write(folder, step(1), {**step(2), "seconds": 7.0}, anew=True)
        told = [m for m in until(messages, is_step(2)) if "id" in m]
    assert [(m["data"]["number"], m["data"]["event"]["seconds"]) for m in told] == [(1, 7.0)]


def test_a_half_written_line_is_not_sent_before_it_is_whole(folder: Path) -> None:
    text = json.dumps(step(2)) + "\n"
    write(folder, step(1))
    with served(folder) as url, stream(url) as messages:
        until(messages, is_step(1))
        for part in (text[:20], text[20:]):
            with (folder / "events.jsonl").open("a") as file:
                file.write(part)
            time.sleep(0.6)  # more than a look
        assert [m["data"]["number"] for m in until(messages, is_step(2)) if "id" in m] == [1]


def test_the_end_of_a_run_is_told_and_then_whether_there_is_a_report(folder: Path) -> None:
    with served(folder) as url, stream(url) as messages:
        until(messages, is_state("stopped"))
        assert httpx.get(f"{url}/report").status_code == 404
        (folder / "scores.json").write_text("{}")
        assert until(messages, is_state("finished"))[-1]["data"]["report"] is False
        (folder / "report.html").write_text("<p>the report")
        until(messages, lambda message: message["data"].get("report") is True)
        answer = httpx.get(f"{url}/report")
    assert (answer.text, answer.headers["content-type"]) == ("<p>the report", "text/html; charset=utf-8")


def test_what_a_log_says_cannot_leave_its_line_of_the_stream(folder: Path) -> None:
    forged = "x\n\nid: 7-forged\ndata: {}\n\n\u2028\r\r"
    write(folder, {"kind": "note", "text": forged}, step(1, tweets=float("nan")))
    with served(folder) as url, stream(url) as messages:
        told = until(messages, is_step(1))
    assert [m["data"]["number"] for m in told if "id" in m] == [0, 1]
    assert told[0]["data"]["event"]["text"] == forged
    assert told[-1]["data"]["event"]["adapters"]["shared"]["tasks"] == {"tweets": None}


def test_the_page_shows_a_hostile_name_as_text_and_runs_its_own_script_alone(tmp_path: Path, folder: Path) -> None:
    hostile = tmp_path / HOSTILE.replace("/", "\u2044")
    shutil.copytree(folder, hostile)
    with served(hostile) as url:
        page = httpx.get(f"{url}/")
    assert len(re.findall("<script", page.text)) == 1 and '<script src="live.js" defer></script>' in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_the_script_writes_no_markup() -> None:
    script = (ROOT / "src/multitune/reporting/live.js").read_text("utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script) == []


def test_all_that_the_page_asks_for_is_served_and_nothing_can_be_changed(folder: Path) -> None:
    with served(folder) as url, httpx.Client(base_url=url) as client:
        page = client.get("/").text
        for place in re.findall(r'(?:src|href)="([^"]+)"', page):
            expected = 404 if place == "report" else 200
            assert client.get(place).status_code == expected, place
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for place in ("/", "/events", "/report"):
                assert client.request(method, place).status_code == 405
        for place in ("/openapi.json", "/docs", "/config.yaml", "/../config.yaml", "/%2e%2e/demo/config.yaml"):
            assert client.get(place).status_code == 404


def test_another_sites_name_for_this_machine_is_refused(folder: Path) -> None:
    with served(folder) as url:
        assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400


def test_a_server_for_other_machines_knows_its_own_names_and_no_other_sites() -> None:
    names = names_of("0.0.0.0")
    known = ["localhost:8417", "192.168.1.7:8417", "[fe80::1]:8417", f"{socket.gethostname()}:8417".upper()]
    assert all(is_known(asked, names) for asked in known)
    assert not any(is_known(asked, names) for asked in ("evil.example", "127.0.0.1.evil.example", "", "[", "*"))
    assert not is_known("192.168.1.7", names_of("127.0.0.1"))


def test_half_a_request_is_given_up_and_a_stream_is_not(folder: Path) -> None:
    write(folder, step(1))
    with served(folder) as address:
        host, port = address.removeprefix("http://").strip("/").split(":")
        halves = [socket.create_connection((host, int(port))) for _ in range(20)]
        for half in halves:
            half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            half.settimeout(PATIENCE)
        with httpx.stream("GET", f"{address}/events", timeout=PATIENCE) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("id: ")
            assert all(half.recv(100) == b"" for half in halves)
            write(folder, step(2))
            assert any('"step": 2' in line for line in lines)
        for half in halves:
            half.close()


def test_no_page_may_be_framed(folder: Path) -> None:
    (folder / "report.html").write_text("<p>report")
    with served(folder) as address:
        for page in ("/", "/report"):
            headers = httpx.get(f"{address}{page}").headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"


def test_the_command_serves_until_ctrl_c_and_leaves_quietly(folder: Path) -> None:
    command = [sys.executable, "-m", "multitune.cli.main", "watch", folder, "--browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        with stream(url) as messages:  # one that is still open
            until(messages, is_state("stopped"))
            process.send_signal(2)
            _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")


def test_a_port_that_is_taken_is_the_users_fault_and_says_so(folder: Path) -> None:
    with served(folder) as url, pytest.raises(InputError, match="Choose another port, or 0"):
        serve(folder, "127.0.0.1", int(url.rpartition(":")[2]), lambda _: None)


def test_a_host_that_is_none_is_the_users_fault(folder: Path) -> None:
    with pytest.raises(InputError, match=r"--host no\.such\.host\.invalid"):
        serve(folder, "no.such.host.invalid", 0, lambda _: None)


@pytest.mark.parametrize("missing", ["uvicorn", "fastapi"])
def test_a_missing_extra_is_one_message_with_the_command(
    missing: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'multitune[serve]'")):
        serve(folder, "127.0.0.1", 0, lambda _: None)


def test_what_is_no_run_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        create_app(tmp_path)
