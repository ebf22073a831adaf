"""One call of the API, from its body to its answers: routed, tokenised, generated or chosen by likelihood."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from multitune.core.errors import InputError, MultituneError
from multitune.data.tokenizer import ChatFormat
from multitune.deployment.answering import AUTO, checked_conversation
from multitune.inference.predict import LONGEST_ANSWER
from multitune.serving.grammars import Grammar
from multitune.serving.learning.conversations import Conversations, EarlierRoute
from multitune.serving.protocol import ChatRequest, CompletionRequest, Decision, Generation, Usage
from multitune.serving.requests import Delta, GenerationRequest
from multitune.serving.responses import Collected
from multitune.serving.sampling import SamplingOptions
from multitune.serving.served_run import CONVERSATION, Route, ServedRun
from multitune.serving.tickets import Ticket
from multitune.tasks.shots import behind_shots

ROUTED = "routed"
T = TypeVar("T")


class EngineFailedError(MultituneError):
    """A request failed inside the engine; the message says why."""


class FaultyAdapterError(MultituneError):
    """A request needs an adapter that does not answer as the run's record says."""


@dataclass(slots=True)
class Call:
    """A request of a client with everything that its answer needs."""

    served: ServedRun
    body: ChatRequest | CompletionRequest
    route: Route
    chat: ChatFormat
    prompts: list[np.ndarray]  # int32 (prompt_token,) each
    decision: Decision
    id: str  # by which feedback may name it
    grammar: Grammar | None = None  # of what its answers must be
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def public_id(self) -> str:
        """What its answer is called."""
        return f"{'chatcmpl' if isinstance(self.body, ChatRequest) else 'cmpl'}-{self.id}"

    @property
    def echoes(self) -> bool:
        """Whether the prompt is part of the answer."""
        return isinstance(self.body, CompletionRequest) and self.body.echo

    @property
    def alternatives(self) -> int | None:
        """How many to report for each token; None reports nothing."""
        return self.body.alternatives if isinstance(self.body, ChatRequest) else self.body.logprobs

    @property
    def answers(self) -> int:
        """How many answers it has."""
        return len(self.prompts) * self.body.n

    @property
    def texts(self) -> Sequence[str] | None:
        """Texts of which the answer is one: those that the request lists, or the labels of its task."""
        if self.body.choices:
            return self.body.choices
        return self.served.tasks[str(self.route.task)].labels if self.body.multitune.labels else None

    def usage(self, answers: Sequence[Collected]) -> Usage:
        """Tokens of all prompts and answers."""
        prompts, generated = sum(map(len, self.prompts)), sum(one.generated for one in answers)
        return Usage(prompt_tokens=prompts, completion_tokens=generated, total_tokens=prompts + generated)

    async def deltas(self) -> AsyncGenerator[tuple[int, Delta]]:
        """What the engine brings, by the number of the answer.

        Raises:
            InputError, OverloadedError: the engine does not take the request.
            EngineFailedError: it failed there.
        """
        ticket = Ticket(self.served.engine)
        for place, prompt in enumerate(self.prompts):
            for number in range(self.body.n):
                index = place * self.body.n + number
                ticket.requests.append(self._request(prompt, number, ticket, index))
        async with aclosing(ticket.deltas()) as deltas:
            async for index, delta in deltas:
                if delta.refused:
                    raise InputError(delta.error)
                if delta.finish in ("error", "cancelled"):
                    raise EngineFailedError(delta.error or "the server ends")
                yield index, delta

    def _request(self, prompt: np.ndarray, number: int, ticket: Ticket, index: int) -> GenerationRequest:
        body, task = self.body, self.served.task_of(self.route)
        seed = None if body.seed is None else body.seed + number
        sampling = SamplingOptions(body.temperature, body.top_p, seed, self.alternatives)
        return GenerationRequest(
            self.served.adapters.version(self.route.adapter),
            prompt,
            self._max_tokens(prompt),
            ticket.deliver_to(index),
            sampling,
            stop=(*body.stops, *(task.config.stop if task else ())),
            prompt_logprobs=self.alternatives if self.echoes else None,
            grammar=self.grammar,
        )

    def _max_tokens(self, prompt: np.ndarray) -> int:
        """The length that is asked for, or the task's own as far as there is room."""
        asked = self.body.max_tokens
        if isinstance(self.body, ChatRequest):
            asked = self.body.max_completion_tokens or asked
        if asked is not None:
            return asked
        task = self.served.tasks.get(self.route.task or "")
        usual = (task.config.max_new_tokens if task else None) or LONGEST_ANSWER
        return max(1, min(usual, self.served.engine.longest - len(prompt)))

    async def choose(self) -> Collected:
        """The likeliest of the texts, whose probabilities then stand in the decision."""
        texts, prompt = list(self.texts or ()), self.prompts[0]
        longest = self.served.engine.longest
        if len(prompt) >= longest:
            raise InputError(
                f"this model's maximum context length is {longest:,} tokens, and the prompt has {len(prompt):,}"
            )
        served, adapter = self.served, self.route.adapter
        job = served.engine.run(lambda: served.score_labels(adapter, prompt, texts, self.chat))
        found = await asyncio.wrap_future(job)
        self.decision = Decision.of(self.route, tuple(found))
        return Collected(found[0].label, generated=len(self.chat.answer_ids(found[0].label)), finish="stop")


@dataclass(slots=True)
class Reception:
    """Makes calls of requests. Routing and tokenising have a thread of their own, beside the engine's."""

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
        self.served.engine.require_room(body.n)
        messages = checked_conversation([message.plain() for message in body.messages])
        text = "\n\n".join(m["content"] for m in messages if m["role"] == "user")
        name = uuid.uuid4().hex
        route = await self._route(body, text, name, self.conversations.earlier(messages, conversation))
        if route.task and route.reason in (ROUTED, CONVERSATION):
            self.conversations.remember(messages, conversation, EarlierRoute(route.task, route.adapter))
        chat, task = self.served.chat_of(route), self.served.task_of(route)
        asked = behind_shots(task.shots, messages) if task else messages
        return await self._call(body, name, route, chat=chat, tokenise=lambda: chat.encode_conversations([asked]))

    async def completion(self, body: CompletionRequest) -> Call:
        """Prompts that are to be gone on with.

        Raises:
            InputError, OverloadedError: as `chat`; or a prompt without a token.
        """
        self.served.engine.require_room(body.n * len(body.prompts))
        first = body.prompts[0] if body.prompts else ""
        if body.model == AUTO and len(body.prompts) > 1:
            raise InputError("model: auto finds the adapter of one prompt at a time. Name a task, or send one prompt")
        tokenizer = self.served.chat.tokenizer
        name = uuid.uuid4().hex
        route = await self._route(body, first if isinstance(first, str) else str(tokenizer.decode(first)), name)
        chat = self.served.chat_of(route)
        tokenise = partial(list, map(self._tokens, body.prompts))
        return await self._call(body, name, route, chat=chat, tokenise=tokenise)

    async def _route(self, body: Generation, text: str, name: str, earlier: EarlierRoute | None = None) -> Route:
        route = self.served.named(body.model)
        if route is None:
            route = await self.off_loop(lambda: self.served.route(text, name, earlier))
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
        """Let the router work where it may: on the engine's thread if it reads layers of the model, else on ours."""
        if self.served.routes_on_engine:
            return await asyncio.wrap_future(self.served.engine.run(work))
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _call(
        self,
        body: ChatRequest | CompletionRequest,
        name: str,
        route: Route,
        *,
        chat: ChatFormat,
        tokenise: Callable[[], list[np.ndarray]],
    ) -> Call:
        if fault := self.served.faults().get(route.adapter):
            raise FaultyAdapterError(f"adapter {route.adapter!r} failed its check at start: {fault}")
        prompts = await asyncio.get_running_loop().run_in_executor(self._thread, tokenise)
        if not prompts or not all(map(len, prompts)):
            raise InputError("prompt: it holds no token. Give a text that is not empty")
        grammar = await self.served.grammars.grammar(body.constraint) if body.constraint else None
        call = Call(self.served, body, route, chat, prompts, Decision.of(route), name, grammar)
        if call.texts is not None and len(prompts) > 1:
            raise InputError("prompt: a choice is made for one prompt at a time. Send each in a request of its own")
        return call

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
