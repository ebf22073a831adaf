"""An upstream that fails, hangs, breaks off, talks nonsense or lacks adapters costs one clear error, and no more."""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from typer.testing import CliRunner

from multitune.cli.main import app as command_line
from multitune.config.load import load_config
from multitune.core.errors import InputError
from multitune.core.run_folder import RunFolder
from multitune.inference.chat import open_endpoint
from multitune.serving import upstream
from multitune.serving.app import create_app
from multitune.serving.backend import UpstreamOptions
from multitune.serving.listening import address, listen
from multitune.serving.parity import check_parity
from multitune.serving.served_run import ServedRun
from tests.conftest import unseal
from tests.serving.stock_server import BASE_NAME, Answering, StockServer, chunk, completion, free_port, stock

CHAT = "/v1/chat/completions"
ADAPTERS = ("colours", "copy", "colours.residual", "copy.residual", "shared")
ASKED: dict[str, Any] = {"model": "shared", "messages": [{"role": "user", "content": "say w1"}]}
DONE = "data: [DONE]\n\n"


@contextmanager
def routed(run: Path, url: str, key_env: str | None = None, **how: Any) -> Generator[tuple[str, ServedRun]]:
    """A router in this process, in front of an upstream."""
    options = UpstreamOptions(open_endpoint("base", url, key_env, "--upstream"), **how)
    served = ServedRun(RunFolder(run), options)
    served.parity = check_parity(served)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(served), log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield address("127.0.0.1", listener), served
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which nothing is recorded: a stock server of made-up answers could not agree with a record."""
    copied = Path(shutil.copytree(finished, tmp_path_factory.mktemp("unrecorded") / "run"))
    shutil.rmtree(copied / "predictions")
    return copied


def fine(to: Answering) -> None:
    to.json(completion())


@pytest.fixture(scope="module")
def theirs() -> Generator[StockServer]:
    with stock(ADAPTERS, fine) as server:
        yield server


@pytest.fixture(scope="module")
def ours(run: Path, theirs: StockServer) -> Generator[str]:
    with routed(run, theirs.url) as (url, _):
        yield url


@pytest.fixture
def answer(theirs: StockServer, ours: str) -> Callable[..., httpx.Response]:
    """Asks the router while the upstream responds as it is told."""

    def ask(respond: Callable[[Answering], None], **how: Any) -> httpx.Response:
        theirs.respond = respond
        theirs.asked.clear()
        return httpx.post(ours + CHAT, json={**ASKED, **how}, timeout=30)

    return ask


Ask = Callable[..., httpx.Response]


def error(found: httpx.Response) -> dict[str, Any]:
    body = found.json()
    assert list(body) == ["error"] and set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


def test_an_answer_has_our_name_and_decision_and_the_upstreams_words(answer: Ask, theirs: StockServer) -> None:
    found = answer(fine, model="base").json()
    assert found["model"] == "base" and found["id"].startswith("chatcmpl-")
    assert found["choices"] == completion()["choices"] and found["usage"] == completion()["usage"]
    assert found["multitune"]["adapter"] == "base"
    assert theirs.calls[0].body["model"] == BASE_NAME
    assert answer(fine).json()["multitune"]["adapter"] == "shared" and theirs.calls[0].body["model"] == "shared"


def test_what_we_have_a_default_of_is_said(answer: Ask, theirs: StockServer) -> None:
    answer(fine, top_k=5, best_of=3)
    body = theirs.calls[0].body
    assert body == {
        "model": "shared",
        "messages": ASKED["messages"],
        "temperature": 0.0,
        "top_p": 1.0,
        "n": 1,
        "max_tokens": body["max_tokens"],
        "stream": False,
        "chat_template_kwargs": {"enable_thinking": False, "date_string": "26 Jul 2024"},
    }
    assert 0 < body["max_tokens"] < 256


@pytest.mark.parametrize(
    ("given", "forwarded"),
    [
        ({"guided_choice": ["a", "b"]}, {"structured_outputs": {"choice": ["a", "b"]}}),
        ({"guided_regex": "a+"}, {"structured_outputs": {"regex": "a+"}}),
        ({"structured_outputs": {"grammar": "root"}}, {"structured_outputs": {"grammar": "root"}}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        (
            {"guided_json": {"type": "integer"}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "integer"}},
                }
            },
        ),
    ],
)
def test_forms_are_forwarded_in_the_words_that_servers_know(
    answer: Ask, theirs: StockServer, given: dict[str, Any], forwarded: dict[str, Any]
) -> None:
    assert answer(fine, **given).status_code == 200
    assert forwarded.items() <= theirs.calls[0].body.items() and not given.keys() - forwarded.keys() & {
        *theirs.calls[0].body
    }


def once(first: Callable[[Answering], None]) -> Callable[[Answering], None]:
    return lambda to: fine(to) if to.number else first(to)


def failing(to: Answering) -> None:
    to.json({"error": {"message": "out of memory"}}, 500)


@pytest.mark.parametrize("first", [failing, Answering.drop])
def test_a_failure_before_the_answer_is_tried_once_more(
    answer: Ask, theirs: StockServer, first: Callable[[Answering], None]
) -> None:
    assert answer(once(first)).json()["choices"] == completion()["choices"] and len(theirs.calls) == 2
    found = answer(first)
    assert found.status_code == 502 and error(found)["code"] == "upstream_failed" and len(theirs.calls) == 2
    assert first is not failing or "status 500: out of memory; asked 2 times" in error(found)["message"]
    assert answer(first, stream=True).status_code == 502


def silent(to: Answering) -> None:
    to.wait_for_the_end()


def test_silence_is_504_and_is_not_asked_again(run: Path, theirs: StockServer) -> None:
    theirs.respond = silent
    with routed(run, theirs.url, silence_seconds=0.5) as (url, _):
        for stream in (False, True):
            theirs.asked.clear()
            found = httpx.post(url + CHAT, json={**ASKED, "stream": stream}, timeout=30)
            assert found.status_code == 504 and error(found)["code"] == "upstream_timeout" and len(theirs.calls) == 1


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[1]", b"{}", b'{"choices": {}}', b'{"choices": []}', b'{"error": {"message": "no"}}', b"[" * 99_999]
    + [b'{"choices": [{"index": 0}], "usage": {"prompt_tokens": %s}}' % value for value in (b"-1", b"9" * 400)]
    + [b'{"choices": [{"index": NaN}]}'],
)
def test_an_answer_that_is_none_is_502(answer: Ask, body: bytes) -> None:
    found = answer(lambda to: to.json(body))
    assert found.status_code == 502 and error(found)["type"] == "server_error"


def test_a_compressed_answer_is_not_unpacked(answer: Ask) -> None:
    assert answer(lambda to: to.json(completion(), Content_Encoding="gzip")).status_code == 502


@pytest.mark.parametrize(
    ("status", "relayed"), [(400, 400), (413, 413), (422, 422), (429, 429), (401, 502), (403, 502), (404, 502)]
)
def test_a_refusal_is_relayed_unless_it_is_between_the_servers(answer: Ask, status: int, relayed: int) -> None:
    body = {"error": {"message": "not so", "type": "BadRequestError", "param": "top_p", "code": status}}
    found = answer(lambda to: to.json(body, status))
    assert found.status_code == relayed and "not so" in error(found)["message"]
    assert error(found)["param"] == ("top_p" if relayed == status else None)
    assert found.headers.get("retry-after") == ("1" if status == 429 else None)


def test_a_stream_is_relayed_message_by_message_as_they_come(ours: str, theirs: StockServer) -> None:
    read = threading.Event()

    def respond(to: Answering) -> None:
        send = to.stream()
        send(": keep-alive\n\n" + chunk("one\u2028\x85")[:30])
        send(chunk("one\u2028\x85")[30:])
        assert read.wait(30)
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        send(chunk(None, "stop") + f"data: {json.dumps({'choices': [], 'usage': usage})}\r\n\r\n" + DONE)

    theirs.respond = respond
    with httpx.stream("POST", ours + CHAT, json={**ASKED, "stream": True}, timeout=30) as found:
        lines = (piece for piece in found.iter_raw())
        first = next(lines).decode()
        assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"] == {"content": "one\u2028\x85"}
        read.set()
        rest = b"".join(lines).decode()
    assert rest.endswith(DONE) and rest.count("data: ") == 2  # the usage was not asked for


@pytest.mark.parametrize(
    "rest",
    ["", "data: {", "data: <html>\n\n", "data: " + "x" * 70_000, 'data: {"error": {"message": "no"}}\n\n' + DONE],
)
def test_a_stream_that_breaks_off_ends_with_an_error(answer: Ask, rest: str) -> None:
    def respond(to: Answering) -> None:
        to.stream()(chunk("one") + rest)

    lines = [line.removeprefix("data: ") for line in answer(respond, stream=True).text.split("\n\n") if line]
    assert json.loads(lines[0])["choices"][0]["delta"]["content"] == "one"
    assert json.loads(lines[1])["error"]["code"] == "upstream_failed" and lines[2:] == ["[DONE]"]


def test_a_stream_that_never_begins_is_502(answer: Ask) -> None:
    for rest in ("", DONE, "data: nothing\n\n"):
        found = answer(lambda to, rest=rest: to.stream()(rest), stream=True)
        assert found.status_code == 502 and error(found)["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_call_at_the_upstream(run: Path, theirs: StockServer, stream: bool) -> None:
    begun, ended = threading.Event(), threading.Event()

    def respond(to: Answering) -> None:
        if stream:
            to.stream()(chunk("one"))
        begun.set()
        if to.wait_for_the_end():
            ended.set()

    theirs.respond = respond
    with routed(run, theirs.url) as (url, served):
        client = httpx.Client(timeout=30)
        if stream:
            with client.stream("POST", url + CHAT, json={**ASKED, "stream": True}) as found:
                assert next(found.iter_raw())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(url + CHAT, json=ASKED, timeout=3)
        client.close()
        assert begun.wait(30) and ended.wait(30)
        while served.backend.stats.running.total():
            time.sleep(0.01)


def test_answers_under_way_are_bounded(run: Path, theirs: StockServer) -> None:
    free = threading.Event()

    def respond(to: Answering) -> None:
        free.wait(30)
        fine(to)

    theirs.respond = respond
    with routed(run, theirs.url, max_calls=1) as (url, served):
        first = threading.Thread(target=httpx.post, args=(url + CHAT,), kwargs={"json": ASKED, "timeout": 30})
        first.start()
        while not served.backend.stats.running.total():
            time.sleep(0.01)
        found = httpx.post(url + CHAT, json=ASKED)
        free.set()
        first.join()
    assert found.status_code == 429 and found.headers["retry-after"] == "1"


def test_the_key_goes_to_the_upstream_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "secret-key")
    caplog.set_level("DEBUG")
    with stock(ADAPTERS, fine) as other, stock(ADAPTERS, fine) as first:
        first.respond = lambda to: to.json({}, 307, Location=f"{other.url}/chat/completions")
        with routed(run, first.url, "UPSTREAM_KEY") as (url, _):
            found = httpx.post(url + CHAT, json=ASKED, headers={"Authorization": "Bearer clients-own"})
            first.respond = lambda to: to.json({"error": {"message": "wrong: secret-key"}}, 400)
            refused = httpx.post(url + CHAT, json=ASKED)
    assert found.status_code == 502 and other.asked == []
    assert {one.headers["authorization"] for one in first.asked} == {"Bearer secret-key"}
    assert refused.status_code == 400 and "wrong: …" in error(refused)["message"]
    assert "secret-key" not in caplog.text


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "LOOK_SECONDS", 0.1)


def ready(url: str, wanted: bool) -> dict[str, Any]:
    """What /ready says, once it is as wanted."""
    found = httpx.get(f"{url}/ready")
    for _ in range(600):
        if found.json()["ready"] is wanted:
            break
        time.sleep(0.1)
        found = httpx.get(f"{url}/ready")
    assert (found.status_code, found.json()["ready"]) == (200 if wanted else 503, wanted)
    return found.json()


def test_missing_adapters_are_named_with_the_flags_of_vllm(run: Path, quick_looks: None) -> None:
    with stock(("shared",), fine) as theirs, routed(run, theirs.url) as (url, _):
        faults = ready(url, False)["faults"]
        assert set(faults) == {*ADAPTERS} - {"shared"}
        folder = run / "adapters" / "copy"
        assert "--enable-lora --max-lora-rank 8 --lora-modules" in faults["copy"]
        assert f"copy={folder}" in faults["copy"]
        refused = httpx.post(url + CHAT, json={**ASKED, "model": "adapter:copy"})
        assert refused.status_code == 503 and "--lora-modules" in error(refused)["message"]
        assert httpx.post(url + CHAT, json=ASKED).status_code == 200
        theirs.adapters = [*ADAPTERS]  # somebody loads them
        assert ready(url, True)["faults"] == {}


def test_missing_adapters_are_loaded_where_that_is_allowed(run: Path, quick_looks: None) -> None:
    with stock((), fine) as theirs:
        theirs.loads = True
        with routed(run, theirs.url) as (url, _):
            ready(url, True)
            loaded = [one.body for one in theirs.asked if "lora" in one.path]
            assert [one["lora_name"] for one in loaded] == list(RunFolder(run).adapters)
            assert loaded[-1]["lora_path"] == str(run / "adapters" / "shared")
            theirs.adapters.clear()  # it was started anew
            while len(theirs.adapters) < len(ADAPTERS):
                time.sleep(0.01)


def test_an_upstream_that_goes_is_told_by_ready(run: Path, quick_looks: None) -> None:
    with stock(ADAPTERS, fine) as theirs, routed(run, theirs.url) as (url, _):
        ready(url, True)
        theirs.up = False
        assert "the upstream does not answer" in ready(url, False)["faults"]["base"]
        theirs.up = True
        ready(url, True)


def test_the_runs_own_texts_come_with_a_call(run: Path, theirs: StockServer, tmp_path: Path) -> None:
    changed = unseal(Path(shutil.copytree(run, tmp_path / "run")))
    config = yaml.safe_load((changed / "config.yaml").read_text("utf-8"))
    config["system"] = "general"
    config["tasks"][1]["stop"] = ["w3"]
    (changed / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    theirs.respond = fine
    with routed(changed, theirs.url) as (url, _):
        theirs.asked.clear()
        httpx.post(url + CHAT, json={**ASKED, "model": "task:copy", "stop": ["w4"]})
    body = theirs.calls[0].body
    assert body["messages"][-1]["content"].endswith("say w1") and "general" in body["messages"][0]["content"]
    assert body["stop"] == ["w4", "w3"]


def test_a_version_that_the_upstream_does_not_take_replaces_nothing(run: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(run, tmp_path / "run"))
    other = shutil.copytree(changed / "adapters" / "copy", changed / "other")
    with stock(ADAPTERS, fine) as theirs, routed(changed, theirs.url) as (url, served):
        version = served.adapters.version("shared")
        with pytest.raises(InputError, match="does not take it, and loads none"):
            served.load("shared", str(other), replace=True)
        with pytest.raises(InputError, match=r"--lora-modules new="):
            served.load("new", str(other), replace=False)
        assert served.adapters.version("shared") == version and "new" not in served.adapters.names
        assert served.faults() == {} and httpx.post(url + CHAT, json=ASKED).status_code == 200


def test_a_machine_that_only_routes_may_lack_the_device_of_the_run(
    run: Path, theirs: StockServer, tmp_path: Path
) -> None:
    changed = unseal(Path(shutil.copytree(run, tmp_path / "run")))
    config = yaml.safe_load((changed / "config.yaml").read_text("utf-8"))
    (changed / "config.yaml").write_text(yaml.safe_dump({**config, "device": "mps"}), "utf-8")
    with routed(changed, theirs.url) as (_, served):
        assert served.router_fault == "" and served.route("say w1").reason != "router-unavailable"


def layer_run(run: Path, to: Path) -> Path:
    changed = unseal(Path(shutil.copytree(run, to)))
    config = yaml.safe_load((changed / "config.yaml").read_text("utf-8"))
    config.setdefault("router", {})["features"] = "layer:1"
    (changed / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return changed


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(command_line, ["serve", *arguments, "--port", "0"], catch_exceptions=False)


def test_what_cannot_be_served_so_is_refused_at_the_start(
    run: Path, theirs: StockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"layer:1.*which no upstream gives"):
        ServedRun(
            RunFolder(layer_run(run, tmp_path / "run")), UpstreamOptions(open_endpoint("base", theirs.url, None))
        )
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    monkeypatch.setenv("KEY", "secret")
    cases: Sequence[tuple[tuple[str, ...], str]] = (
        (("--upstream", nobody), f"--upstream {nobody}: /v1/models: "),
        (("--upstream", "nowhere"), "--upstream nowhere: not an address"),
        (("--upstream", nobody, "--max-loras", "2"), "--max-loras: is for the upstream to say"),
        (("--upstream", "http://example.org/v1", "--key-env", "KEY"), "unencrypted"),
        (("--key-env", "KEY"), "--key-env: names the key of an upstream"),
    )
    for options, message in cases:
        with pytest.raises(InputError, match=re.escape(message)):
            invoke(str(run), *options)


def test_which_model_is_the_base_must_be_clear(run: Path) -> None:
    with stock(ADAPTERS, fine) as theirs:
        options = UpstreamOptions(open_endpoint("base", theirs.url, None))
        theirs.bases = ["one", "other"]
        with pytest.raises(InputError, match=r"not clear \(one, other\).*--served-model-name"):
            ServedRun(RunFolder(run), options)
        theirs.bases = ["one", load_config(RunFolder(run).config).base]
        served = ServedRun(RunFolder(run), options)
        assert served.backend.longest == 256
        served.close()


def test_other_first_words_than_recorded_are_named_where_likelihoods_are_not_told(
    finished: Path, theirs: StockServer
) -> None:
    theirs.respond = fine  # always "yes", as no row was answered
    with routed(finished, theirs.url) as (_, served):
        faults = served.faults()
        compared = {(row.adapter, row.task) for row in served.parity if row.rows}
    assert set(faults) == {"base", "copy", "copy.residual", "shared"}
    assert {task for _, task in compared} == {"copy"} and "another chat template" in faults["shared"]
