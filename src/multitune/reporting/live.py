"""A run in the browser as it goes: a page, its events as a stream that can be taken up again, and its report."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from jinja2 import Environment

from multitune.core.extras import missing_extra
from multitune.core.results.events import Event, StepEvent
from multitune.core.run_folder import RunFolder
from multitune.core.text import printable
from multitune.reporting.event_log import Entry, Follower, finite, unread
from multitune.serving.listening import KnownHosts, address, listen, names_of, protocol

if TYPE_CHECKING:
    from fastapi import FastAPI

PAUSE = 0.25  # seconds between looks at the run folder
KEEPALIVE = 15.0  # seconds of silence at most
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
FRAMES = "frame-ancestors 'none'"  # heeded in a header alone
# The page runs its own script and nothing else, whatever a task's name or a note says.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    f"form-action 'none'; {FRAMES}"
)
PAGE = {**HEADERS, "Content-Security-Policy": POLICY, "X-Frame-Options": "DENY"}
REPORT = {**PAGE, "Content-Security-Policy": FRAMES}  # the rest of its policy stands in it


def create_app(path: Path, hosts: Sequence[str] = ("*",), stopping: Callable[[], bool] = lambda: False) -> "FastAPI":
    """The app of one run: `/` the page, `/events` the stream, `/report` the finished report.

    The stream holds messages whose data is ``{"number": place in the log, "event": {...}}`` and whose id names that
    line; a message replaces what was received from its number on. Between them come events of type `state`, with
    ``{"state": of run_state.state_of, "report": whether there is one}``.

    Args:
        path: the run folder.
        hosts: names it may be asked under, as of `is_known`; another site's script knows no other way in.
        stopping: whether the server is about to stop.

    Raises:
        RunFolderError: not a run folder.
        MissingExtraError: the extra `serve` is not installed.
    """
    folder = RunFolder(path).require()
    try:
        from fastapi import FastAPI, Header
        from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse
    except ImportError as error:
        raise missing_extra("a run in the browser", "serve") from error

    def page() -> HTMLResponse:
        template = Environment(autoescape=True).from_string(_part("live.html"))
        return HTMLResponse(template.render(name=printable(folder.path.resolve().name)), headers=PAGE)

    def script() -> Response:
        return Response(_part("live.js"), media_type="text/javascript", headers=PAGE)

    def style() -> Response:
        return Response(_part("live.css"), media_type="text/css", headers=PAGE)

    def report() -> Response:
        if folder.report.is_file():
            return FileResponse(folder.report, media_type="text/html", headers=REPORT)
        return HTMLResponse("No report yet: multitune report RUN writes it.", status_code=404, headers=PAGE)

    def events(last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
        stream = messages(folder, stopping, last_event_id)
        return StreamingResponse(stream, media_type="text/event-stream", headers=PAGE)

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(KnownHosts, names=hosts)
    answers = {"/": page, "/live.js": script, "/live.css": style, "/events": events, "/report": report}
    for route, answer in answers.items():
        app.add_api_route(route, answer, methods=["GET"], response_model=None)
    return app


async def messages(folder: RunFolder, stopping: Callable[[], bool], last: str | None) -> AsyncIterator[str]:
    """The stream of a run as server-sent events, until the server stops or the reader leaves.

    Args:
        folder: the run.
        stopping: whether the server is about to stop.
        last: the id of the last message that the reader has, if any.
    """
    follower = Follower(folder)
    sent: dict[str, Any] = {}
    silent = 0.0
    while not stopping():
        news = await asyncio.to_thread(follower.news)
        entries = unread(news.entries, last)
        last = None  # of the first look alone; from here on the follower knows what is new
        for entry in entries:
            yield f"id: {entry.key}\ndata: {_data(entry)}\n\n"  # JSON: one line
        state = {"state": news.state, "report": folder.report.is_file()}
        if state != sent:
            sent = state
            yield f"event: state\ndata: {json.dumps(state)}\n\n"
        silent = 0.0 if news.entries else silent + PAUSE
        if silent >= KEEPALIVE:  # a comment, so that nothing on the way takes the silence for an end
            silent = 0.0
            yield ":\n\n"
        if not news.entries:
            await asyncio.sleep(PAUSE)


def _data(entry: Entry) -> str:
    return json.dumps({"number": entry.number, "event": finite(_shown(entry.event))}, allow_nan=False)


def _shown(event: Event) -> Any:
    """What the page draws of an event; a step holds several times as much."""
    if not isinstance(event, StepEvent):
        return event.plain()
    adapters = {name: {"tasks": of.tasks, "shares": of.shares} for name, of in event.adapters.items()}
    fields = event.model_dump(mode="json", include={"kind", "step", "steps", "seconds", "tokens"})
    return {**fields, "adapters": adapters}


def serve(path: Path, host: str, port: int, opened: Callable[[str], None]) -> None:
    """Serve a run until Ctrl-C or SIGTERM.

    Args:
        path: the run folder.
        host: address to listen on; a local one answers this machine alone.
        port: 0 for any that is free.
        opened: called with the address of the page.

    Raises:
        InputError: not a run folder, the extra `serve` is missing, or the port cannot be had.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise missing_extra("a run in the browser", "serve") from error
    state: list[uvicorn.Server] = []
    app = create_app(path, names_of(host), lambda: bool(state) and state[0].should_exit)
    listener = listen(host, port)
    config = uvicorn.Config(
        app,
        http=protocol(),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    state.append(uvicorn.Server(config))
    opened(f"{address(host, listener)}/")
    try:
        state[0].run(sockets=[listener])
    except KeyboardInterrupt:  # the way to end it
        return


def _part(name: str) -> str:
    return (files("multitune.reporting") / name).read_text("utf-8")
