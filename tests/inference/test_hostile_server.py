"""A server that answers without end, in gigabytes or in nonsense costs a bounded time and leaves nothing behind."""

import gzip
import json
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from multitune.core.errors import ConfigError, ServerError
from multitune.core.records import Example
from multitune.inference.api import ApiModel
from multitune.inference.budget import Caps, Ledger
from multitune.inference.chat import ChatAnswer, ChatRequest, Endpoint, ResponseCache, open_endpoint
from multitune.inference.openai_client import CachedClient, OpenAIClient, RetryPolicy

Send = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
ROW = Example("a", "1", "say", "yes", "yes")


def sent(body: bytes, *headers: bytes) -> Send:
    lines = b"".join(line + b"\r\n" for line in (*headers, b"Content-Length: %d" % len(body)))
    return lambda connection: connection.sendall(HEAD + lines + b"\r\n" + body)


def endless(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n")
    while True:
        connection.sendall(b" " * 65536)


def slow(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n")
    while True:
        connection.sendall(b" ")
        threading.Event().wait(0.05)


def answered(text: str = '"yes"', count: str = "3") -> bytes:
    message = f'{{"role": "assistant", "content": {text}}}'
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": 2}}'
    return f'{{"model": "m", "choices": [{{"index": 0, "message": {message}}}], "usage": {usage}}}'.encode()


@contextmanager
def server(send: Send) -> Generator[str]:
    """The address of one that answers every connection so."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                send(connection)
            except OSError:  # the client has left
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.close()


class _Three:
    def encode_conversations(self, prompts: Any, tools: Any) -> list[range]:
        return [range(3) for _ in prompts]


def ask(address: str, folder: Path) -> ApiModel:
    client = OpenAIClient(Endpoint(address, "m"), RetryPolicy(1, retries=0, timeout=1.0))
    model = ApiModel(CachedClient(client, ResponseCache(folder)), Ledger(Caps(), None), parameters={})
    chat: Any = _Three()
    model.read_as("a", chat, None)
    model.generate([ROW], 20)
    return model


HOSTILE: dict[str, Send] = {
    "slow without end": slow,
    "endless": endless,
    "gzip bomb": sent(gzip.compress(b" " * (64 << 20)), b"Content-Encoding: gzip"),
    "deep": sent(b"[" * 300_000),
    "5,000 digits": sent(answered(count="9" * 5_000)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_has_no_end_or_no_sense_is_one_error_and_not_kept(kind: str, tmp_path: Path) -> None:
    with server(HOSTILE[kind]) as address, pytest.raises(ServerError, match=r"^http://127\.0\.0\.1"):
        ask(address, tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_a_count_of_400_digits_is_no_count(tmp_path: Path) -> None:
    with server(sent(answered(count="9" * 400))) as address:
        (answer,) = ask(address, tmp_path).answers.values()
    assert not answer.counted and answer.prompt_tokens == 3


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    with server(sent(answered(text='"yes \\ud83d"'))) as address:
        (answer,) = ask(address, tmp_path).answers.values()
    assert answer.text == "yes ?"


def test_a_kept_answer_with_such_a_count_is_asked_for_again(tmp_path: Path) -> None:
    store, endpoint = ResponseCache(tmp_path), Endpoint("http://localhost/v1", "m")
    request = ChatRequest("a 1", [{"role": "user", "content": "say"}], {}, 3, 20)
    store.keep(endpoint, request, ChatAnswer("yes", "stop", 3, 2, True, "m"))
    assert store.find(endpoint, request) is not None
    (file,) = tmp_path.rglob("*.json")
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "answer": {**kept["answer"], "prompt_tokens": 10**300}}))
    assert store.find(endpoint, request) is None


def test_openais_key_goes_to_openai_alone_and_no_key_travels_in_the_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert open_endpoint("m", None, None).key == open_endpoint("m", "https://api.openai.com/v1/", None).key == "sk-1"
    for other in ("https://evil.example/v1", "https://api.openai.com.evil.example/v1", "http://api.openai.com/v1"):
        assert open_endpoint("m", other, None).key == ""
    assert open_endpoint("m", "https://models.example/v1", "OPENAI_API_KEY").key == "sk-1"
    with pytest.raises(ConfigError, match=r"would go to models\.example unencrypted"):
        open_endpoint("m", "http://models.example/v1", "OPENAI_API_KEY")
