"""An OpenAI-compatible server on a free port: as well or as badly behaved as a test wants, or a real model behind it.

By hand: ``python -m tests.chat_server smollm2-135m --port 8001`` serves a base at http://localhost:8001/v1.
"""

import argparse
import json
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from multitune.core.bases import BASE, resolve_base
from multitune.core.records import Segments
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.inference.generate import GenerateOptions, generate
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.device import Dtype

Respond = Callable[["Request"], "Response"]


@dataclass(frozen=True)
class Request:
    """One POST to /chat/completions."""

    number: int  # from 0, in the order of arrival
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def prompt(self) -> str:
        return self.body["messages"][-1]["content"]


@dataclass(frozen=True)
class Response:
    """What goes back; `drop` closes the connection without a word."""

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    drop: bool = False


def completion(text: str | None, prompt_tokens: int = 10, answer_tokens: int = 2, **fields: Any) -> Response:
    """A chat completion as OpenAI writes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": answer_tokens}
    return Response(text=json.dumps({"model": "served", "choices": [choice], "usage": usage, **fields}))


def failure(status: int, message: str, **headers: str) -> Response:
    """An error as OpenAI writes it."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, json.dumps({"error": {"message": message}}), names)


@dataclass
class ChatServer:
    """A running server."""

    url: str
    models: list[str]
    requests: list[Request] = field(default_factory=list[Request])


@contextmanager
def serving(respond: Respond, models: tuple[str, ...] = ("served",), port: int = 0) -> Generator[ChatServer]:
    """Serve within the block."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = self.path == "/v1/models"
            self._send(Response(200, json.dumps({"data": [{"id": name} for name in models]})) if found else NOT_FOUND)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path != "/v1/chat/completions":
                return self._send(NOT_FOUND)
            with lock:
                request = Request(len(server.requests), body, {k.lower(): v for k, v in self.headers.items()})
                server.requests.append(request)
            return self._send(respond(request))

        def _send(self, response: Response) -> None:
            if response.drop:
                self.close_connection = True
                return
            payload = response.text.encode()
            self.send_response(response.status)
            for name, value in {"content-length": str(len(payload)), **response.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as http:
        http.daemon_threads = True
        server = ChatServer(f"http://127.0.0.1:{http.server_port}/v1", list(models))
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


NOT_FOUND = Response(404, "<html><body>Not <b>found</b></body></html>")


BATCH = 8  # requests that are answered together


def model_behind(base: str, dtype: Dtype = "auto") -> Respond:
    """A base that answers greedily; requests that wait at the same time are answered together."""
    ref = resolve_base(base, Path.cwd())
    chat = ChatFormat(load_tokenizer(ref))
    bank = AdapterBank(load_backbone(ref, "cpu", dtype))
    waiting: list[tuple[int, np.ndarray, Future[str]]] = []
    lock = threading.Lock()

    def answer_some() -> None:
        with lock:
            if not waiting:
                return  # another thread has answered ours
            most = waiting[0][0]
            batch = [item for item in waiting if item[0] == most][:BATCH]
            waiting[:] = [item for item in waiting if not any(item is taken for taken in batch)]
            rows = [Segments(prompt, prompt[-1:]) for _, prompt, _ in batch]
            texts = generate(bank, BASE, rows, chat, GenerateOptions(most, BATCH)).texts
            for (_, _, future), text in zip(batch, texts, strict=True):
                future.set_result(text)

    def respond(request: Request) -> Response:
        prompt = chat.encode_prompts([request.prompt])[0]
        most, future = request.body.get("max_tokens", 64), Future[str]()
        waiting.append((most, prompt, future))
        while not future.done():
            answer_some()
        used = len(chat.tokenizer(future.result(), add_special_tokens=False)["input_ids"])
        choice = {
            "message": {"role": "assistant", "content": future.result()},
            "finish_reason": "length" if used >= most else "stop",
        }
        return completion(future.result(), len(prompt), used, model=request.body["model"], choices=[choice])

    return respond


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("--port", type=int, default=8001)
    chosen = parser.parse_args()
    with serving(model_behind(chosen.base), (chosen.base,), chosen.port) as server:
        print(f"{chosen.base} at {server.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
