"""Responses of a server that may never end: each is read for a time, up to a size, and as it is on the wire."""

import importlib
import time
from collections.abc import AsyncIterator
from typing import Any

from multitune.core.untrusted import bound, raised_by


def _library_of(response: Any) -> Any:
    return importlib.import_module(type(response).__module__.partition(".")[0])


def refuse_compressed(response: Any) -> None:
    """Take a response of httpx, or of its successor, only as it is on the wire.

    Raises:
        RemoteProtocolError of that library: it is compressed, although we asked for it as it is: a few bytes may be
            gigabytes.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise _library_of(response).RemoteProtocolError(
            f"an answer that is compressed ({encoding[:20]!r}), which was not asked for"
        )


def bound_response(response: Any, seconds: float) -> None:
    """Bound the body of a response of httpx, or of its successor, that has just begun.

    Raises:
        RemoteProtocolError of that library: it is compressed; while it is read also where it is too large, and
            ReadTimeout where it does not end in time.
    """
    library = _library_of(response)
    refuse_compressed(response)

    class Bounded(library.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream, self._ends = stream, time.monotonic() + seconds

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size, most = 0, bound("ANSWER_BYTES")
            async for part in self._stream:
                size += len(part)
                if size > most:
                    reason = f"an answer of more than {most} bytes; {raised_by('ANSWER_BYTES')}"
                    raise library.RemoteProtocolError(reason)
                if time.monotonic() > self._ends:
                    raise library.ReadTimeout("the answer did not end in time")
                yield part

        async def aclose(self) -> None:
            await self._stream.aclose()

    response.stream = Bounded(response.stream)
