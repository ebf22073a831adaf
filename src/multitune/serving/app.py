"""The web app: the routes of the OpenAI API over a served run."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from multitune.core.bases import BASE
from multitune.core.errors import InputError, MultituneError
from multitune.core.results.base import Record
from multitune.deployment.answering import checked_conversation
from multitune.serving.access import Access, Keys
from multitune.serving.calls import Call
from multitune.serving.errors import (
    answer_http,
    answer_invalid,
    answer_product_error,
    answer_unexpected,
    error_body,
    status_of,
)
from multitune.serving.learning.routes import learning_routes
from multitune.serving.metrics import RouteCounter, exposition
from multitune.serving.protocol import (
    ChatRequest,
    CompletionRequest,
    Decision,
    DetokenizeRequest,
    ErrorBody,
    LoadAdapter,
    TokenizeRequest,
    UnloadAdapter,
)
from multitune.serving.reception import Reception
from multitune.serving.responses import (
    Completion,
    DetokenizeAnswer,
    ModelCard,
    ModelList,
    Readiness,
    TokenizeAnswer,
    TokenizerInfo,
)
from multitune.serving.served_run import ModelName, ServedRun

_log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_BYTES = 4 << 20  # of a body
FOLDER_PAUSE = 1.0  # seconds between looks at the run folder
NO_KEYS = Keys()
CLOSED = 499  # the client has gone; nobody reads it
FAULTS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorBody} for code in (400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504)
}


def _documented(kind: str, model: type[Record] | None = None) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI file says of an answer that is no JSON, or not always; faults are JSON wherever they are."""
    return {**FAULTS, 200: {"model": model, "content": {kind: {}}}}


GENERATIONS, TEXTS = _documented("text/event-stream", Completion), _documented("text/plain")
DOCUMENTED = {
    **dict.fromkeys(("/v1/chat/completions", "/v1/completions"), GENERATIONS),
    **dict.fromkeys(("/metrics", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"), TEXTS),
}


class Api:
    """The routes, as methods."""

    def __init__(self, served: ServedRun) -> None:
        self.served = served
        self.reception = Reception(served)
        self.routes = RouteCounter()
        self._created = int(time.time())

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """The assistant's next message."""
        given = request.headers.get("x-conversation-id", "")
        name = f"{request.headers.get('authorization', '')} {given}" if given else ""
        return await self._answer(await self.reception.chat(body, name), request)

    async def completions(self, body: CompletionRequest, request: Request) -> Response:
        """What comes behind each prompt."""
        return await self._answer(await self.reception.completion(body), request)

    async def _answer(self, call: Call, request: Request) -> Response:
        headers = {**decision_headers(call.decision), "X-Request-Id": call.public_id}
        self.routes.routed(call.route)
        if call.body.stream:
            parts = self.served.backend.chunks(call)
            first = await unless_gone(request, _first(parts))  # what is refused is refused before the answer begins
            if first is None:
                return Response(status_code=CLOSED)
            return StreamingResponse(_events(first, parts), media_type="text/event-stream", headers=headers)
        answer = await unless_gone(request, self.served.backend.whole(call))
        if answer is None:
            return Response(status_code=CLOSED)
        return Response(answer, media_type="application/json", headers=headers)

    async def models(self) -> ModelList:
        """All names that `model` may be."""
        return ModelList(data=tuple(map(self._card, self.served.models)))

    async def model(self, name: str) -> ModelCard:
        """One of them, or one under another name that a request may give."""
        return self._card(self.served.model(name))

    def _card(self, one: ModelName) -> ModelCard:
        longest = self.served.backend.longest
        return ModelCard(id=one.name, created=self._created, root=one.root, parent=one.parent, max_model_len=longest)

    async def tokenize(self, body: TokenizeRequest) -> TokenizeAnswer:
        """The tokens of a prompt, or of a conversation up to where the answer begins."""
        if (body.prompt is None) == (body.messages is None):
            raise InputError("give one of prompt and messages")
        if body.messages is not None:
            messages = checked_conversation([message.plain() for message in body.messages])
            tokens = self.served.chat.encode_conversations([messages])[0].tolist()
        else:
            found: Any = self.served.chat.tokenizer(
                body.prompt, add_special_tokens=body.add_special_tokens, verbose=False
            )
            tokens = list(found["input_ids"])
        return TokenizeAnswer(count=len(tokens), max_model_len=self.served.backend.longest, tokens=tuple(tokens))

    async def detokenize(self, body: DetokenizeRequest) -> DetokenizeAnswer:
        """The text of tokens."""
        tokenizer = self.served.chat.tokenizer
        if any(not 0 <= token < len(tokenizer) for token in body.tokens):
            raise InputError(f"tokens: this model has {len(tokenizer):,}, numbered from 0")
        return DetokenizeAnswer(prompt=str(tokenizer.decode(body.tokens)))

    async def tokenizer_info(self) -> TokenizerInfo:
        """What a client needs to know of the tokenizer."""
        tokenizer: Any = self.served.chat.tokenizer
        return TokenizerInfo(
            tokenizer_class=type(tokenizer).__name__,
            vocab_size=len(tokenizer),
            bos_token=tokenizer.bos_token,
            eos_token=tokenizer.eos_token,
            pad_token=tokenizer.pad_token,
            chat_template=tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None,
        )

    async def load_adapter(self, body: LoadAdapter) -> PlainTextResponse:
        """Serve one more adapter, or another version of one; the words are vLLM's."""
        await asyncio.to_thread(self.served.load, body.lora_name, body.lora_path, body.load_inplace)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    async def unload_adapter(self, body: UnloadAdapter) -> PlainTextResponse:
        """Serve an adapter no more; requests under way are answered."""
        await asyncio.to_thread(self.served.adapters.unload, body.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")

    async def metrics(self) -> PlainTextResponse:
        """Figures for Prometheus."""
        learning = await asyncio.wrap_future(self.served.learner.state())
        return PlainTextResponse(exposition(self.served, self.routes, learning))

    async def ready(self) -> JSONResponse:
        """Whether requests will be answered as the run's record says; 503 if an adapter is not."""
        outage = self.served.backend.outage
        faults = {**self.served.faults(), **({BASE: outage} if outage else {})}
        found = Readiness(ready=not faults, faults=faults, parity=tuple(self.served.parity))
        return JSONResponse(found.plain(), 503 if faults else 200)

    async def health(self) -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}


AddPage = Callable[[FastAPI, Api], None]


def create_app(
    served: ServedRun, keys: Keys = NO_KEYS, max_bytes: int = MAX_BYTES, page: AddPage | None = None
) -> FastAPI:
    """The app of a served run, which it closes at its end.

    Args:
        served: the run.
        keys: that requests must give.
        max_bytes: most bytes of a request's body.
        page: adds a page for browsers.
    """
    api = Api(served)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        watcher = asyncio.create_task(_follow(served))
        yield
        watcher.cancel()
        await served.backend.disconnect()
        await asyncio.to_thread(served.close)
        api.reception.close()

    app = FastAPI(title="multitune", lifespan=lifespan, docs_url=None, redoc_url=None)
    posts = {
        "/v1/chat/completions": api.chat,
        "/v1/completions": api.completions,
        "/tokenize": api.tokenize,
        "/detokenize": api.detokenize,
        "/v1/load_lora_adapter": api.load_adapter,
        "/v1/unload_lora_adapter": api.unload_adapter,
    }
    gets = {
        "/v1/models": api.models,
        "/v1/models/{name:path}": api.model,
        "/tokenizer_info": api.tokenizer_info,
        "/health": api.health,
        "/ready": api.ready,
        "/metrics": api.metrics,
    }
    for method, routes in (("POST", posts), ("GET", gets)):
        for path, answer in routes.items():
            kind = Response if path in DOCUMENTED else JSONResponse
            responses = DOCUMENTED.get(path, FAULTS)
            app.add_api_route(path, answer, methods=[method], responses=responses, response_class=kind)
    if page:
        page(app, api)
    app.include_router(learning_routes(api.reception, FAULTS))
    app.add_middleware(Access, keys=keys, max_bytes=max_bytes)
    app.add_exception_handler(MultituneError, answer_product_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(Exception, answer_unexpected)
    return app


async def _follow(served: ServedRun) -> None:
    """Take over what other commands do to the run's folder, as they do it."""
    while True:
        await asyncio.sleep(FOLDER_PAUSE)
        try:
            if await asyncio.to_thread(served.refresh):
                _log.info("the run has changed; served now: %s", ", ".join(served.adapters.names))
        except (MultituneError, OSError) as error:
            _log.warning("the run has changed, and what is new cannot be served: %s", error)


def decision_headers(decision: Decision) -> dict[str, str]:
    """The decision as headers, in ASCII."""
    values = {"task": decision.task, "adapter": decision.adapter, "reason": decision.reason}
    found = {f"X-Multitune-{name.title()}": quote(value) for name, value in values.items() if value is not None}
    if decision.probability is not None:
        found["X-Multitune-Probability"] = f"{decision.probability:.6f}"
    return found


async def _first(parts: AsyncGenerator[str]) -> str:
    return await anext(parts)


async def _events(first: str, parts: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """A stream as server-sent events; an error inside it is its last message."""
    try:
        async with aclosing(parts):
            yield f"data: {first}\n\n"
            async for part in parts:
                yield f"data: {part}\n\n"
    except MultituneError as error:
        yield f"data: {error_body(status_of(error), str(error)).model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work comes to; None, and the work cancelled, if the client leaves before."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, watcher):
            one.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)
