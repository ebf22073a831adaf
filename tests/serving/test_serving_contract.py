"""docs/serving.md says what the code says: routes, fields, options, codes, limits, figures; and its examples run."""

import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import typer
from fastapi import FastAPI
from fastapi.routing import APIRoute

from multitune.cli.main import app as command_line
from multitune.core.run_folder import RunFolder
from multitune.inference.chat import Endpoint
from multitune.reporting.served_page import add_page
from multitune.routing.router import Reason
from multitune.serving import access, adapters, grammar_check, grammars, parity, protocol, server, upstream
from multitune.serving.app import MAX_BYTES, create_app, decision_headers
from multitune.serving.backend import UpstreamOptions
from multitune.serving.decisions import CONVERSATION, NAMED, NO_ROUTER, LabelProbability
from multitune.serving.engine import EngineOptions
from multitune.serving.errors import KINDS, RETRY_AFTER
from multitune.serving.learning import conversations, learner
from multitune.serving.served_run import ServedRun

PAGE = (Path(__file__).parent.parent.parent / "docs" / "serving.md").read_text("utf-8")
PROSE = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
CODE = {word for span in re.findall(r"`([^`]+)`", PROSE) for word in re.findall(r"\w+", span)}
BODIES = {
    "/v1/load_lora_adapter": protocol.LoadAdapter,
    "/v1/unload_lora_adapter": protocol.UnloadAdapter,
}


def section(title: str) -> str:
    """A part of the page, by its title."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def column(title: str, number: int = 0) -> list[str]:
    """A column of the first table of a part."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section(title).splitlines() if line.startswith("|")]
    return [row[number].strip() for row in rows[2:]]


def named_in(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def bodies(of: type[protocol.Body] = protocol.Body) -> Iterator[type[protocol.Body]]:
    """All models of requests, with those inside them."""
    for one in of.__subclasses__():
        yield one
        yield from bodies(one)


def fields(of: type[protocol.Body]) -> set[str]:
    return {field.alias or name for name, field in of.model_fields.items()}


@pytest.mark.parametrize("body", list(bodies()), ids=lambda body: body.__name__)
def test_every_field_of_a_request_is_named(body: type[protocol.Body]) -> None:
    assert fields(body) and fields(body) - CODE == set()


def test_the_table_of_fields_is_that_of_both_kinds_of_generation() -> None:
    table = set().union(*map(named_in, column("What a request may say")))
    assert table == fields(protocol.ChatRequest) | fields(protocol.CompletionRequest)


def test_options_are_those_of_the_command_with_their_defaults() -> None:
    command = typer.main.get_command(command_line).commands["serve"]  # pyright: ignore[reportAttributeAccessIssue]
    options = {one.opts[0]: one for one in command.params if one.opts[0].startswith("--")}
    table = dict(zip(column("Starting"), column("Starting", 1), strict=True))
    assert {name.strip("`") for name in table} == options.keys()
    for name, default in table.items():
        expected = options[name.strip("`")].default
        assert default.strip("`") == {None: "none", False: "off"}.get(expected, str(expected))
    assert {one.envvar for one in options.values() if one.envvar} <= CODE


def test_codes_are_those_that_are_answered() -> None:
    rows = set(zip(column("Errors"), column("Errors", 1), column("Errors", 2), strict=True))
    special = {("404", "`model_not_found`", "`invalid_request_error`")}
    expected = {(str(status), f"`{code}`" if code else "null", f"`{kind}`") for status, (kind, code) in KINDS.items()}
    assert rows - special == expected and special < rows
    assert f"`Retry-After: {RETRY_AFTER}`" in PAGE


def test_limits_are_those_of_the_code() -> None:
    engine, text = EngineOptions(), section("Limits")
    assert column("Limits", 1) == [
        f"{MAX_BYTES >> 20} MiB",
        f"{engine.max_running}",
        f"{engine.max_waiting}",
        f"{engine.max_waiting_tokens:,}",
        "the base's context, at most the store",
        f"{protocol.MOST_ANSWERS}, {protocol.MOST_STOPS}, {protocol.MOST_CHOICES:,}",
        f"{protocol.MOST_CHARACTERS:,}",
        f"{learner.FEEDBACK_AN_HOUR}",
        f"{conversations.MOST:,}",
    ]
    assert named_in(text) == {"n", "max_model_len"}
    for sentence in (
        f"more than {grammar_check.SECONDS} seconds or {grammar_check.BYTES >> 20} MB to compile",
        f"at most {grammars.WHITESPACE.rpartition(',')[2].rstrip('}')} characters in a row",
        f"0 to {protocol.MOST_ALTERNATIVES} alternatives",
        f"requests under way have {server.GRACE} seconds",
        f"no whole request in {server.REQUEST_WITHIN:.0f} seconds",
        f"likelier by {conversations.SWITCH}",
        f"Every {upstream.LOOK_SECONDS:.0f} seconds the server looks again",
        f"{UpstreamOptions(Endpoint('', '')).silence_seconds / 60:.0f} minutes without a byte",
        f"the first {parity.FIRST_TOKENS} tokens must be",
    ):
        assert sentence in PAGE
    assert parity.ROWS == 4 and "up to four stored rows" in PAGE


def test_the_decision_has_the_fields_headers_and_reasons_of_the_code() -> None:
    decision = protocol.Decision(task="tweets", adapter="shared", probability=0.5, reason="routed")
    assert list(map(str.strip, column("The decision"))) == [f"`{name}`" for name in protocol.Decision.model_fields]
    assert {name.strip("`") for name in column("The decision", 1) if name} == set(decision_headers(decision))
    (reasons,) = (row for row in column("The decision", 2) if "`named`" in row)
    assert set(re.findall(r"`([a-z-]+)`", reasons)) == {NAMED, CONVERSATION, NO_ROUTER, *get_args(Reason)}
    assert LabelProbability.model_fields.keys() <= CODE


def test_open_routes_and_refused_files_are_those_of_the_code() -> None:
    (sentence,) = re.findall(r"but for (.*?)\. The admin key", section("Keys"))
    assert set(re.findall(r"`(/[^`]*)`", sentence)) == set(access.OPEN)
    (files,) = re.findall(r"one with (.*?) files is refused", section("Adapters at run time"))
    assert set(re.findall(r"`(\.\w+)`", files)) == adapters.UNSAFE


@pytest.fixture(scope="module")
def served_app(byte_run: Path) -> Generator[FastAPI]:
    served = ServedRun(RunFolder(byte_run), EngineOptions(cache_tokens=256))
    yield create_app(served, page=add_page)
    served.close()


def test_routes_are_those_of_the_app(served_app: FastAPI) -> None:
    paths = served_app.openapi()["paths"]
    found = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    hidden = [route for route in served_app.routes if isinstance(route, APIRoute) and not route.include_in_schema]
    found |= {f"{method} {route.path}" for route in hidden for method in route.methods or ()}
    found.add(f"GET {served_app.openapi_url}")
    routes = set(re.findall(r"`((?:GET|POST) [^`]+)`", "".join(column("All routes"))))
    assert len(found) > 20 and routes == found
    guarded = {
        path for path, note in zip(column("All routes"), column("All routes", 2), strict=True) if "admin" in note
    }
    assert {route.partition(" ")[2].strip("`") for route in guarded} == {
        *access.ADMIN,
        f"{access.ADMIN_FOLDER}{{number}}.jsonl",
    }


def test_bodies_of_curl_are_what_the_routes_take() -> None:
    sent = re.findall(r"^curl http://127\.0\.0\.1:8000(\S+) .* -d '(.+)'$", PAGE, re.MULTILINE)
    assert len(sent) == PAGE.count("curl ") == 2
    for path, body in sent:
        given = json.loads(body)
        assert BODIES[path].model_validate(given) and given.keys() <= fields(BODIES[path])


def test_the_figures_of_metrics_are_those_that_are_exposed(byte_server: str) -> None:
    lines = re.findall(r"^# TYPE (\S+) (\w+)$", httpx.get(f"{byte_server}/metrics").text, re.MULTILINE)
    named = re.findall(r"`(multitune:\w+)`", section("Metrics"))
    assert {name for name, _ in lines} <= set(named)
    counters = {name for name, kind in lines if kind == "counter"}
    assert counters == {name for name in named if name.endswith("_total")}


def test_the_examples_of_the_page_run_one_after_the_other(
    byte_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for example in examples:
        code = example.replace("http://127.0.0.1:8000", byte_server).replace('"tweets"', '"colours"')
        exec(compile(code, "docs/serving.md", "exec"), names)
    names["client"].close()
    assert len(examples) == 4 and isinstance(names["found"].choices[0].message.parsed, names["Ticket"])
    labels = names["answer"].multitune["labels"]
    assert names["answer"].choices[0].message.content == labels[0]["label"]
    assert {one["label"] for one in labels} == {"red", "blue"}
    assert "prompt_tokens=" in capsys.readouterr().out


def test_every_test_of_the_page_on_faults_is_there() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "serving-faults.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", page)
    assert len(named) == page.count("\n| ") - 1 > 20
    for file, name in named:
        assert f"\ndef {name}(" in (Path(__file__).parent / file).read_text("utf-8"), name
