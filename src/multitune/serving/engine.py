"""The engine: one thread owns the model, and requests join and leave the batch between its steps."""

import logging
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from multitune.core.bases import BASE
from multitune.core.errors import InputError
from multitune.core.seeds import generator
from multitune.inference.labels import not_finite
from multitune.model.bank import AdapterBank
from multitune.model.slot_cache import SCRATCH, SlotCache
from multitune.serving.batch import Running, next_logits, parts_of, read_prompts
from multitune.serving.blocks import BLOCK, BlockPool, places, prefix_keys
from multitune.serving.grammars import GrammarLimitError
from multitune.serving.requests import (
    Delta,
    EngineJob,
    EngineStats,
    FinishReason,
    GenerationRequest,
    OverloadedError,
)
from multitune.serving.residency import ResidentAdapters
from multitune.serving.sampling import logprobs_of, pick
from multitune.serving.text_stream import TextStream

_log = logging.getLogger(__name__)
T = TypeVar("T")
NOTHING = Delta()


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How much the engine holds at a time."""

    max_running: int = 64  # requests in the batch
    max_waiting: int = 256  # requests in the queue
    max_waiting_tokens: int = 65536  # of prompts in the queue
    cache_tokens: int = 16384  # of the key-value store
    step_tokens: int = 512  # of prompts that one step reads; more delay the requests that run
    max_loras: int | None = None  # adapters in memory; None for all that are served


class Engine:
    """Generates for many requests at once, each with its own adapter."""

    def __init__(self, bank: AdapterBank, tokenizer: Any, stop_ids: Sequence[int], options: EngineOptions) -> None:
        """The thread starts at once.

        Args:
            bank: nobody else may use it, or its backbone, from now on.
            tokenizer: of the base.
            stop_ids: tokens that end an answer.
            options: sizes.

        Raises:
            InputError: the base cannot share prefixes.
        """
        if not bank.backbone.shares_prefixes:
            raise InputError(f"serve: {bank.backbone.note}, which the engine needs. Export the adapters for vLLM")
        self.bank, self.options = bank, options
        self._tokenizer, self._stop_ids = tokenizer, frozenset(stop_ids)
        room = -(-(options.cache_tokens + SCRATCH) // BLOCK) * BLOCK
        self._pool, self._cache = BlockPool(room), SlotCache(room, bank.backbone.device)
        self._waiting: deque[GenerationRequest] = deque()
        self._running: list[Running] = []
        self._cancelled: set[GenerationRequest] = set()
        self._jobs: deque[EngineJob] = deque()
        self._adapters = ResidentAdapters(bank, options.max_loras)
        self._retired: set[str] = set()  # adapters that go when their last request has ended
        self._stats = EngineStats()
        self._cached_tokens = self._steps = 0
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="multitune-engine", daemon=True)
        self._thread.start()

    @property
    def longest(self) -> int:
        """Most tokens of a prompt and its answer."""
        most = self.bank.backbone.longest
        return min(self._pool.capacity, most or self._pool.capacity)

    @property
    def stats(self) -> EngineStats:
        """A copy of the figures of this moment."""
        with self._wake:
            found = replace(self._stats, cached_tokens=self._cached_tokens, steps=self._steps)
            found.adapter_loads = self._adapters.loads
            found.running = Counter(one.request.adapter for one in self._running)
            found.waiting = Counter(one.adapter for one in self._waiting)
            found.cache_usage = self._pool.used
        return found

    def require_room(self, requests: int = 1, tokens: int = 0) -> None:
        """Refuse what the queue cannot take.

        Raises:
            OverloadedError: too many requests, or too many tokens of prompts, wait already.
        """
        with self._wake:
            queued = len(self._waiting) + len(self._jobs)
            if queued and queued + requests > self.options.max_waiting:
                raise OverloadedError(f"{queued} requests wait already. Try again later")
            waiting = sum(len(one.prompt) for one in self._waiting)
            if self._waiting and waiting + tokens > self.options.max_waiting_tokens:
                raise OverloadedError(f"prompts of {waiting:,} tokens wait already. Try again later")

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Queue requests; what comes of them is delivered to each.

        Raises:
            InputError: a prompt with its answer is longer than the model or the store.
            OverloadedError: the queue is full; none of them is taken.
        """
        for one in requests:
            if one.tokens > self.longest:
                raise InputError(
                    f"this model's maximum context length is {self.longest:,} tokens, and the prompt has "
                    f"{len(one.prompt):,} and the answer up to {one.max_tokens:,}. Shorten one of them"
                )
        with self._wake:
            self.require_room(len(requests), sum(len(one.prompt) for one in requests))
            self._waiting.extend(requests)
            self._wake.notify()

    def cancel(self, request: GenerationRequest) -> None:
        """Drop a request before the next step; nothing if it has ended."""
        with self._wake:
            if request in self._waiting:
                self._waiting.remove(request)
                request.deliver(Delta(finish="cancelled"))
            else:
                self._cancelled.add(request)
            self._wake.notify()

    def run(self, job: Callable[[], T], adapter: str = BASE) -> "Future[T]":
        """Let the engine's thread do something with the model between two steps, once an adapter lies in memory."""
        future: Future[T] = Future()
        with self._wake:
            self._jobs.append(EngineJob(job, future, adapter))
            self._wake.notify()
        return future

    def load(self, name: str, into: Callable[[AdapterBank], Any]) -> "Future[None]":
        """Put an adapter into the bank as soon as there is room; one that was to go under this name stays.

        Args:
            name: of the adapter.
            into: puts it there, now and whenever it is needed again.
        """

        def known() -> None:
            self._retired.discard(name)
            self._adapters.know(name, into)

        self.run(known)
        return self.run(lambda: None, name)

    def retire(self, name: str) -> "Future[None]":
        """Take an adapter out of the bank when no request needs it any more."""
        return self.run(lambda: self._retired.add(name))

    def close(self) -> None:
        """End the thread; requests that run or wait are cancelled."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not (self._closing or self._jobs or self._waiting or self._running):
                    self._cancelled.clear()
                    self._wake.wait()
                closing, jobs = self._closing, list(self._jobs)
                self._jobs.clear()
            held = [job for job in jobs if not self._done(job)]
            with self._wake:
                self._jobs.extendleft(reversed(held))
            if closing:
                break
            self._step(admits=not held)
            self._drain()
        for one in [*self._running]:
            self._finish(one, "cancelled")
        with self._wake:
            while self._waiting:
                self._waiting.popleft().deliver(Delta(finish="cancelled"))
            while self._jobs:
                self._jobs.popleft().future.cancel()

    def _done(self, job: EngineJob) -> bool:
        """Do a job; False if it waits for room for its adapter."""
        try:
            if not self._adapters.bring(job.adapter, self._used):
                return False
        except Exception as error:
            job.fail(error)
        else:
            job.do()
        return True

    @property
    def _used(self) -> set[str]:
        """Adapters of the requests that run."""
        return {one.request.adapter for one in self._running}

    def _step(self, admits: bool) -> None:
        with self._wake:
            gone = [one for one in self._running if one.request in self._cancelled]
            self._cancelled.clear()
            for one in gone:
                self._finish(one, "cancelled")
        while admits and (missing := self._admit()):
            admits = self._brought(missing)
        batch = list(self._running)
        try:
            self._read(batch)
            self._decode([one for one in batch if one.tokens and one in self._running])
        except Exception as error:  # whatever a pass raises must not end the server
            _log.exception("a step of the engine failed")
            for one in batch:
                if one in self._running:
                    self._finish(one, "error", Delta(error=f"{type(error).__name__}: {error}"))
        self._steps += 1

    def _drain(self) -> None:
        with self._wake:
            used = self._used | {one.adapter for one in self._waiting}
        for name in self._retired - used:
            self._adapters.forget(name)
            self._retired.remove(name)

    def _brought(self, adapter: str) -> bool:
        """Read the adapter that requests wait for, or fail them; False if there is no room until others have ended."""
        try:
            return self._adapters.bring(adapter, self._used)
        except Exception as error:  # its files are damaged, or it went after its name was looked up
            with self._wake:
                for request in [one for one in self._waiting if one.adapter == adapter]:
                    self._waiting.remove(request)
                    request.deliver(Delta(finish="error", error=str(error), unavailable=True))
            return True

    def _admit(self) -> str | None:
        """Let requests in, in the order they came, as far as there is room; the adapter that the next one lacks."""
        with self._wake:
            reading = {key for one in self._running if one.unread for key in one.keys[one.read // BLOCK :]}
            for request in list(self._waiting):
                if len(self._running) >= self.options.max_running:
                    return None
                if not self._adapters.has(request.adapter):
                    return request.adapter
                keys = prefix_keys(request.adapter, request.prompt)
                cached = self._pool.cached(keys) if request.prompt_logprobs is None else []
                if reading.intersection(keys[len(cached) : len(cached) + 1]) and request.prompt_logprobs is None:
                    continue  # another request reads the same now, and this one need not
                blocks = self._pool.take(cached, request.tokens)
                if blocks is None:
                    return None
                self._waiting.remove(request)
                reading.update(keys)
                stream = TextStream(self._tokenizer, request.stop)
                seed = request.sampling.seed
                random = generator(secrets.randbits(63) if seed is None else seed, "sampling")
                where, read = places(blocks, request.tokens), len(cached) * BLOCK
                mask = request.grammar.begin() if request.grammar else None
                self._running.append(Running(request, blocks, keys, where, stream, random, read, mask))
                self._stats.prompt_tokens += len(request.prompt)
                self._cached_tokens += read
            return None

    def _read(self, batch: Sequence[Running]) -> None:
        """Read parts of prompts; a prompt that is read to its end gives the first token."""
        parts = parts_of(batch, self.options.step_tokens)
        if not parts:
            return
        for part, logits in read_prompts(self.bank, self._cache, parts):
            one, request = part.sequence, part.sequence.request
            if logits.isnan().any():
                self._finish(one, "error", Delta(error=str(not_finite(request.adapter))))
                continue
            if request.prompt_logprobs is not None:
                known = request.prompt[part.first + 1 : part.last + 1].tolist()
                found = logprobs_of(logits[: len(known)], known, request.prompt_logprobs)
                request.deliver(Delta(prompt=tuple(found)))
            if not part.ends:
                continue
            for key, block in zip(one.keys, one.blocks, strict=False):
                self._pool.keep(key, block)
            if request.max_tokens:
                self._take(one, logits[-1])
            else:
                self._finish(one, "length")

    def _decode(self, batch: Sequence[Running]) -> None:
        if not batch:
            return
        for one, logits in zip(batch, next_logits(self.bank, self._cache, batch), strict=True):
            if logits.isnan().any():
                self._finish(one, "error", Delta(error=str(not_finite(one.request.adapter))))
            else:
                self._take(one, logits)

    def _take(self, one: Running, logits: Any) -> None:
        """Choose the next token of a request and deliver it; the request may end with it."""
        options = one.request.sampling
        try:
            token = pick(one.mask.apply(logits) if one.mask else logits, options, one.random)
            ended = token in self._stop_ids
            complete = one.mask is not None and not ended and one.mask.accept(token)
        except GrammarLimitError as error:
            self._finish(one, "error", Delta(error=str(error), refused=True))
            return
        one.tokens.append(token)
        self._stats.generation_tokens += 1
        chosen = logprobs_of(logits[None], [token], options.logprobs or 0)[0]
        if ended:
            self._finish(one, "stop", Delta(one.stream.finish(), chosen))
            return
        text = one.stream.push(token)
        if one.stream.stopped:
            self._finish(one, "stop", Delta(text, chosen))
        elif complete:
            self._finish(one, "stop", Delta(text + one.stream.finish(), chosen))
        elif len(one.tokens) == one.request.max_tokens:
            self._finish(one, "length", Delta(text + one.stream.finish(), chosen))
        else:
            one.request.deliver(Delta(text, chosen))

    def _finish(self, one: Running, reason: FinishReason, last: Delta = NOTHING) -> None:
        self._running.remove(one)
        self._pool.give_back(one.blocks)
        one.request.deliver(replace(last, finish=reason))
