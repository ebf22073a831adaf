"""Questions to a chat model over HTTP: many at once, with retries where the server is busy."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from multitune.core.errors import MultituneError, RefusedError, ServerError, suggest
from multitune.inference.budget import Ledger
from multitune.inference.chat import Answer, AnswerStore, Endpoint, Question

_log = logging.getLogger(__name__)

BUSY = (408, 409, 425, 429, 500, 502, 503, 504, 529)  # statuses that may be gone at the next try

Tell = Callable[[int, int], None]  # (answers so far, questions)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many requests at once, and how long to wait for a server; times in seconds."""

    concurrency: int = 8
    retries: int = 5  # after the first try, for one question
    timeout: float = 120.0
    first_wait: float = 1.0  # doubles with every retry; a server's Retry-After wins
    longest_wait: float = 120.0  # a server that asks for more is given up
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class _AgainError(Exception):
    """This try failed in a way that may pass; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def ask(
    endpoint: Endpoint,
    questions: Sequence[Question],
    store: AnswerStore,
    ledger: Ledger,
    policy: RetryPolicy,
    tell: Tell | None = None,
) -> list[Answer]:
    """Every question's answer, in order; each is stored as soon as it is there, and not asked for if it was before.

    Args:
        endpoint: whom to ask.
        questions: what.
        store: answers of earlier calls. They count against the caps as well.
        ledger: what may be used, and was.
        policy: how long to wait for the server, and how often to try.
        tell: called after every answer.

    Raises:
        RefusedError: a wrong key, an unknown model, or a request that the server does not take.
        BudgetError: the next request could break a cap.
        ServerError: unreachable, busy or broken beyond the retry policy.
    """
    keys = [store.key(endpoint, question) for question in questions]
    by_key: dict[str, Question] = {}
    for key, question in zip(keys, questions, strict=True):
        by_key.setdefault(key, question)  # of rows that ask the same, one is sent
    sent = list(by_key.values())
    answers = {place: found for place, q in enumerate(sent) if (found := store.find(endpoint, q)) is not None}
    for answer in answers.values():
        ledger.spend(answer.prompt_tokens, answer.answer_tokens)
    conversation = _Conversation(endpoint, sent, store, ledger, policy, tell, answers)
    if len(answers) < len(sent):
        _finish(conversation)
    if conversation.fault is not None:
        kept = f"{len(answers):,} of {len(sent):,} answers are kept, and the command goes on from there"
        raise type(conversation.fault)(f"{conversation.fault}. {kept}") from conversation.fault
    answer_to = {key: answers[place] for place, key in enumerate(by_key)}
    return [answer_to[key] for key in keys]


def _finish(conversation: "_Conversation") -> None:
    """Run a conversation to its end, in a thread of its own where this one has a loop already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(conversation.run())
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(lambda: asyncio.run(conversation.run())).result()


@dataclass(slots=True)
class _Conversation:
    """One call of `ask`, under way."""

    endpoint: Endpoint
    questions: Sequence[Question]
    store: AnswerStore
    ledger: Ledger
    policy: RetryPolicy
    tell: Tell | None
    answers: dict[int, Answer]
    fault: MultituneError | None = None
    settled: asyncio.Condition = field(default_factory=asyncio.Condition)  # notified whenever a request has ended
    waiting: set[Any] = field(default_factory=set[Any])  # tasks that sleep, and may be cancelled

    async def run(self) -> None:
        """Ask with as many workers as the policy allows; the first fault stops all, once their requests are done."""
        headers = {"Authorization": f"Bearer {self.endpoint.key}"} if self.endpoint.key else {}
        timeout = httpx2.Timeout(self.policy.timeout, connect=min(10.0, self.policy.timeout))
        limits = httpx2.Limits(max_connections=self.policy.concurrency)
        trusts_proxy = not self.endpoint.is_local
        async with httpx2.AsyncClient(
            headers=headers, timeout=timeout, limits=limits, trust_env=trusts_proxy
        ) as client:
            places = iter([place for place in range(len(self.questions)) if place not in self.answers])
            workers = [asyncio.create_task(self._work(client, places)) for _ in range(self.policy.concurrency)]
            outcomes = await asyncio.gather(*workers, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome

    async def _work(self, client: httpx2.AsyncClient, places: Iterator[int]) -> None:
        for place in places:
            question = self.questions[place]
            try:
                answer = await self._answer(client, question)
                self.store.keep(self.endpoint, question, answer)
            except MultituneError as error:
                self.fault = self.fault or error
                for sleeper in self.waiting:
                    sleeper.cancel()
                return
            self.answers[place] = answer
            if self.tell is not None:
                self.tell(len(self.answers), len(self.questions))
            if self.fault is not None:
                return

    async def _answer(self, client: httpx2.AsyncClient, question: Question) -> Answer:
        reserved = question.prompt_tokens, question.most_answer_tokens
        async with self.settled:
            while self.ledger.refusal(*reserved) and self.ledger.is_waited_for and self.fault is None:
                await self.settled.wait()
            self.ledger.reserve(*reserved)
        try:
            answer = await self._try(client, question)
            self.ledger.spend(answer.prompt_tokens, answer.answer_tokens)
        finally:
            self.ledger.release(*reserved)
            async with self.settled:
                self.settled.notify_all()
        return answer

    async def _try(self, client: httpx2.AsyncClient, question: Question) -> Answer:
        """Ask until there is an answer or the policy gives up."""
        for retry in range(self.policy.retries + 1):
            try:
                return await self._once(client, question)
            except _AgainError as error:
                wait = self.policy.first_wait * 2**retry if error.wait is None else error.wait
                tries = "once" if not retry else f"{retry + 1} times"
                if retry == self.policy.retries or wait > self.policy.longest_wait:
                    asks = f", which asks for {wait:.0f} s" if wait > self.policy.longest_wait else ""
                    raise ServerError(
                        f"{self.endpoint.api_base}{asks}: {error} ({question.place}, asked {tries})"
                    ) from error
                _log.warning("%s: %s; asked again in %.1f s (%s)", self.endpoint.api_base, error, wait, question.place)
                await self._sleep(min(wait, self.policy.longest_wait))
        raise AssertionError("the last retry returns or raises")

    async def _sleep(self, seconds: float) -> None:
        me = asyncio.current_task()
        self.waiting.add(me)
        try:
            await self.policy.sleep(seconds)
        finally:
            self.waiting.discard(me)

    async def _once(self, client: httpx2.AsyncClient, question: Question) -> Answer:
        """One request.

        Raises:
            _AgainError: it may work at another time.
            RefusedError: it never will.
        """
        url = f"{self.endpoint.api_base}/chat/completions"
        try:
            response = await client.post(url, json=question.body(self.endpoint))
        except httpx2.TimeoutException as error:
            raise _AgainError(f"no answer within {self.policy.timeout:g} s") from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _AgainError(f"no connection ({str(error) or type(error).__name__}); is the server up?") from error
        except httpx2.InvalidURL as error:
            raise RefusedError(f"{url}: not an address ({error}). Check --api-base") from error
        if response.status_code == 200:
            return _read_answer(response, question)
        detail = self._detail(response)
        if response.status_code in BUSY and "insufficient_quota" not in detail:
            raise _AgainError(f"status {response.status_code}{detail}", _retry_after(response))
        raise await self._refusal(client, question, response.status_code, detail)

    async def _refusal(self, client: httpx2.AsyncClient, question: Question, status: int, detail: str) -> RefusedError:
        base = self.endpoint.api_base
        if status in (401, 403):
            return RefusedError(
                f"{base}: the key is not accepted (status {status}{detail}). Check what --key-env names"
            )
        if status == 404:
            names = await self._models(client)
            if names is None:
                return RefusedError(
                    f"{base}: no chat API there (status 404{detail}). Check --api-base; most end in /v1"
                )
            if self.endpoint.model not in names:
                return RefusedError(
                    f"{base}: has no model {self.endpoint.model!r}. {suggest(self.endpoint.model, names)}"
                )
        if 300 <= status < 400:
            return RefusedError(f"{base}: sends us elsewhere (status {status}). Give the address it ends at")
        return RefusedError(
            f"{base}: refuses the request (status {status}{detail}; {question.place}). Change what it objects to "
            "by --parameter NAME=VALUE, where null leaves one out"
        )

    async def _models(self, client: httpx2.AsyncClient) -> list[str] | None:
        """Names of the models that a server lists; None where it lists none."""
        try:
            response = await client.get(f"{self.endpoint.api_base}/models")
            return [str(entry["id"]) for entry in response.json()["data"]] if response.status_code == 200 else None
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return None

    def _detail(self, response: httpx2.Response) -> str:
        """What a server says of a failure, in one short line that does not hold the key."""
        try:
            fault = response.json()["error"]
            parts = [fault.get("message"), fault.get("code")] if isinstance(fault, dict) else [fault]
            text = ", ".join(str(part) for part in parts if part)
        except (ValueError, KeyError, TypeError):
            text = re.sub(r"<[^>]*>", " ", response.text)
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "…")
        text = " ".join(text.split())[:200]
        return f": {text.rstrip('.')}" if text else ""


def _read_answer(response: httpx2.Response, question: Question) -> Answer:
    """A chat completion as an answer.

    Raises:
        _AgainError: it is none.
    """
    try:
        body = response.json()
    except ValueError:
        start = " ".join(response.text.split())[:60]
        raise _AgainError(f"an answer that is not JSON, but {start!r}") from None
    try:
        choice = body["choices"][0]
        content = choice["message"].get("content")
        finish = str(choice.get("finish_reason") or "")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _AgainError("an answer without a choice in it") from None
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    text = content if isinstance(content, str) else ""  # null: a refusal, or all tokens went into thinking
    usage = _usage(body)
    # Without usage the most is assumed, so that a cap holds.
    prompt, answer = usage or (question.prompt_tokens, question.most_answer_tokens)
    return Answer(text, finish, prompt, answer, usage is not None, str(body.get("model") or ""))


def _usage(body: dict[str, Any]) -> tuple[int, int] | None:
    """(prompt tokens, answer tokens) as the server counted them, if it did."""
    usage: Any = body.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, answer = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(answer, int) or min(prompt, answer) < 0:
        return None
    return prompt, answer


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds that a server asks to wait, as a number or a date; None where it says nothing we understand."""
    value = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
