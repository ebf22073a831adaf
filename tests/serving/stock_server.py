"""A stock server with the OpenAI API on a free port: lists models as vLLM does, and answers as a test wants."""

import json
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BASE_NAME = "org/base-model"


@dataclass(frozen=True)
class Asked:
    """One POST."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass
class Answering:
    """The connection of one POST, to be answered in any way."""

    number: int  # of answers to calls before it
    _handler: BaseHTTPRequestHandler

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        """A whole answer."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self._handler.send_response(status)
        for name, text in {"Content-Type": "application/json", **headers}.items():
            self._handler.send_header(name.replace("_", "-"), text)
        self._handler.send_header("Content-Length", str(len(body)))
        self._handler.end_headers()
        self._handler.wfile.write(body)

    def stream(self) -> Callable[[str], None]:
        """The beginning of a stream; returns what sends a piece of it."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "text/event-stream")
        self._handler.send_header("Connection", "close")
        self._handler.end_headers()

        def send(text: str) -> None:
            self._handler.wfile.write(text.encode())
            self._handler.wfile.flush()

        return send

    def drop(self) -> None:
        """Nothing at all."""
        self._handler.close_connection = True

    def wait_for_the_end(self) -> bool:
        """Whether the other side closes the connection."""
        self._handler.connection.settimeout(60)
        try:
            return self._handler.connection.recv(1) == b""
        except ConnectionError:
            return True


Respond = Callable[[Answering], None]


@dataclass
class StockServer:
    """A running server."""

    url: str
    respond: Respond
    asked: list[Asked] = field(default_factory=list[Asked])
    loads: bool = False  # whether it loads adapters while it runs
    adapters: list[str] = field(default_factory=list[str])
    bases: list[str] = field(default_factory=lambda: [BASE_NAME])
    up: bool = True  # whether it lists its models

    @property
    def calls(self) -> list[Asked]:
        """POSTs that are to be answered by the model."""
        return [one for one in self.asked if "completions" in one.path]


@contextmanager
def stock(adapters: Sequence[str], respond: Respond) -> Generator[StockServer]:
    """Serve within the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            bases = [{"id": name, "root": name, "parent": None, "max_model_len": 256} for name in server.bases]
            loras = [{"id": name, "root": f"/{name}", "parent": BASE_NAME} for name in server.adapters]
            Answering(0, self).json({"object": "list", "data": [*bases, *loras]}, 200 if server.up else 500)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answering = Answering(len(server.calls), self)
            server.asked.append(Asked(self.path, body, headers))
            if self.path == "/v1/load_lora_adapter":
                if server.loads:
                    server.adapters.append(body["lora_name"])
                answering.json({"detail": "Not Found"}, 200 if server.loads else 404)
            elif self.path == "/v1/chat/completions":
                server.respond(answering)
            else:
                answering.json({"error": {"message": "echo is not supported"}}, 400)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client has left

    with Server(("127.0.0.1", 0), Handler) as http:
        server = StockServer(f"http://127.0.0.1:{http.server_port}/v1", respond, adapters=[*adapters])
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def completion(text: str = "yes", finish: str = "stop") -> dict[str, Any]:
    """A chat completion as vLLM writes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return {"id": "theirs", "object": "chat.completion", "model": "theirs", "choices": [choice], "usage": usage}


def chunk(text: str | None, finish: str | None = None) -> str:
    """A message of a stream."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'theirs', 'model': 'theirs', 'choices': [choice]}, ensure_ascii=False)}\n\n"


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
