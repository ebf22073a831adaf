"""HTTP to an upstream server: its key goes to no other, a call is tried twice, and streams come line by line."""

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Any, final

import httpx2

from multitune.core.errors import MultituneError
from multitune.core.untrusted import bound
from multitune.inference.bounded import bound_response, refuse_compressed
from multitune.inference.chat import Endpoint

_log = logging.getLogger(__name__)
TRIES = 2  # of a call, until its answer begins
CONNECT_SECONDS = 10.0
LOAD_SECONDS = 120.0  # for one question about models, or for loading an adapter
LONGEST_REASON = 500  # characters of what a server says of a failure


class UpstreamError(MultituneError):
    """The upstream cannot be reached, fails, or answers what is none."""


class UpstreamTimeoutError(UpstreamError):
    """The upstream was silent for too long."""


class UpstreamRefusalError(MultituneError):
    """The upstream does not take a call, for a reason that the client can do something about."""

    def __init__(self, status: int, message: str, param: str | None, code: str | None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


@final
class UpstreamClient:
    """Asks one server: coroutines for calls, plain functions for its models."""

    def __init__(self, endpoint: Endpoint, silence_seconds: float) -> None:
        """Open no connection yet.

        Args:
            endpoint: the address, with the key.
            silence_seconds: how long it may send nothing in the middle of a call.
        """
        self.endpoint = endpoint
        self._root = endpoint.api_base.removesuffix("/v1")
        self._silence = silence_seconds
        self._settings: dict[str, Any] = {
            "follow_redirects": False,  # the key is for this address alone
            "trust_env": not endpoint.is_local,  # no proxy on the way to this machine
            "headers": {
                "Accept-Encoding": "identity",
                **({"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}),
            },
        }
        self._blocking = httpx2.Client(**self._settings, timeout=httpx2.Timeout(LOAD_SECONDS, connect=CONNECT_SECONDS))
        self._opened: httpx2.AsyncClient | None = None

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        """The status and body of an answer.

        Raises:
            UpstreamError: there is none.
        """
        try:
            with self._blocking.stream(method, self._root + path, json=body) as response:
                refuse_compressed(response)
                found = bytearray()
                for piece in response.iter_raw():
                    found += piece
                    if len(found) > bound("ANSWER_BYTES"):
                        raise UpstreamError(f"{path}: an answer of more than {bound('ANSWER_BYTES')} bytes")
                return response.status_code, bytes(found)
        except httpx2.TransportError as error:
            raise UpstreamError(f"{path}: {_cause(error)}") from error

    async def whole(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The answer to a call.

        Raises:
            UpstreamError: there is none, or it was cut.
            UpstreamRefusalError: the call is not taken.
        """
        response = await self._begun(path, body)
        try:
            bound_response(response, self._silence)
            return await response.aread()
        except httpx2.TransportError as error:
            raise _broken(error) from error
        finally:
            await response.aclose()

    async def lines(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """The lines of an answer as they come, without their ends; left early, the call ends at the upstream, too.

        Raises:
            UpstreamError, UpstreamRefusalError: as `whole`.
        """
        response, rest = await self._begun(path, body), b""
        try:
            refuse_compressed(response)
            async for piece in response.aiter_raw():
                *lines, rest = (rest + piece).split(b"\n")  # at no other character: JSON may hold a U+2028
                if len(rest) > bound("ANSWER_BYTES"):
                    raise UpstreamError("the upstream sends a line without end")
                for line in lines:
                    yield line
            if rest:
                yield rest
        except httpx2.TransportError as error:
            raise _broken(error) from error
        finally:
            await response.aclose()

    async def _begun(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        """An answer of status 200, of which nothing was read."""
        fault = ""
        for _ in range(TRIES):
            client = self._client()
            try:
                response = await client.send(client.build_request("POST", self._root + path, json=body), stream=True)
                if response.status_code < 500:
                    return response if response.status_code == 200 else await self._refused(response)
                fault = f"status {response.status_code}{self.reason_in(await _body(response))}"
            except (httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
                raise _broken(error) from error  # it may be at work on the call, and would have it twice
            except httpx2.TransportError as error:
                fault = _cause(error)
            _log.warning("upstream %s: %s", self._root, fault)
        raise UpstreamError(f"the upstream server fails ({fault}; asked {TRIES} times). Try again later")

    async def _refused(self, response: httpx2.Response) -> httpx2.Response:
        status, body = response.status_code, await _body(response)
        reason, error = self.reason_in(body), error_of(body)
        if status in (401, 403):
            raise UpstreamError(f"the upstream does not accept this server's key for it (status {status}{reason})")
        if status == 404 or status < 400:
            raise UpstreamError(f"the upstream does not hold what is asked (status {status}{reason})")
        raise UpstreamRefusalError(
            status, f"the upstream refuses the request{reason}", _text(error.get("param")), _text(error.get("code"))
        )

    def reason_in(self, body: bytes) -> str:
        """What the body of a failure says, in one line that does not hold the key."""
        found = error_of(body)
        text = str(found.get("message") or found.get("detail") or body.decode("utf-8", "replace"))
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "…")
        text = " ".join(text.split())[:LONGEST_REASON]
        return f": {text.rstrip('.')}" if text else ""

    def _client(self) -> httpx2.AsyncClient:
        """A client of the running event loop."""
        if self._opened is None:
            self._opened = httpx2.AsyncClient(
                **self._settings,
                timeout=httpx2.Timeout(self._silence, connect=min(CONNECT_SECONDS, self._silence), pool=None),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            )
        return self._opened

    async def disconnect(self) -> None:
        """Close the connections of the event loop."""
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None

    def close(self) -> None:
        """Close the others."""
        self._blocking.close()


async def _body(response: httpx2.Response) -> bytes:
    """What a failure says; nothing where even that breaks off."""
    try:
        bound_response(response, CONNECT_SECONDS)
        return await response.aread()
    except httpx2.TransportError:
        return b""
    finally:
        await response.aclose()


def error_of(body: bytes) -> dict[str, Any]:
    """The error in a body, as OpenAI or vLLM write it; empty where there is none."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    found = found.get("error", found) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {"message": str(found)}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _cause(error: httpx2.TransportError) -> str:
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__


def _broken(error: httpx2.TransportError) -> UpstreamError:
    """What to raise for a call that was sent."""
    if isinstance(error, httpx2.TimeoutException):
        return UpstreamTimeoutError("the upstream server was silent for too long")
    return UpstreamError(f"the upstream server's answer broke off ({_cause(error)})")
