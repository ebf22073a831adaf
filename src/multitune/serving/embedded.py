"""The embedded engine as a backend: the base lies in this process, which generates answers or scores given ones."""

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TypeVar, final

import numpy as np

from multitune.core.errors import AdapterError, InputError, MultituneError
from multitune.core.records import Message, Segments
from multitune.data.tokenizer import ChatFormat
from multitune.inference.labels import score_labels
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
from multitune.serving.adapters import digest_of
from multitune.serving.answers import completion, message, part, usage, whole_choice
from multitune.serving.backend import Backend
from multitune.serving.calls import Call
from multitune.serving.decisions import LabelProbability
from multitune.serving.engine import Engine, EngineOptions
from multitune.serving.grammars import Grammar, Grammars
from multitune.serving.protocol import Decision
from multitune.serving.requests import AdapterUnavailableError, Delta, EngineStats, GenerationRequest
from multitune.serving.responses import Collected
from multitune.serving.sampling import SamplingOptions
from multitune.serving.tickets import Ticket

T = TypeVar("T")


class EngineFailedError(MultituneError):
    """A request failed inside the engine; the message says why."""


@final
class Embedded(Backend):
    """One thread owns the model, and requests join and leave its batch between two steps."""

    def __init__(self, bank: AdapterBank, chat: ChatFormat, options: EngineOptions, pack_tokens: int) -> None:
        """The engine starts at once.

        Args:
            bank: nobody else may use it, or its backbone, from now on.
            chat: how the base reads text.
            options: sizes.
            pack_tokens: tokens that labels are scored with at a time.

        Raises:
            InputError: the base cannot share prefixes.
        """
        self.engine = Engine(bank, chat.tokenizer, chat.stop_ids, options)
        self._grammars = Grammars(chat.tokenizer, chat.stop_ids)
        self._pack_tokens = pack_tokens

    @property
    def longest(self) -> int:
        """What base and store have room for."""
        return self.engine.longest

    @property
    def stats(self) -> EngineStats:
        """Those of the engine."""
        return self.engine.stats

    @property
    def max_loras(self) -> int | None:
        """As the engine's options say."""
        return self.engine.options.max_loras

    def require_room(self, requests: int = 1) -> None:
        """Of the engine's queue."""
        self.engine.require_room(requests)

    def load(self, version: str, folder: Path) -> None:
        """Check the folder, and load it between two steps; with `max_loras` again whenever it is needed."""
        try:
            self.engine.load(version, partial(_load, folder, version)).result()
        except MultituneError:
            self.retire(version)
            raise

    def retire(self, version: str) -> None:
        """Between two steps, once nobody needs it."""
        self.engine.retire(version)

    def run(self, job: Callable[[], T]) -> "Future[T]":
        """On the thread that owns the model."""
        return self.engine.run(job)

    async def whole(self, call: Call) -> str:
        """All answers of a call.

        Raises:
            InputError, OverloadedError: the engine does not take it.
            EngineFailedError: it failed there.
        """
        grammar = await self._grammar(call)
        if call.texts is not None:
            answers = [await self._choose(call, call.texts)]
        else:
            answers = [Collected() for _ in range(call.answers)]
            async with aclosing(self._deltas(call, grammar)) as deltas:
                async for index, delta in deltas:
                    answers[index].add(delta)
        choices = [whole_choice(call, index, answer) for index, answer in enumerate(answers)]
        return completion(call, choices, usage(call, answers))

    async def chunks(self, call: Call) -> AsyncGenerator[str]:
        """A call's answers token by token."""
        grammar = await self._grammar(call)
        answers = [Collected() for _ in range(call.answers)]
        if call.texts is not None:
            answers = [await self._choose(call, call.texts)]
            yield message(call, part(call, 0, answers[0].text, role=True))
            yield message(call, part(call, 0, finish="stop"))
        else:
            begun: set[int] = set()
            async with aclosing(self._deltas(call, grammar)) as deltas:
                async for index, delta in deltas:
                    answers[index].add(delta)
                    new = [delta.token] if delta.token else []
                    yield message(call, part(call, index, delta.text, new, role=index not in begun))
                    begun.add(index)
                    if delta.finish:
                        yield message(call, part(call, index, finish=delta.finish))
        if call.body.include_usage:
            yield completion(call, [], usage(call, answers))

    async def _grammar(self, call: Call) -> Grammar | None:
        return await self._grammars.grammar(call.body.constraint) if call.body.constraint else None

    async def _deltas(self, call: Call, grammar: Grammar | None) -> AsyncGenerator[tuple[int, Delta]]:
        """What the engine brings, by the number of the answer."""
        ticket = Ticket(self.engine)
        for place, prompt in enumerate(call.prompts):
            for number in range(call.body.n):
                seed = None if call.body.seed is None else call.body.seed + number
                request = GenerationRequest(
                    call.version,
                    prompt,
                    call.max_tokens(prompt, self.longest),
                    ticket.deliver_to(place * call.body.n + number),
                    SamplingOptions(call.body.temperature, call.body.top_p, seed, call.alternatives),
                    stop=call.stops,
                    prompt_logprobs=call.alternatives if call.echoes else None,
                    grammar=grammar,
                )
                ticket.requests.append(request)
        async with aclosing(ticket.deltas()) as deltas:
            async for index, delta in deltas:
                if delta.refused:
                    raise InputError(delta.error)
                if delta.unavailable:
                    raise AdapterUnavailableError(delta.error)
                if delta.finish in ("error", "cancelled"):
                    raise EngineFailedError(delta.error or "the server ends")
                yield index, delta

    async def _choose(self, call: Call, texts: Sequence[str]) -> Collected:
        """The likeliest of the texts, whose probabilities then stand in the decision."""
        prompt = call.prompts[0]
        if len(prompt) >= self.longest:
            raise InputError(
                f"this model's maximum context length is {self.longest:,} tokens, and the prompt has {len(prompt):,}"
            )
        job = self.engine.run(lambda: self._probabilities(call, prompt, list(texts)), call.version)
        try:
            found = await asyncio.wrap_future(job)
        except AdapterError as error:
            raise AdapterUnavailableError(str(error)) from error
        call.decision = Decision.of(call.route, tuple(found))
        return Collected(found[0].label, generated=len(call.chat.answer_ids(found[0].label)), finish="stop")

    def _probabilities(self, call: Call, prompt: np.ndarray, labels: list[str]) -> list[LabelProbability]:
        """How likely each label is behind a prompt, likeliest first; for the engine's thread."""
        encoded = call.chat.encode_answers(labels)
        longest = len(prompt) + max(map(len, encoded))
        scores = score_labels(self.engine.bank, call.version, [prompt], encoded, max(self._pack_tokens, longest))
        values, exact = scores.log_likelihood[0], scores.exact[0]
        total = np.logaddexp.reduce(values[exact])
        order = sorted(range(len(labels)), key=lambda i: (not exact[i], -values[i]))
        return [
            LabelProbability(
                label=labels[i], probability=float(min(1.0, np.exp(values[i] - total))), exact=bool(exact[i])
            )
            for i in order
        ]

    def losses(self, version: str, rows: Sequence[Segments]) -> list[float]:
        """Mean negative log-likelihood of each answer as the engine computes it, in nats; nan where it failed."""
        results = queue.Queue[tuple[int, Delta]]()
        requests = [
            GenerationRequest(
                version,
                row.tokens,
                max_tokens=0,
                deliver=lambda delta, place=place: results.put((place, delta)),
                prompt_logprobs=0,
            )
            for place, row in enumerate(rows)
        ]
        if requests:
            self.engine.submit(requests)
        values: list[list[float]] = [[] for _ in rows]
        open_ = len(rows)
        while open_:
            place, delta = results.get()
            values[place] += [token.logprob for token in delta.prompt]
            open_ -= delta.finish is not None
        return [
            float(-np.mean(found[-len(row.answer) :])) if len(found) >= len(row.answer) else float("nan")
            for found, row in zip(values, rows, strict=True)
        ]

    def beginnings(self, version: str, chats: Sequence[Sequence[Message]], tokens: int) -> None:
        """None: chats are read by the template that the rows were made with."""

    def refresh(self) -> None:
        """Nothing: what it holds does not change by itself."""

    async def disconnect(self) -> None:
        """Nothing: its thread needs no event loop."""

    def close(self) -> None:
        """End the engine."""
        self.engine.close()
        self._grammars.close()


def _load(folder: Path, version: str, bank: AdapterBank) -> None:
    """Put a version into the bank.

    Raises:
        AdapterError: the folder is not as it must be, or no longer what the version was made of.
    """
    if digest_of(folder) != version.rpartition("@")[2]:
        raise AdapterError(f"{folder}: is no longer what was loaded as {version!r}. Load it again, with load_inplace")
    load_adapter(bank, folder, version)
