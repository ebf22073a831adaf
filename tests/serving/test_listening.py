"""A connection is given up that sends no whole request in time, and one that waits for its answer is not."""

import asyncio
import socket
import threading
from collections.abc import Generator
from typing import Any

import httpx
import pytest
import uvicorn

from multitune.serving.listening import protocol

WITHIN = 0.6  # seconds
HALVES = {
    "nothing": b"",
    "half a head": b"POST / HTTP/1.1\r\nHost: localhost\r\n",
    "half a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf",
}


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, takes three times as long as a client may, and answers."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(3 * WITHIN)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"whole"})


@pytest.fixture(scope="module")
def address() -> Generator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(slow_app, http=protocol(WITHIN), lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_is_given_up(half: str, address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(HALVES[half])
        connection.settimeout(30)
        assert connection.recv(100) == b""


def test_a_whole_request_is_answered_however_long_that_takes(address: tuple[str, int]) -> None:
    host, port = address
    assert httpx.post(f"http://{host}:{port}/", content=b"0123456789", timeout=30).text == "whole"
