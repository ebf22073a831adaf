"""`export` and `verify`: an adapter leaves its run, and what left answers as the record of the run says."""

from typing import Annotated

import typer

from multitune.cli.options import AsJson, Run
from multitune.cli.output import echo, hush, print_json, results


def export(
    run: Run,
    adapter: Annotated[str, typer.Option(help="Name of the adapter, such as shared.")],
    to: Annotated[str, typer.Option(metavar="FOLDER|hub:OWNER/NAME", help="Folder to make, or where to push it.")],
    form: Annotated[
        str, typer.Option("--as", metavar="FORM", help="peft (also for vLLM), gguf for llama.cpp, or merged.")
    ] = "peft",
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not send rows of the run's record through it first.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Let everybody read what is pushed.")] = False,
) -> None:
    """Copy an adapter out of a run, for PEFT and vLLM, for llama.cpp, or merged into its base; or push it to a hub.

    Rows of the run's record are sent through it, and one that does not answer as the record says is refused. What is
    pushed is private unless --public; the token is that of `hf auth login` or HF_TOKEN.
    """
    hush()
    from multitune.run import open_run

    advice = open_run(run).export(adapter, to, form, verify=not no_verify, public=public)
    echo(f"{adapter} as {form}: {to}")
    if advice:
        echo(advice)


def verify(
    run: Run,
    against: Annotated[
        str, typer.Option(metavar="FOLDER|URL", help="What was exported, hub:OWNER/NAME, or the address of a server.")
    ],
    adapter: Annotated[
        str | None, typer.Option(help="That it is to answer as; the shared or only one when absent.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows of each task.")] = 32,
    model: Annotated[str | None, typer.Option(help="As a server names it; the adapter's name when absent.")] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds the server's key.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare an exported or served model with the record of its run: exit code 0 the same, 1 it differs.

    Rows of the record are sent through it, those first on which adapter and base differ.
    """
    hush()
    from multitune.run import open_run

    found = open_run(run).verify(against, adapter, limit=limit, model=model, key_env=key_env)
    if as_json:
        print_json(found, verdict="same" if found.same else "differs")
    else:
        from multitune.cli.show import show_verification

        show_verification(found, results())
    raise typer.Exit(0 if found.same else 1)
