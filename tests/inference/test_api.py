"""A chat model behind an API, against a server that limits, stalls, answers rubbish or dies."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from multitune.core.errors import BudgetError, ConfigError, InputError, RefusedError, ServerError
from multitune.core.records import Example
from multitune.inference.api import ApiModel
from multitune.inference.budget import Caps, Ledger, Prices
from multitune.inference.chat import ChatAnswer, Endpoint, ResponseCache, open_endpoint
from multitune.inference.openai_client import CachedClient, OpenAIClient, RetryPolicy
from tests.chat_server import ChatServer, Request, Respond, Response, completion, failure, serving

KEY = "sk-secret-1234567890"


def row(number: int) -> Example:
    return Example("a", str(number), f"say {number}", "yes", "yes")


def echo(request: Request) -> Response:
    return completion(f"said {request.prompt}")


class _Ten:
    """Every prompt has ten tokens."""

    def encode_conversations(self, prompts: Sequence[Any], tools: Sequence[Any]) -> list[range]:
        return [range(10) for _ in prompts]


TEN: Any = _Ten()


@dataclass
class Asked:
    """What a call used."""

    model: ApiModel
    ledger: Ledger

    @property
    def answers(self) -> list[ChatAnswer]:
        return list(self.model.answers.values())


@pytest.fixture
def store(tmp_path: Path) -> ResponseCache:
    return ResponseCache(tmp_path / "answers")


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept: it sleeps for no time."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("openai._base_client.anyio.sleep", sleep)
    return slept


def put(
    server: ChatServer, store: ResponseCache, count: int = 3, *, rows: Sequence[Example] = (), **changes: Any
) -> tuple[list[str], Asked]:
    """Ask for `count` rows, one at a time unless told otherwise."""
    fields = {"model": "served", "key": KEY, "caps": Caps(), "prices": None, "concurrency": 1, "retries": 3} | changes
    policy = RetryPolicy(fields["concurrency"], fields["retries"], fields.get("timeout", 30))
    client = OpenAIClient(Endpoint(server.url, fields["model"], fields["key"]), policy)
    ledger = Ledger(fields["caps"], fields["prices"])
    model = ApiModel(
        CachedClient(client, store),
        ledger,
        parameters=fields.get("parameters", {}),
        concurrency=policy.concurrency,
    )
    model.read_as("a", TEN, "be brief")
    completions = model.generate(rows or [row(n) for n in range(count)], 20)
    return [one.text for one in completions], Asked(model, ledger)


def first(*failures: Response) -> Respond:
    """A server that fails like this at first, and is well afterwards."""
    return lambda request: failures[request.number] if request.number < len(failures) else echo(request)


def test_every_question_gets_its_own_answer_in_order(store: ResponseCache) -> None:
    with serving(echo) as server:
        answers, asked = put(server, store, 40, concurrency=8)
    assert answers == [f"said say {n}" for n in range(40)]
    assert (asked.ledger.prompt_tokens, asked.ledger.answer_tokens, len(server.requests)) == (400, 80, 40)


def test_a_request_holds_messages_parameters_and_key(store: ResponseCache) -> None:
    with serving(echo) as server:
        put(server, store, 1)
    (request,) = server.requests
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "say 0"}]
    assert request.body == {"model": "served", "messages": messages, "temperature": 0, "max_tokens": 20}
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_without_a_key_none_is_sent(store: ResponseCache) -> None:
    with serving(echo) as server:
        put(server, store, 1, key="")
    assert "authorization" not in server.requests[0].headers


def test_a_busy_server_is_given_the_time_it_asks_for(store: ResponseCache, naps: list[float]) -> None:
    with serving(first(failure(429, "slow down", retry_after="7"), failure(503, "busy", retry_after="0.5"))) as server:
        answers, _ = put(server, store, 1)
    assert (answers, naps) == (["said say 0"], [7.0, 0.5])


def test_a_server_may_ask_for_a_time_of_day(store: ResponseCache, naps: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    with serving(first(failure(429, "slow down", retry_after=later))) as server:
        put(server, store, 1)
    assert 8 < naps[0] <= 50


def test_without_a_stated_time_waits_grow(store: ResponseCache, naps: list[float]) -> None:
    with serving(first(*[failure(500, "oops")] * 3)) as server:
        put(server, store, 1)
    assert len(naps) == 3 and naps[0] < naps[1] < naps[2]


@pytest.mark.parametrize(
    ("busy", "times"),
    [
        (failure(429, "come back tomorrow", retry_after="86400"), "once"),
        (failure(429, "come back tomorrow"), "4 times"),
    ],
)
def test_a_server_that_stays_busy_is_given_up(busy: Response, times: str, store: ResponseCache) -> None:
    with (
        serving(lambda request: busy) as server,
        pytest.raises(ServerError, match=f"status 429: come back tomorrow.*asked {times}"),
    ):
        put(server, store)
    assert len(server.requests) == int(times.replace("once", "1").split()[0])


@pytest.mark.parametrize(
    ("rubbish", "told"),
    [
        (Response(200, "<html><h1>Gateway</h1></html>"), "not JSON, but '<html><h1>Gateway"),
        (Response(200, ""), "not JSON"),
        (Response(200, "[]"), "without a choice"),
        (Response(200, json.dumps({"choices": []})), "without a choice"),
        (Response(200, json.dumps({"choices": [{"text": "old style"}]})), "without a choice"),
        (Response(200, '{"choices": [{"mess', {"content-type": "application/json"}), "not JSON, but"),
        (Response(drop=True), "no connection"),
        (Response(200, "x", {"content-encoding": "gzip"}), "that is compressed"),
    ],
)
def test_rubbish_is_asked_again_and_told_when_it_does_not_end(
    rubbish: Response, told: str, store: ResponseCache
) -> None:
    with serving(first(rubbish, rubbish)) as server:
        assert put(server, store, 1)[0] == ["said say 0"]
    with serving(lambda request: rubbish) as server, pytest.raises(ServerError, match="asked 4 times") as caught:
        put(server, ResponseCache(Path("/nowhere")), 1)
    assert told in str(caught.value) and "task 'a', row '0'" in str(caught.value)


def test_an_answer_that_takes_too_long_is_asked_for_again(store: ResponseCache) -> None:
    import threading

    let_go = threading.Event()

    def stall(request: Request) -> Response:
        if not request.number:
            let_go.wait(20)
        return echo(request)

    with serving(stall) as server:
        answers, _ = put(server, store, 1, timeout=0.2)
        let_go.set()
    assert answers == ["said say 0"] and len(server.requests) == 2


def test_a_server_that_dies_midway_leaves_its_answers_and_the_same_call_goes_on(store: ResponseCache) -> None:
    def dying(request: Request) -> Response:
        return echo(request) if request.number < 2 else Response(drop=True)

    with serving(dying) as server, pytest.raises(ServerError, match="2 of 5 answers are kept"):
        put(server, store, 5)
    with serving(echo, port=int(server.url.split(":")[2].split("/")[0])) as again:
        answers, asked = put(again, store, 5)
    assert answers == [f"said say {n}" for n in range(5)]
    assert [request.prompt for request in again.requests] == ["say 2", "say 3", "say 4"]
    assert asked.ledger.prompt_tokens == 50  # those of before count as well


def test_no_server_at_all_is_told(store: ResponseCache) -> None:
    with serving(echo) as server:
        pass
    with pytest.raises(ServerError, match=r"is the server up.*0 of 3 answers"):
        put(server, store)


def test_an_answer_is_never_paid_for_twice_and_another_request_is_another_answer(store: ResponseCache) -> None:
    with serving(echo) as server:
        put(server, store)
        put(server, store)
        assert len(server.requests) == 3
        put(server, store, model="other")
        put(server, store, 1, parameters={"seed": 1})
    assert len(server.requests) == 7


def test_a_damaged_answer_on_disk_is_asked_for_again(store: ResponseCache, tmp_path: Path) -> None:
    with serving(echo) as server:
        put(server, store, 1)
        (file,) = (tmp_path / "answers").rglob("*.json")
        file.write_text(file.read_text("utf-8")[:40], "utf-8")
        assert put(server, store, 1)[0] == ["said say 0"]
    assert len(server.requests) == 2


def test_the_key_is_nowhere_on_disk_nor_in_a_message(store: ResponseCache, tmp_path: Path) -> None:
    with serving(echo) as server:
        put(server, store)
    assert all(KEY not in file.read_text("utf-8") for file in tmp_path.rglob("*.json"))
    with (
        serving(lambda request: failure(401, f"Incorrect API key provided: {KEY}.")) as server,
        pytest.raises(RefusedError, match=r"key is not accepted.*Incorrect API key") as caught,
    ):
        put(server, ResponseCache(tmp_path / "other"))
    assert KEY not in str(caught.value) and KEY not in repr(Endpoint("http://x/v1", "m", KEY))


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (400, "Unsupported parameter: 'max_tokens'", "Unsupported parameter: 'max_tokens'; task 'a', row '0'"),
        (403, "forbidden", "key is not accepted"),
        (422, "temperature", "--parameter NAME=VALUE"),
        (307, "", "sends us elsewhere"),
    ],
)
def test_what_asking_again_would_not_change_is_reported_at_once(
    status: int, message: str, told: str, store: ResponseCache
) -> None:
    with serving(lambda request: failure(status, message)) as server, pytest.raises(RefusedError) as caught:
        put(server, store)
    assert told in str(caught.value) and caught.value.exit_code == 2 and len(server.requests) == 1


def test_an_unknown_model_is_told_with_the_nearest(store: ResponseCache) -> None:
    missing: Callable[[Request], Response] = lambda request: failure(404, "no such model")  # noqa: E731
    with serving(missing, ("llama-3-8b", "qwen-2")) as server, pytest.raises(RefusedError, match="mean 'llama-3-8b'"):
        put(server, store, model="llama-3-8")


def test_a_wrong_address_is_told(store: ResponseCache) -> None:
    with serving(echo) as server, pytest.raises(RefusedError, match=r"no chat API there.*most end in /v1"):
        put(ChatServer(server.url.removesuffix("/v1"), []), store)


def test_a_cap_on_tokens_stops_before_it_is_broken(store: ResponseCache) -> None:
    with (
        serving(echo) as server,
        pytest.raises(BudgetError, match=r"--max-tokens-total 60.*3 of 10 answers") as caught,
    ):
        put(server, store, 10, caps=Caps(tokens=60))
    assert caught.value.exit_code == 2 and len(server.requests) == 3  # 3 · 12 used; 36 + 30 would be too many
    with serving(echo, port=int(server.url.split(":")[2].split("/")[0])) as again, pytest.raises(BudgetError):
        put(again, store, 10, caps=Caps(tokens=60))
    assert again.requests == []


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_a_cap_on_cost_holds_however_many_ask_at_once(concurrency: int, store: ResponseCache) -> None:
    prices = Prices(1000.0, 2000.0)
    with serving(echo) as server, pytest.raises(BudgetError, match=r"--max-cost"):
        put(server, store, 50, caps=Caps(cost=0.2), prices=prices, concurrency=concurrency)
    # Eleven cost 0.154, and the most that a twelfth can cost is 0.05.
    assert (len(server.requests), prices.cost(10, 2), prices.cost(10, 20)) == (11, 0.014, 0.05)


def test_rows_that_ask_the_same_are_asked_once(store: ResponseCache) -> None:
    with serving(echo) as server:
        answers, asked = put(server, store, rows=[row(n % 3) for n in range(9)], concurrency=8)
    assert answers == [f"said say {n % 3}" for n in range(9)]
    assert (len(server.requests), asked.ledger.prompt_tokens) == (3, 30)


def test_without_usage_the_most_is_counted(store: ResponseCache) -> None:
    with serving(lambda request: completion("x", usage=None)) as server:
        _, asked = put(server, store, 2)
    used = asked.ledger.prompt_tokens, asked.ledger.answer_tokens
    assert (used, asked.answers[0].counted) == ((20, 40), False)


@pytest.mark.parametrize(
    ("content", "text"), [(None, ""), ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab")]
)
def test_content_may_be_nothing_or_parts(content: object, text: str, store: ResponseCache) -> None:
    choice = {"message": {"content": content}, "finish_reason": "length"}
    with serving(lambda request: completion("", choices=[choice])) as server:
        answers, asked = put(server, store, 1)
    assert (answers, asked.answers[0].finish, asked.model.cut_short) == ([text], "length", {"a": 1})


def test_a_used_up_quota_is_the_users_to_settle(store: ResponseCache) -> None:
    broke = failure(429, "You exceeded your quota (insufficient_quota)")
    with serving(lambda request: broke) as server, pytest.raises(RefusedError, match="insufficient_quota"):
        put(server, store)
    assert len(server.requests) == 1


def test_only_openai_itself_learns_of_the_account(store: ResponseCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    with serving(echo) as server:
        put(server, store, 1)
    assert not {"openai-organization", "openai-project"} & set(server.requests[0].headers)


def test_a_fault_gives_up_the_requests_that_wait(store: ResponseCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one request waits for a busy server, without end, another is refused."""
    cancelled: list[float] = []

    async def sleep(seconds: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(seconds)

    monkeypatch.setattr("openai._base_client.anyio.sleep", sleep)
    busy, refused = failure(429, "slow down", retry_after="60"), failure(401, "no")

    def answer(request: Request) -> Response:
        return busy if request.number == 0 else refused

    with serving(answer) as server, pytest.raises(RefusedError, match="not accepted"):
        put(server, store, 2, concurrency=2)
    assert cancelled == [60.0] and len(server.requests) == 2


def test_a_chat_api_tells_no_likelihoods(store: ResponseCache) -> None:
    with serving(echo) as server:
        _, asked = put(server, store, 1)
    assert not asked.model.tells_likelihood
    with pytest.raises(InputError, match="served: a chat API tells no likelihoods"):
        asked.model.loglikelihood([row(0)])
    with pytest.raises(InputError, match="served: a chat API picks no labels"):
        asked.model.choose([row(0)], ["yes"])


def test_a_key_is_asked_for_unless_the_server_is_here_or_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    assert open_endpoint("m", "http://localhost:8000/v1/", "SOME_KEY") == Endpoint("http://localhost:8000/v1", "m")
    assert open_endpoint("m", "https://models.example/v1", "").key == ""
    with pytest.raises(ConfigError, match="SOME_KEY: this environment variable is not set"):
        open_endpoint("m", None, "SOME_KEY")
    monkeypatch.setenv("SOME_KEY", KEY)
    assert open_endpoint("m", None, "SOME_KEY") == Endpoint("https://api.openai.com/v1", "m", KEY)


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-schlüssel", "sk one"])
def test_a_key_that_fits_into_no_header_is_refused_unseen(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", key)
    with pytest.raises(ConfigError, match="SOME_KEY: holds spaces") as caught:
        open_endpoint("m", None, "SOME_KEY")
    assert "sk" not in str(caught.value)


@pytest.mark.parametrize(
    "base", ["http://[::1", "localhost:8000", "ftp://x/v1", "https://me:secret@x/v1", "https://x/v1?key=secret"]
)
def test_an_address_that_cannot_be_used_or_holds_a_secret_is_refused(base: str) -> None:
    with pytest.raises(ConfigError, match="--api-base") as caught:
        open_endpoint("m", base, "")
    assert "secret" not in str(caught.value)
