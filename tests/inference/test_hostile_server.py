"""A server that answers without end, in gigabytes or in nonsense costs a bounded time and leaves nothing behind."""

import json
from pathlib import Path
from typing import Any

import pytest

from multitune.core.errors import ConfigError, ServerError
from multitune.core.records import Example
from multitune.core.seals import unsealed
from multitune.inference.api import ApiModel
from multitune.inference.budget import Caps, Ledger
from multitune.inference.chat import ChatAnswer, ChatRequest, Endpoint, ResponseCache, open_endpoint
from multitune.inference.openai_client import CachedClient, OpenAIClient, RetryPolicy
from tests.hostile_server import REFUSED, TAKEN, server

ROW = Example("a", "1", "say", "yes", "yes")


class _Three:
    def encode_conversations(self, prompts: Any, tools: Any) -> list[range]:
        return [range(3) for _ in prompts]


def ask(address: str, folder: Path) -> ApiModel:
    client = OpenAIClient(Endpoint(address, "m"), RetryPolicy(1, retries=0, timeout=1.0))
    model = ApiModel(CachedClient(client, ResponseCache(folder)), Ledger(Caps(), None), parameters={})
    chat: Any = _Three()
    model.read_as("a", chat, None)
    model.generate([ROW], 20)
    return model


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_end_or_no_sense_is_one_error_and_not_kept(kind: str, tmp_path: Path) -> None:
    with server(REFUSED[kind]) as address, pytest.raises(ServerError, match=r"^http://127\.0\.0\.1"):
        ask(address, tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_a_count_of_400_digits_is_no_count(tmp_path: Path) -> None:
    with server(TAKEN["a count of 400 digits"]) as address:
        (answer,) = ask(address, tmp_path).answers.values()
    assert not answer.counted and answer.prompt_tokens == 3


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    with server(TAKEN["half a character"]) as address:
        (answer,) = ask(address, tmp_path).answers.values()
    assert answer.text == "yes ?"


def test_a_kept_answer_with_such_a_count_is_asked_for_again(tmp_path: Path) -> None:
    store, endpoint = ResponseCache(tmp_path), Endpoint("http://localhost/v1", "m")
    request = ChatRequest("a 1", [{"role": "user", "content": "say"}], {}, 3, 20)
    store.keep(endpoint, request, ChatAnswer("yes", "stop", 3, 2, True, "m"))
    assert store.find(endpoint, request) is not None
    (file,) = tmp_path.rglob("*.json")
    kept = unsealed(json.loads(file.read_text()))
    file.write_text(json.dumps({**kept, "answer": {**kept["answer"], "prompt_tokens": 10**300}}))
    assert store.find(endpoint, request) is None


def test_openais_key_goes_to_openai_alone_and_no_key_travels_in_the_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert open_endpoint("m", None, None).key == open_endpoint("m", "https://api.openai.com/v1/", None).key == "sk-1"
    for other in ("https://evil.example/v1", "https://api.openai.com.evil.example/v1", "http://api.openai.com/v1"):
        assert open_endpoint("m", other, None).key == ""
    assert open_endpoint("m", "https://models.example/v1", "OPENAI_API_KEY").key == "sk-1"
    with pytest.raises(ConfigError, match=r"would go to models\.example unencrypted"):
        open_endpoint("m", "http://models.example/v1", "OPENAI_API_KEY")
