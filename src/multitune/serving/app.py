"""The web app: the routes of the OpenAI API over a served run."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from multitune.core.errors import InputError, MultituneError
from multitune.deployment.answering import checked_conversation
from multitune.serving.answers import chunks, whole
from multitune.serving.calls import Call, Reception
from multitune.serving.errors import (
    answer_http,
    answer_invalid,
    answer_product_error,
    answer_unexpected,
    error_body,
    status_of,
)
from multitune.serving.protocol import (
    ChatRequest,
    CompletionRequest,
    Decision,
    DetokenizeRequest,
    ErrorBody,
    TokenizeRequest,
)
from multitune.serving.responses import DetokenizeAnswer, ModelCard, ModelList, TokenizeAnswer, TokenizerInfo
from multitune.serving.served_run import ServedRun

T = TypeVar("T")
CLOSED = 499  # the client has gone; nobody reads it
FAULTS: dict[int | str, dict[str, Any]] = {code: {"model": ErrorBody} for code in (400, 404, 429, 500)}


class Api:
    """The routes, as methods."""

    def __init__(self, served: ServedRun) -> None:
        self.served = served
        self.reception = Reception(served)
        self._created = int(time.time())

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """The assistant's next message."""
        return await self._answer(await self.reception.chat(body), request)

    async def completions(self, body: CompletionRequest, request: Request) -> Response:
        """What comes behind each prompt."""
        return await self._answer(await self.reception.completion(body), request)

    async def _answer(self, call: Call, request: Request) -> Response:
        headers = decision_headers(call.decision)
        if call.body.stream:
            parts = chunks(call)
            first = await unless_gone(request, _first(parts))  # what is refused is refused before the answer begins
            if first is None:
                return Response(status_code=CLOSED)
            return StreamingResponse(_events(first, parts), media_type="text/event-stream", headers=headers)
        answer = await unless_gone(request, whole(call))
        if answer is None:
            return Response(status_code=CLOSED)
        return JSONResponse(answer.plain(), headers=headers)

    async def models(self) -> ModelList:
        """All names that `model` may be."""
        longest = self.served.engine.longest
        return ModelList(
            data=tuple(
                ModelCard(id=one.name, created=self._created, root=one.root, parent=one.parent, max_model_len=longest)
                for one in self.served.models
            )
        )

    async def model(self, name: str) -> ModelCard:
        """One of them."""
        self.served.named(name)
        cards = (await self.models()).data
        return next((card for card in cards if card.id == name), cards[1])

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
        return TokenizeAnswer(count=len(tokens), max_model_len=self.served.engine.longest, tokens=tuple(tokens))

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

    async def health(self) -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}


def create_app(served: ServedRun) -> FastAPI:
    """The app of a served run, which it closes at its end."""
    api = Api(served)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await asyncio.to_thread(served.close)
        api.reception.close()

    app = FastAPI(title="multitune", lifespan=lifespan, docs_url=None, redoc_url=None)
    posts = {
        "/v1/chat/completions": api.chat,
        "/v1/completions": api.completions,
        "/tokenize": api.tokenize,
        "/detokenize": api.detokenize,
    }
    gets = {
        "/v1/models": api.models,
        "/v1/models/{name:path}": api.model,
        "/tokenizer_info": api.tokenizer_info,
        "/health": api.health,
    }
    for path, answer in posts.items():
        app.add_api_route(path, answer, methods=["POST"], responses=FAULTS)
    for path, answer in gets.items():
        app.add_api_route(path, answer, methods=["GET"], responses=FAULTS)
    app.add_exception_handler(MultituneError, answer_product_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(Exception, answer_unexpected)
    return app


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
