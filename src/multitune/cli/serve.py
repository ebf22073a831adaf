"""`serve`: a finished run behind the OpenAI API."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from multitune.cli.options import Run as RunPath
from multitune.cli.output import hush
from multitune.core.bases import BASE
from multitune.core.errors import InputError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from multitune.serving.app import Api

ApiKey = Annotated[str | None, typer.Option(envvar="MULTITUNE_API_KEY", help="Key that requests must give.")]
AdminKey = Annotated[
    str | None, typer.Option(envvar="MULTITUNE_ADMIN_KEY", help="Key for loading and unloading adapters.")
]
MaxLoras = Annotated[
    int | None,
    typer.Option(min=1, help="Adapters in memory; the least recently used leaves, and is read again when asked."),
]
Upstream = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Server with the OpenAI API, such as vLLM, that holds base and adapters and answers; we route.",
    ),
]
KeyEnv = Annotated[
    str | None, typer.Option(metavar="NAME", help="Environment variable that holds the key of --upstream.")
]
Learning = Annotated[
    Literal["bypass", "observe", "apply"],
    typer.Option(
        help="Learn from use: bypass keeps nothing; observe keeps requests as features, and feedback, and shows "
        "what the router would become; apply lets that go live where every route keeps its floor."
    ),
]
KeepText = Annotated[
    bool, typer.Option("--keep-text", help="Keep the texts of requests as well, to label those that fit no task.")
]


def serve(
    run: RunPath,
    host: Annotated[str, typer.Option(help="Address; the default answers this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
    max_running: Annotated[int, typer.Option(min=1, help="Requests that are generated side by side.")] = 64,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait; others are told to retry.")] = 256,
    api_key: ApiKey = None,
    admin_key: AdminKey = None,
    cache_tokens: Annotated[int, typer.Option(min=256, help="Tokens of the key-value store.")] = 16384,
    max_loras: MaxLoras = None,
    upstream: Upstream = None,
    key_env: KeyEnv = None,
    learning: Learning = "bypass",
    keep_text: KeepText = False,
) -> None:
    """Serve a run's base with all its adapters by the OpenAI API; the router picks the adapter of each request."""
    hush()
    from multitune.inference.chat import open_endpoint
    from multitune.serving.backend import UpstreamOptions
    from multitune.serving.engine import EngineOptions
    from multitune.serving.learning.learner import LearningOptions
    from multitune.serving.server import ServeOptions
    from multitune.serving.server import serve as serve_run

    engine: EngineOptions | UpstreamOptions
    engine = EngineOptions(max_running, max_waiting, cache_tokens=cache_tokens, max_loras=max_loras)
    if upstream is not None:
        if max_loras is not None:
            raise InputError("--max-loras: is for the upstream to say. Give it there, and leave it out here")
        endpoint = open_endpoint(BASE, upstream, key_env, "--upstream")
        engine = UpstreamOptions(endpoint, max_calls=max_running + max_waiting)
    elif key_env is not None:
        raise InputError("--key-env: names the key of an upstream. Give --upstream URL, too")

    def opened(url: str) -> None:
        typer.echo(f"{run} at {url}/v1 (Ctrl-C ends)")

    def warn(text: str) -> None:
        typer.echo(f"warning: {text}", err=True)

    def page(app: "FastAPI", api: "Api") -> None:
        from multitune.reporting.served_page import add_page  # fastapi comes with the extra

        add_page(app, api)

    options = ServeOptions(host, port, engine, api_key, admin_key, LearningOptions(learning, keep_text))
    serve_run(run, options, opened, warn, page)
