"""What stands before every route: keys, the size of bodies, and the end of the server."""

import hashlib
import hmac
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitune.serving.errors import error_response

# For whoever keeps the process alive; and the files of the page, which asks for the key itself.
OPEN = ("/health", "/", "/served.js", "/served.css")
ADMIN = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/routing/rollback")
ADMIN_FOLDER = "/v1/routing/proposals/"  # texts of users


def hashed(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


@dataclass(frozen=True, slots=True)
class Keys:
    """Hashes of the keys that clients and administrators give; without the first everybody is a client."""

    client: bytes | None = None
    admin: bytes | None = None

    def status(self, path: str, authorization: str) -> int:
        """200, or what a request with this header is refused with; compared in constant time."""
        given = hashed(authorization.removeprefix("Bearer ").strip())
        admin = self.admin is not None and hmac.compare_digest(given, self.admin)
        client = self.client is None or hmac.compare_digest(given, self.client)
        if path in OPEN or admin:
            return 200
        if not client:
            return 401
        return 403 if path in ADMIN or path.startswith(ADMIN_FOLDER) else 200


@dataclass(frozen=True, slots=True)
class Access:
    """An ASGI middleware: 401 and 403 without the right key, 413 for a body of too many bytes.

    Routes are matched by regular expressions whose `$` lets a line break at the end pass, which `Keys` would take for
    another path. So no path with a control character gets through.
    """

    app: ASGIApp
    keys: Keys
    max_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not scope["path"].isprintable():
            await error_response(404, "no route has control characters in its path")(scope, receive, send)
            return
        headers = Headers(scope=scope)
        status = self.keys.status(scope["path"], headers.get("authorization", ""))
        if status != 200:
            text = "give the server's key as Authorization: Bearer KEY" if status == 401 else "needs the admin key"
            await error_response(status, text)(scope, receive, send)
            return
        if "transfer-encoding" in headers and "content-length" in headers:
            text = "a request gives its length or comes in chunks"  # a proxy may read it otherwise, and see two
            await error_response(400, text, headers={"Connection": "close"})(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_bytes:
            await error_response(413, self._too_large)(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_bytes:  # of a body without a length
                raise HTTPException(413, self._too_large)
            return message

        await self.app(scope, counted, send)

    @property
    def _too_large(self) -> str:
        return f"a body may have {self.max_bytes:,} bytes"
