"""A server on a free port that answers as badly as one wants: slowly without end, in gigabytes, in nonsense."""

import gzip
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

Send = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


def sent(body: bytes, *headers: bytes) -> Send:
    """One whole response."""
    lines = b"".join(line + b"\r\n" for line in (*headers, b"Content-Length: %d" % len(body)))
    return lambda connection: connection.sendall(HEAD + lines + b"\r\n" + body)


def endless(connection: socket.socket) -> None:
    """White space as fast as it goes."""
    connection.sendall(HEAD + b"\r\n")
    while True:
        connection.sendall(b" " * 65536)


def slow(connection: socket.socket) -> None:
    """A byte now and then."""
    connection.sendall(HEAD + b"\r\n")
    while True:
        connection.sendall(b" ")
        threading.Event().wait(0.05)


def answered(text: str = '"yes"', count: str = "3") -> bytes:
    """A chat completion with this text and this number of tokens, as JSON."""
    message = f'{{"role": "assistant", "content": {text}}}'
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": 2}}'
    return f'{{"model": "m", "choices": [{{"index": 0, "message": {message}}}], "usage": {usage}}}'.encode()


# What is one error; and what is an answer, of which only the nonsense is left out.
REFUSED: dict[str, Send] = {
    "slow without end": slow,
    "endless": endless,
    "gzip bomb": sent(gzip.compress(b" " * (64 << 20)), b"Content-Encoding: gzip"),
    "deep": sent(b"[" * 300_000),
    "5,000 digits": sent(answered(count="9" * 5_000)),
}
TAKEN: dict[str, Send] = {
    "a count of 400 digits": sent(answered(count="9" * 400)),
    "half a character": sent(answered(text='"yes \\ud83d"')),
}


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
