"""From the engine's thread to a client's coroutine: requests of one call, and what is delivered to them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from multitune.serving.engine import Engine
from multitune.serving.requests import Delta, GenerationRequest


@dataclass(slots=True)
class Ticket:
    """The requests of one call, under way together."""

    engine: Engine
    requests: list[GenerationRequest] = field(default_factory=list[GenerationRequest])
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _queue: "asyncio.Queue[tuple[int, Delta]]" = field(default_factory=asyncio.Queue)

    def deliver_to(self, index: int) -> Callable[[Delta], None]:
        """Where the engine delivers what comes of the request with this number."""

        def deliver(delta: Delta) -> None:
            with suppress(RuntimeError):  # the loop is closed: the server ends, and nobody waits any more
                self._loop.call_soon_threadsafe(self._queue.put_nowait, (index, delta))

        return deliver

    async def deltas(self) -> AsyncGenerator[tuple[int, Delta]]:
        """Submit the requests, and give what comes until all have ended; left early, they are cancelled.

        Raises:
            InputError, OverloadedError: the engine does not take them.
        """
        self.engine.submit(self.requests)
        open_ = len(self.requests)
        try:
            while open_:
                index, delta = await self._queue.get()
                open_ -= delta.finish is not None
                yield index, delta
        finally:
            if open_:
                for request in self.requests:
                    self.engine.cancel(request)
