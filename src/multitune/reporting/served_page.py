"""The page of a served run: try a prompt, see where it goes and what others would answer, and say what was right."""

import asyncio
import time
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from multitune.config.adapters import SHARED
from multitune.core.bases import BASE
from multitune.core.errors import RunFolderError
from multitune.core.results.base import Record
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from multitune.core.text import printable
from multitune.evaluation.subjects import shipped_adapters
from multitune.reporting.live import PAGE
from multitune.reporting.run_scores import read_run_scores
from multitune.serving.app import Api


class ServedTask(Record):
    """A task, what it ships with, and the scores of the run's final table."""

    task: str
    adapter: str
    metric: str | None = None  # None where the run was not evaluated
    shipped: float | None = None
    shared: float | None = None
    base: float | None = None


class RouteCount(Record):
    """Requests to one adapter for one reason."""

    adapter: str
    reason: str
    requests: int  # since the server began
    last_minute: int


class Overview(Record):
    """GET /overview: what the page shows of a server."""

    run: str
    shared: str | None  # the adapter that is compared with where the routed one is another
    running: int
    waiting: int
    routes: tuple[RouteCount, ...]
    tasks: tuple[ServedTask, ...]


def add_page(app: FastAPI, api: Api) -> None:
    """Let the app of a served run answer `/`; the files are open, all that they show asks for the key."""

    async def overview() -> Overview:
        """What is loaded, how it scored, and what it is asked."""
        return await asyncio.to_thread(overview_of, api)

    def page() -> Response:
        return HTMLResponse(_part("served.html"), headers=PAGE)

    def script() -> Response:
        return Response(_part("served.js"), media_type="text/javascript", headers=PAGE)

    def style() -> Response:
        return Response(_part("templates/style.css") + _part("served.css"), media_type="text/css", headers=PAGE)

    app.add_api_route("/overview", overview, methods=["GET"])
    for path, answer in {"/": page, "/served.js": script, "/served.css": style}.items():
        app.add_api_route(path, answer, methods=["GET"], include_in_schema=False, response_model=None)


def overview_of(api: Api) -> Overview:
    """What the page shows of a server now."""
    served = api.served
    counted, recent = api.routes.routes.copy(), api.routes.since(time.monotonic() - 60)
    stats, adapters = served.backend.stats, served.adapters.names
    return Overview(
        run=printable(served.folder.path.resolve().name),
        shared=SHARED if SHARED in adapters else next(iter(adapters), None),
        running=stats.running.total(),
        waiting=stats.waiting.total(),
        routes=tuple(
            RouteCount(adapter=adapter, reason=reason, requests=count, last_minute=recent[adapter, reason])
            for (adapter, reason), count in sorted(counted.items())
        ),
        tasks=tuple(_tasks(served.folder, shipped_adapters(served.folder, served.config))),
    )


def _tasks(folder: RunFolder, shipped: dict[str, str]) -> list[ServedTask]:
    try:
        scores: Scores | None = read_run_scores(folder)
    except RunFolderError:
        scores = None
    found: list[ServedTask] = []
    for task, adapter in shipped.items():
        row = scores.tasks.get(task) if scores else None
        values = {name: one.score for name, one in row.scores.items()} if row else {}
        found.append(
            ServedTask(
                task=task,
                adapter=adapter,
                metric=row.metric if row else None,
                shipped=values.get(adapter),
                shared=values.get(SHARED),
                base=values.get(BASE),
            )
        )
    return found


def _part(name: str) -> str:
    return (files("multitune.reporting") / name).read_text("utf-8")
