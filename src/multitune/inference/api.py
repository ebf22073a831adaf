"""A chat model behind an API as a language model: many requests at once, within a budget."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, final

from multitune.core.errors import InputError, MultituneError
from multitune.core.records import Example
from multitune.data.row_tokens import RowChat, prompt_tokens
from multitune.data.tokenizer import ChatFormat
from multitune.inference.budget import Ledger
from multitune.inference.chat import ChatAnswer, ChatRequest, chat_messages, request_key
from multitune.inference.language_model import Completion, LanguageModel, Likelihoods
from multitune.inference.openai_client import ChatClient
from multitune.inference.stops import StopStrings

Progress = Callable[[int, int], None]  # (answers so far, requests)


@final
class ApiModel(LanguageModel):
    """A chat model; it writes freely, and tells nothing of how likely its answers are.

    Attributes:
        answers: by request key, all that were given so far.
        cut_short: task -> answers that reached their limit.
    """

    tells_likelihood = False

    def __init__(
        self,
        client: ChatClient,
        ledger: Ledger,
        *,
        parameters: Mapping[str, Any],
        concurrency: int = 8,
        progress: Progress | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            client: whom to ask.
            ledger: what may be used, and was.
            parameters: of every request; None takes one out. `max_tokens` stands for the most of an answer.
            concurrency: requests at once.
            progress: is told after every answer.
        """
        self._client, self._ledger = client, ledger
        self._formats: dict[str, tuple[ChatFormat, str | None]] = {}
        self._parameters, self._concurrency, self._progress = parameters, concurrency, progress
        self.answers: dict[str, ChatAnswer] = {}
        self.cut_short: dict[str, int] = {}

    def read_as(self, task: str, chat: ChatFormat, system: str | None) -> None:
        """Say how the rows of a task are asked.

        Args:
            task: its name.
            chat: counts the tokens of a prompt, for estimates.
            system: the message before every prompt.
        """
        self._formats[task] = chat, system

    def loglikelihood(self, rows: Sequence[Example]) -> Likelihoods:
        """Refused: a chat API tells no likelihoods of given answers."""
        raise InputError(f"{self._client.endpoint.model}: a chat API tells no likelihoods. Take a local model")

    def choose(self, rows: Sequence[Example], labels: Sequence[str]) -> list[Completion]:
        """Refused, as `loglikelihood` is."""
        raise InputError(f"{self._client.endpoint.model}: a chat API picks no labels by likelihood. Let it generate")

    def generate(self, rows: Sequence[Example], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        """Answers in the order of the rows; each is there only once it is kept, and none is asked for twice.

        Raises:
            RefusedError: a wrong key, an unknown model, or a request that the server does not take.
            BudgetError: the next request could break a cap.
            ServerError: unreachable, busy or broken beyond the retry policy.
        """
        requests = self.requests(rows, max_new_tokens, stop)
        self.book_known(requests)
        keys = [request_key(self._client.endpoint, request) for request in requests]
        different = dict(zip(keys, requests, strict=True))
        missing = {key: request for key, request in different.items() if key not in self.answers}
        if missing:
            call = _Call(self._client, self._ledger, missing, self.answers, len(different), self._progress)
            _finish(call.run(self._concurrency))
            if call.fault is not None:
                done = len(different) - sum(key not in self.answers for key in missing)
                kept = f"{done:,} of {len(different):,} answers are kept, and the command goes on from there"
                raise type(call.fault)(f"{call.fault}. {kept}") from call.fault
        found = [self.answers[key] for key in keys]
        for row, answer in zip(rows, found, strict=True):
            self.cut_short[row.task] = self.cut_short.get(row.task, 0) + (answer.finish == "length")
        strings = StopStrings(stop, None)  # a server may not take them
        texts = [strings.cut(answer.text) for answer in found]
        return [
            Completion(text, cut=answer.finish == "length" and text == answer.text)
            for text, answer in zip(texts, found, strict=True)
        ]

    def requests(self, rows: Sequence[Example], max_new_tokens: int, stop: Sequence[str] = ()) -> list[ChatRequest]:
        """What is sent for rows: no randomness unless the parameters say so."""
        stops = {"stop": list(stop)} if stop else {}
        given = {"temperature": 0, "max_tokens": max_new_tokens, **stops, **self._parameters}
        parameters = {name: value for name, value in given.items() if value is not None}
        limits = [parameters.get(name) for name in ("max_completion_tokens", "max_tokens")]
        most = next((limit for limit in limits if isinstance(limit, int)), max_new_tokens)
        found: list[ChatRequest] = []
        for row in rows:
            chat, system = self._formats[row.task]
            tokens, seen = len(prompt_tokens([row], chat)[0]), RowChat.of(row)
            sent = {**parameters, "tools": list(seen.tools)} if seen.tools else parameters
            messages = chat_messages(seen.messages, system)
            found.append(ChatRequest(f"task {row.task!r}, row {row.id!r}", messages, sent, tokens, most))
        return found

    def book_known(self, requests: Sequence[ChatRequest]) -> None:
        """Take over the answers that were paid for earlier; they count against the caps as well."""
        for request in requests:
            key = request_key(self._client.endpoint, request)
            if key not in self.answers and (answer := self._client.known(request)) is not None:
                self.answers[key] = answer
                self._ledger.spend(answer.prompt_tokens, answer.answer_tokens)


@dataclass(slots=True)
class _Call:
    """Requests under way; the first fault stops all others, once those that were sent are done."""

    client: ChatClient
    ledger: Ledger
    missing: Mapping[str, ChatRequest]
    answers: dict[str, ChatAnswer]
    of: int  # requests in all, answered ones included
    progress: Progress | None
    done: int = 0  # of the missing ones
    fault: MultituneError | None = None
    settled: asyncio.Condition = field(default_factory=asyncio.Condition)  # told whenever a request has ended

    async def run(self, concurrency: int) -> None:
        """Ask with so many workers."""
        waiting = iter(self.missing.items())
        try:
            workers = [asyncio.create_task(self._work(waiting)) for _ in range(concurrency)]
            for outcome in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                    raise outcome
        finally:
            await self.client.close()

    async def _work(self, waiting: Iterator[tuple[str, ChatRequest]]) -> None:
        for key, request in waiting:
            try:
                self.answers[key] = await self._answer(request)
            except MultituneError as error:
                self.fault = self.fault or error
                self.client.stop_waiting()
            if self.fault is not None:
                return
            if self.progress is not None:
                self.done += 1
                self.progress(self.of - len(self.missing) + self.done, self.of)

    async def _answer(self, request: ChatRequest) -> ChatAnswer:
        reserved = request.prompt_tokens, request.most_answer_tokens
        async with self.settled:
            while self.ledger.refusal(*reserved) and self.ledger.is_waited_for and self.fault is None:
                await self.settled.wait()
            self.ledger.reserve(*reserved)
        try:
            answer = await self.client.answer(request)
            self.ledger.spend(answer.prompt_tokens, answer.answer_tokens)
        finally:
            self.ledger.release(*reserved)
            async with self.settled:
                self.settled.notify_all()
        return answer


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, in a thread of its own where this one has a loop already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(lambda: asyncio.run(work)).result()
