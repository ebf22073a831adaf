"""One request to a model behind an OpenAI-compatible API, by the official client; errors name the remedy."""

import asyncio
import json
import logging
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from multitune.core.errors import RefusedError, ServerError, suggest
from multitune.core.extras import missing_extra
from multitune.inference.chat import OPENAI, ChatAnswer, ChatRequest, Endpoint, ResponseCache, is_count

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

_log = logging.getLogger(__name__)

NAME = 200  # characters of a model's name, or of a reason to stop
LONGEST_NAP = 60.0  # seconds that the official client waits at most before it asks again
QUOTA = "insufficient_quota"  # a busy status that waiting does not change


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many requests at once, and how long to bear with a server."""

    concurrency: int = 8
    retries: int = 6  # after the first try, for one request; the client waits longer each time, or as the server asks
    timeout: float = 120.0  # seconds


class ChatClient(ABC):
    """Whoever answers single requests."""

    endpoint: Endpoint

    def known(self, request: ChatRequest) -> ChatAnswer | None:
        """An answer that costs nothing, where there is one."""
        return None

    @abstractmethod
    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The answer to a request.

        Raises:
            RefusedError: a wrong key, an unknown model, or a request that the server does not take.
            ServerError: unreachable, busy or broken beyond the retry policy.
        """

    @abstractmethod
    def stop_waiting(self) -> None:
        """Give up the requests that wait to be sent again; those that were sent come to their end."""

    @abstractmethod
    async def close(self) -> None:
        """Let connections go; the next request opens new ones."""


@final
class CachedClient(ChatClient):
    """Another client, whose answers are kept on disk as they come."""

    def __init__(self, client: ChatClient, cache: ResponseCache) -> None:
        self.endpoint, self._client, self._cache = client.endpoint, client, cache

    def known(self, request: ChatRequest) -> ChatAnswer | None:
        """An answer that was kept."""
        return self._cache.find(self.endpoint, request)

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The client's own, once it is kept."""
        answer = await self._client.answer(request)
        self._cache.keep(self.endpoint, request, answer)
        return answer

    def stop_waiting(self) -> None:
        """As the client does."""
        self._client.stop_waiting()

    async def close(self) -> None:
        """As the client does."""
        await self._client.close()


@final
class OpenAIClient(ChatClient):
    """The official client, which also asks again where a server is busy."""

    def __init__(self, endpoint: Endpoint, policy: RetryPolicy) -> None:
        """Open no connection yet.

        Raises:
            MissingExtraError: the package is not installed.
        """
        try:
            import openai
        except ImportError as error:
            raise missing_extra("openai:MODEL", "api") from error
        self._openai: Any = openai
        self.endpoint, self._policy = endpoint, policy
        self._opened: AsyncOpenAI | None = None
        self._waiting: set[asyncio.Task[Any]] = set()  # that got no answer and may ask again

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """A chat completion; what is none is asked for again."""
        base, openai = self.endpoint.api_base, self._openai
        tries = self._policy.retries + 1
        fault = ""
        for _ in range(tries):
            try:
                async with asyncio.timeout(tries * (self._policy.timeout + LONGEST_NAP)):
                    completion = await self._client().chat.completions.create(
                        model=self.endpoint.model,
                        messages=[dict(message) for message in request.messages],  # pyright: ignore[reportArgumentType]
                        extra_body=dict(request.parameters),
                    )
            except json.JSONDecodeError as error:  # cut short
                completion = error.doc
            except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
                completion = str(error)
            except TimeoutError as error:
                reason = f"no answer within {tries} times {self._policy.timeout:g} s"
                raise ServerError(f"{base}: {reason} ({request.place})") from error
            except openai.APIStatusError as error:
                raise await self._refusal(request, error) from error
            except openai.APITimeoutError as error:
                reason = f"no answer within {self._policy.timeout:g} s"
                raise ServerError(f"{base}: {reason} ({request.place}, {_asked(error)})") from error
            except openai.APIConnectionError as error:
                cause = str(error.__cause__ or error) or type(error.__cause__).__name__
                reason = f"no connection ({cause}); is the server up?"
                raise ServerError(f"{base}: {reason} ({request.place}, {_asked(error)})") from error
            answer = _read(completion, request)
            if isinstance(answer, ChatAnswer):
                return answer
            fault = answer
            _log.warning("%s: %s; asked again (%s)", base, fault, request.place)
        raise ServerError(f"{base}: {fault} ({request.place}, asked {tries} times)")

    def stop_waiting(self) -> None:
        """Cancel the tasks that sleep before they ask again."""
        for task in self._waiting:
            task.cancel()

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    def _client(self) -> "AsyncOpenAI":
        """A client of the running event loop."""
        if self._opened is None:
            openai, timeout = self._openai, self._policy.timeout
            http = openai.DefaultAsyncHttpxClient(
                timeout=openai.Timeout(timeout, connect=min(10.0, timeout)),
                follow_redirects=False,
                trust_env=not self.endpoint.is_local,  # no proxy on the way to this machine
                headers={"Accept-Encoding": "identity"},
                event_hooks={"request": [self._before], "response": [self._behind]},
            )
            client = openai.AsyncOpenAI(
                base_url=self.endpoint.api_base,
                api_key=self.endpoint.key or "none",
                max_retries=self._policy.retries,
                http_client=http,
            )
            if self.endpoint.api_base != OPENAI:  # taken from the environment, they are nobody else's business
                client.organization = client.project = None
            self._opened = client
        assert self._opened is not None
        return self._opened

    async def _before(self, request: Any) -> None:
        """A request is sent."""
        self._waiting.discard(_this_task())
        if not self.endpoint.key:
            request.headers.pop("authorization", None)

    async def _behind(self, response: Any) -> None:
        """A response begins: after a failure its task may soon wait; a used-up quota waiting does not change."""
        from multitune.inference.bounded import bound_response

        bound_response(response, self._policy.timeout)
        if response.status_code >= 400:
            await response.aread()
            if QUOTA in response.text:
                response.headers["x-should-retry"] = "false"
            self._waiting.add(_this_task())

    async def _refusal(self, request: ChatRequest, error: "APIStatusError") -> RefusedError | ServerError:
        base, status, reason = self.endpoint.api_base, error.status_code, self._reason(error)
        if (status in (408, 409, 425, 429) or status >= 500) and QUOTA not in reason:
            return ServerError(f"{base}: status {status}{reason} ({request.place}, {_asked(error)})")
        if status in (401, 403):
            return RefusedError(
                f"{base}: the key is not accepted (status {status}{reason}). Check what --key-env names"
            )
        if status == 404:
            names = await self._models()
            if names is None:
                return RefusedError(
                    f"{base}: no chat API there (status 404{reason}). Check --api-base; most end in /v1"
                )
            if self.endpoint.model not in names:
                return RefusedError(
                    f"{base}: has no model {self.endpoint.model!r}. {suggest(self.endpoint.model, names)}"
                )
        if 300 <= status < 400:
            return RefusedError(f"{base}: sends us elsewhere (status {status}). Give the address it ends at")
        return RefusedError(
            f"{base}: refuses the request (status {status}{reason}; {request.place}). Change what it takes offence at "
            "by --parameter NAME=VALUE, where null leaves one out"
        )

    async def _models(self) -> list[str] | None:
        """Names of the models that a server lists; None where it lists none."""
        try:
            return [model.id async for model in self._client().models.list()]
        except (self._openai.OpenAIError, AttributeError, TypeError, ValueError):
            return None

    def _reason(self, error: "APIStatusError") -> str:
        """What a server says of a failure, in one short line that does not hold the key."""
        body: Any = error.body
        if isinstance(body, dict):
            text = ", ".join(str(body[part]) for part in ("message", "code") if body.get(part))
        else:
            text = re.sub(r"<[^>]*>", " ", str(body or error.response.text))
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "…")
        text = " ".join(text.split())[:200]
        return f": {text.rstrip('.')}" if text else ""


def _asked(error: Any) -> str:
    """How often a request was sent before the client gave up."""
    retries = error.request.headers.get("x-stainless-retry-count", "0")
    return "asked once" if retries == "0" else f"asked {int(retries) + 1} times"


def _this_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None, "hooks run within a request"
    return task


def _read(completion: Any, request: ChatRequest) -> ChatAnswer | str:
    """A chat completion as an answer; else what is wrong with it."""
    if isinstance(completion, str):
        return f"an answer that is not JSON, but {' '.join(completion.split())[:60]!r}"
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        return "an answer without a choice in it"
    content: Any = choices[0].message.content
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    text = content if isinstance(content, str) else ""  # null: a refusal, or all tokens went into thinking
    usage = completion.usage
    prompt: Any = getattr(usage, "prompt_tokens", None)
    answer: Any = getattr(usage, "completion_tokens", None)
    counted = is_count(prompt) and is_count(answer)
    if not counted:  # the most is assumed, so that a cap holds
        prompt, answer = request.prompt_tokens, request.most_answer_tokens
    finish, model = (_whole(str(name or ""))[:NAME] for name in (choices[0].finish_reason, completion.model))
    return ChatAnswer(_whole(text), finish, prompt, answer, counted, model)


def _whole(text: str) -> str:
    """A text without halves of characters, which no file could hold."""
    return text.encode("utf-8", "replace").decode()
