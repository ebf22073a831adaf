"""The reception of requests: each is routed once, tokenised, and handed on as a call."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from multitune.core.errors import InputError, MultituneError
from multitune.core.records import Message
from multitune.deployment.answering import AUTO, checked_conversation
from multitune.serving.calls import Call
from multitune.serving.decisions import CONVERSATION, ROUTED, Route
from multitune.serving.learning.conversations import Conversations, EarlierRoute
from multitune.serving.protocol import ChatRequest, CompletionRequest, Decision, Generation
from multitune.serving.served_run import ServedRun
from multitune.tasks.shots import behind_shots

T = TypeVar("T")


class FaultyAdapterError(MultituneError):
    """A request needs an adapter that is not there, or does not answer as the run's record says."""


@dataclass(slots=True)
class Reception:
    """Makes calls of requests. Routing and tokenising have a thread of their own, beside that of the engine."""

    served: ServedRun
    conversations: Conversations = field(default_factory=Conversations)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "multitune-tokenizer"))

    async def chat(self, body: ChatRequest, conversation: str = "") -> Call:
        """A chat that is to be answered.

        Args:
            body: of the request.
            conversation: its name, if the client gives it one.

        Raises:
            InputError: no such model, or no chat that an answer could follow.
            OverloadedError: the queue is full; nothing was tokenised.
        """
        self.served.backend.require_room(body.n)
        messages = checked_conversation([message.plain() for message in body.messages])
        text = "\n\n".join(m["content"] for m in messages if m["role"] == "user")
        name = uuid.uuid4().hex
        route = await self._route(body, lambda: text, name, self.conversations.earlier(messages, conversation))
        if route.task and route.reason in (ROUTED, CONVERSATION):
            self.conversations.remember(messages, conversation, EarlierRoute(route.task, route.adapter))
        task = self.served.task_of(route)
        asked = behind_shots(task.shots, messages) if task else messages
        encode = self.served.chat_of(route).encode_conversations
        return await self._call(body, name, route, messages=asked, tokenise=lambda: encode([asked]))

    async def completion(self, body: CompletionRequest) -> Call:
        """Prompts that are to be gone on with.

        Raises:
            InputError, OverloadedError: as `chat`; or a prompt without a token.
        """
        self.served.backend.require_room(body.n * len(body.prompts))
        first = body.prompts[0] if body.prompts else ""
        if body.model == AUTO and len(body.prompts) > 1:
            raise InputError("model: auto finds the adapter of one prompt at a time. Name a task, or send one prompt")
        name = uuid.uuid4().hex
        route = await self._route(body, lambda: self._text(first), name)
        tokenise = partial(list, map(self._tokens, body.prompts))
        return await self._call(body, name, route, messages=(), tokenise=tokenise)

    async def _route(
        self, body: Generation, text: Callable[[], str], name: str, earlier: EarlierRoute | None = None
    ) -> Route:
        route = self.served.named(body.model)
        if route is None:
            route = await self.off_loop(lambda: self.served.route(text(), name, earlier))
        if body.multitune.labels:
            task = self.served.tasks.get(route.task or "")
            if task is not None and task.kind == "labels":
                raise InputError(
                    f"multitune.labels: task {task.name!r} answers with any number of its labels, one per line. "
                    "Ask without it"
                )
            if task is None or task.kind != "classify":
                raise InputError("multitune.labels: no task of kind classify is asked. Name one as the model")
        return route

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Let the router work where it may: on the engine's thread if it reads layers of the base, else on ours."""
        if self.served.routes_on_engine:
            return await asyncio.wrap_future(self.served.backend.run(work))
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _call(
        self,
        body: ChatRequest | CompletionRequest,
        name: str,
        route: Route,
        *,
        messages: Sequence[Message],
        tokenise: Callable[[], list[np.ndarray]],
    ) -> Call:
        if fault := self.served.faults().get(route.adapter):
            raise FaultyAdapterError(f"adapter {route.adapter!r} cannot be asked: {fault}")
        prompts = await asyncio.get_running_loop().run_in_executor(self._thread, tokenise)
        if not prompts or not all(map(len, prompts)):
            raise InputError("prompt: it holds no token. Give a text that is not empty")
        served = self.served
        call = Call(
            body,
            route,
            version=served.adapters.version(route.adapter),
            asked=served.task_of(route),
            meant=served.tasks.get(route.task or ""),
            chat=served.chat_of(route),
            messages=messages,
            prompts=prompts,
            decision=Decision.of(route),
            id=name,
        )
        if call.texts is not None and len(prompts) > 1:
            raise InputError("prompt: a choice is made for one prompt at a time. Send each in a request of its own")
        return call

    def _text(self, prompt: str | list[int]) -> str:
        """A prompt's text, as the router reads it.

        Raises:
            InputError: a token is none of the vocabulary.
        """
        return prompt if isinstance(prompt, str) else str(self.served.chat.tokenizer.decode(self._tokens(prompt)))

    def _tokens(self, prompt: str | list[int]) -> np.ndarray:
        """A prompt's tokens.

        Raises:
            InputError: one is none of the vocabulary.
        """
        tokenizer = self.served.chat.tokenizer
        if isinstance(prompt, str):
            return np.array(tokenizer(prompt, verbose=False)["input_ids"], dtype=np.int32)
        wrong = [token for token in prompt if not 0 <= token < len(tokenizer)]
        if wrong:
            raise InputError(f"prompt: {wrong[0]} is no token of this model, which has {len(tokenizer):,}")
        return np.array(prompt, dtype=np.int32)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)
