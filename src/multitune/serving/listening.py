"""Where a server of ours listens, and what it asks of those who connect: its own name, a whole request in time."""

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from multitune.core.errors import InputError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_WITHIN = 10.0  # seconds from the start of a connection, or the end of an answer, to a whole request
LOCAL = ("localhost", "127.0.0.1", "::1")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any that is free.

    Raises:
        InputError: it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--host {host} --port {port}: cannot be listened on ({error}). Choose another port, or 0 for any that is "
            "free"
        ) from error


def allow_connections() -> None:
    """Let this process hold as many connections as the system lets it: the usual soft limit is 1,024 open files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # where the hard limit is none, macOS refuses it as the soft one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def address(host: str, listener: socket.socket) -> str:
    """The address of a socket as a browser wants it."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def names_of(host: str) -> tuple[str, ...]:
    """The names that a server which listens on `host` is asked under; see `is_known`."""
    if is_local(host):
        return LOCAL
    own = socket.gethostname()
    return (*LOCAL, host, own, socket.getfqdn(), f"{own.partition('.')[0]}.local", "*ip")


def is_known(asked: str, names: Collection[str]) -> bool:
    """Whether the Host of a request is one of these names; `*ip` is any address in figures, and `*` anything.

    Another site can lead its visitors here by a name of its own (DNS rebinding), but by no address in figures.
    """
    try:
        name = urlsplit(f"//{asked}").hostname or ""
    except ValueError:
        return False
    if "*" in names or name.lower() in {known.lower() for known in names}:
        return True
    return "*ip" in names and is_address(name)


def is_address(name: str) -> bool:
    """Whether a name is an address in figures."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether a server on this address answers this machine alone."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


class KnownHosts:
    """Answers requests under other names with status 400."""

    def __init__(self, app: "ASGIApp", names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """One request."""
        asked = next((value for name, value in scope.get("headers", ()) if name == b"host"), b"")
        if scope["type"] == "http" and not is_known(asked.decode("latin-1"), self._names):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("Invalid host header", status_code=400)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def protocol(seconds: float = REQUEST_WITHIN) -> type[asyncio.Protocol]:
    """Uvicorn's HTTP/1.1, which gives up a connection that has sent no whole request, body included, within a time."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):
        _waited = False  # at the last look

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(seconds / 2, self._look)

        def _look(self) -> None:
            """Every half of the time: two looks at which nothing was being answered are the whole of it."""
            cycle: Any = self.cycle  # of a request; none yet for the first
            waits = cycle is None or bool(cycle.response_complete or cycle.more_body)
            if self.transport.is_closing():
                return
            if waits and self._waited:
                self.transport.close()
                return
            self._waited = waits
            self.loop.call_later(seconds / 2, self._look)

    return Patient
