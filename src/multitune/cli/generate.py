"""`generate`: a finished run answers a prompt, a chat, or a file of prompts or rows."""

import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from multitune.cli.options import AsJson
from multitune.cli.options import Run as RunPath
from multitune.cli.output import echo, echo_json, hush
from multitune.core.errors import InputError

if TYPE_CHECKING:
    from multitune.deployment.answering import Answer
    from multitune.run import Run

ROWS = 64  # of a file that are answered at once, and written before the next are read
SHOWN = 3  # decimals of a probability


def generate(
    run: RunPath,
    prompt: Annotated[str | None, typer.Argument(metavar="TEXT", help="The prompt; - reads it from stdin.")] = None,
    *,
    adapter: Annotated[
        str, typer.Option(help="An adapter's name, base, or auto: the one the router picks, or the task ships with.")
    ] = "auto",
    chat: Annotated[bool, typer.Option("--chat", help="Go on as a conversation, a line a message.")] = False,
    file: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="Rows to answer: JSONL, CSV or Parquet.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Answers as JSONL; stdout when absent.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Rows are as in the data of this task, whose own prompt is put to them.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 512,
    as_json: AsJson = False,
) -> None:
    """Let a finished run answer: a text, a chat (--chat), or a file of rows (--input); the router picks the adapter.

    A row of a file has `prompt`, or `messages` of a chat; with --task the columns that the task's data has.
    """
    hush()
    if (prompt is not None) + chat + (file is not None) != 1:
        raise InputError("generate: give one of a TEXT, --chat and --input FILE")
    if file is None and (task is not None or output is not None):
        raise InputError("--task, --output: are for a file of rows. Give --input FILE")
    from multitune.run import open_run

    opened = open_run(run)
    if chat:
        _chat(opened, adapter, max_new_tokens)
    elif file is not None:
        _answer_file(opened, file, output, task=task, adapter=adapter, max_new_tokens=max_new_tokens)
    else:
        text = sys.stdin.read() if prompt == "-" else str(prompt)
        answer = opened.generate(text, adapter, max_new_tokens)
        echo_json(answer.plain()) if as_json else _show(answer)
        if not as_json:
            echo(_by(answer), err=True)


def _show(answer: "Answer") -> None:
    """An answer as it is, but for what would act on a terminal."""
    echo(answer.text) if sys.stdout.isatty() else typer.echo(answer.text)


def _chat(run: "Run", adapter: str, max_new_tokens: int) -> None:
    """Answer line after line until the input ends."""
    messages: list[dict[str, str]] = []
    asks = sys.stdin.isatty()
    if asks:
        echo("An empty line starts over; Ctrl-D ends.", err=True)
    while True:
        if asks:
            echo("> ", end="", err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if not line.strip():
            messages = []
            continue
        messages.append({"role": "user", "content": line.strip()})
        answer = run.generate(messages, adapter, max_new_tokens)
        messages.append({"role": "assistant", "content": answer.text or " "})
        _show(answer)
        if asks:
            echo(_by(answer), err=True)


def _answer_file(
    run: "Run", file: Path, output: Path | None, *, task: str | None, adapter: str, max_new_tokens: int
) -> None:
    from multitune.data.formats import read_rows

    if not file.is_file():
        raise InputError(f"--input {file}: no such file")
    rows = enumerate(read_rows(file, "--input"), start=1)
    with _opened(output) as stream:
        while some := dict(islice(rows, ROWS)):  # by their number in the file
            if task is not None:
                answers = run.predict(task, list(some.values()), adapter)
            else:
                prompts = [_conversation(row, f"--input {file}: row {number}") for number, row in some.items()]
                answers = run.generate_all(prompts, adapter, max_new_tokens)
            for (number, row), answer in zip(some.items(), answers, strict=True):
                line = {"id": row.get("id", number), **answer.plain()}
                stream.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            stream.flush()


@contextmanager
def _opened(output: Path | None) -> Generator[TextIO]:
    """Where answers go; a file is there under its own name once it is whole."""
    if output is None:
        yield sys.stdout
        return
    if output.exists():
        raise InputError(f"--output {output}: already exists. Choose another name, or remove it")
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            yield stream
        part.rename(output)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--output {output}: cannot be written ({reason}). Check the place") from error


def _conversation(row: Mapping[str, Any], place: str) -> str | Sequence[Mapping[str, str]]:
    """The prompt or the messages of a row."""
    match row:
        case {"messages": list() as messages} if all(isinstance(message, dict) for message in messages):
            return messages
        case {"prompt": str() as prompt} if prompt.strip():
            return prompt
        case _:
            raise InputError(
                f"{place}: has neither `prompt`, a text, nor `messages`, a list; its columns: {', '.join(row)}. "
                "Rename one, or give --task NAME for rows as in the data of a task"
            )


def _by(answer: "Answer") -> str:
    """Who answered, and why."""
    if answer.route is None:
        return f"[{answer.adapter}]"
    return f"[{answer.adapter}: {answer.route.reason}, {answer.route.task} {answer.route.probability:.{SHOWN}f}]"
