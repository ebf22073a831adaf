"""A run served until Ctrl-C or SIGTERM."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from multitune.core.extras import missing_extra
from multitune.core.run_folder import RunFolder
from multitune.serving.backend import UpstreamOptions
from multitune.serving.engine import EngineOptions
from multitune.serving.learning.learner import LearningOptions
from multitune.serving.listening import KnownHosts, address, allow_connections, is_local, listen, names_of, protocol

if TYPE_CHECKING:
    from multitune.serving.app import AddPage
    from multitune.serving.served_run import ServedRun

REQUEST_WITHIN = 30.0  # seconds that a client has for a request, its body included
GRACE = 30  # seconds that requests under way have at the end


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where a run is served, and how much at a time."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0 for any that is free
    engine: EngineOptions | UpstreamOptions = field(default_factory=EngineOptions)
    api_key: str | None = None  # without one everybody may ask
    admin_key: str | None = None  # without one adapters cannot be loaded or unloaded
    learning: LearningOptions = field(default_factory=LearningOptions)


def serve(
    path: Path,
    options: ServeOptions,
    opened: Callable[[str], None],
    warn: Callable[[str], None],
    page: "AddPage | None" = None,
) -> None:
    """Serve a run until it is told to end; requests under way are answered before that.

    Args:
        path: the run folder.
        options: where, and how much at a time.
        opened: called with the address once requests are taken.
        warn: called with what the check at start found wrong.
        page: adds a page for browsers.

    Raises:
        InputError: not a run folder, the extra `serve` is missing, or the port cannot be had.
    """
    folder = RunFolder(path).require()
    try:
        import uvicorn

        from multitune.serving.access import Keys, hashed
        from multitune.serving.app import create_app
    except ImportError as error:
        raise missing_extra("serve", "serve") from error
    from multitune.serving.parity import check_parity
    from multitune.serving.served_run import ServedRun

    allow_connections()
    with listen(options.host, options.port) as listener:
        served = ServedRun(folder, options.engine, options.learning)
        served.parity = check_parity(served)
        for text in _faults(served):
            warn(text)
        keys = Keys(*(hashed(key) if key else None for key in (options.api_key, options.admin_key)))
        app = create_app(served, keys, page=page)
        if is_local(options.host):  # elsewhere it may be asked under names that it cannot know
            app.add_middleware(KnownHosts, names=names_of(options.host))
        config = uvicorn.Config(
            app,
            http=protocol(REQUEST_WITHIN),
            log_level="warning",
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=GRACE,
            server_header=False,
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises it again once it has ended
        opened(address(options.host, listener))
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # the way to end it
            return


def _faults(served: "ServedRun") -> Iterator[str]:
    """What was found wrong at the start."""
    for fault in dict.fromkeys(served.backend.faults.values()):
        names = ", ".join(repr(name) for name, why in served.backend.faults.items() if why == fault)
        yield f"adapter {names}: {fault}"
    for row in served.parity:
        if row.fault:
            yield f"adapter {row.adapter!r} on {row.task!r}: {row.fault}"
    if served.router_fault:
        yield f"model auto is answered by the base: {served.router_fault}"
