"""Answers that must be JSON, match a regular expression or follow a grammar, asked for by the official client."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx
import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel, ConfigDict, Field

TEXT = "say w1 w7"
MOST = 500  # tokens; every answer that is asked for below is shorter


class Line(BaseModel):
    """One line of an order."""

    model_config = ConfigDict(extra="forbid")
    colour: Literal["red", "blue"]
    count: int = Field(ge=1, le=99)


class Order(BaseModel):
    """What answers are parsed into."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern="^[a-z]{0,5}$")
    line: Line
    urgent: bool | None


SCHEMA = Order.model_json_schema()
NAMED = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": SCHEMA}}
PATTERN = r"[0-9]{2}/[0-9]{4}"


@pytest.fixture(scope="module")
def client(byte_server: str) -> OpenAI:
    return OpenAI(base_url=f"{byte_server}/v1", api_key="none", max_retries=0)


def chat(client: OpenAI, model: str = "auto", **how: Any) -> Any:
    how.setdefault("max_tokens", MOST)
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": TEXT}], **how)


def content(client: OpenAI, model: str = "auto", **how: Any) -> str:
    choice = chat(client, model, **how).choices[0]
    assert choice.finish_reason == "stop"
    return choice.message.content


@pytest.mark.parametrize("model", ["auto", "base", "copy", "shared"])
def test_parse_of_the_official_client_gives_the_object(client: OpenAI, model: str) -> None:
    asked: Any = [{"role": "user", "content": TEXT}]
    found = client.chat.completions.parse(model=model, messages=asked, response_format=Order, max_tokens=MOST)
    assert isinstance(found.choices[0].message.parsed, Order)
    with client.chat.completions.stream(model=model, messages=asked, response_format=Order, max_tokens=MOST) as stream:
        streamed = stream.get_final_completion().choices[0].message
    assert streamed.parsed == found.choices[0].message.parsed


def test_every_way_to_ask_for_a_schema_gives_the_same_answer(client: OpenAI) -> None:
    expected = content(client, response_format=NAMED)
    for extra in (
        {"structured_outputs": {"json": SCHEMA}},
        {"structured_outputs": {"json": json.dumps(SCHEMA)}},
        {"guided_json": SCHEMA},
        {"guided_json": json.dumps(SCHEMA)},
    ):
        assert content(client, extra_body=extra) == expected
    assert Order.model_validate_json(expected)


@pytest.mark.parametrize("extra", [{"structured_outputs": {"regex": PATTERN}}, {"guided_regex": PATTERN}])
def test_a_regular_expression_is_matched_as_a_whole(client: OpenAI, extra: dict[str, Any]) -> None:
    for seed in range(5):
        assert re.fullmatch(PATTERN, content(client, extra_body=extra, temperature=2, seed=seed))
    whole = client.completions.create(model="base", prompt=TEXT, max_tokens=20, extra_body=extra).choices[0]
    assert re.fullmatch(PATTERN, whole.text) and whole.finish_reason == "stop"


@pytest.mark.parametrize(
    "grammar", ['start: "<" WORD ("," WORD)? ">"\nWORD: /[a-c]{1,3}/', 'root ::= "<" w ("," w)? ">"\nw ::= [a-c]']
)
def test_a_grammar_of_lark_or_of_llama_cpp_is_followed(client: OpenAI, grammar: str) -> None:
    for extra in ({"structured_outputs": {"grammar": grammar}}, {"guided_grammar": grammar}):
        assert re.fullmatch("<[a-c]{1,3}(,[a-c]{1,3})?>", content(client, extra_body=extra))


def test_a_json_object_is_one_as_far_as_it_comes(client: OpenAI) -> None:
    for extra in ({"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}):
        choice = chat(client, extra_body=extra, temperature=1, seed=3, max_tokens=60).choices[0]
        assert choice.message.content.startswith("{")
        assert choice.finish_reason == "length" or isinstance(json.loads(choice.message.content), dict)
    assert chat(client, response_format={"type": "text"}, max_tokens=3).choices[0].message.content


def test_several_sampled_answers_keep_to_the_schema_and_repeat_with_their_seed(client: OpenAI) -> None:
    def answers(seed: int) -> list[str]:
        found = chat(client, response_format=NAMED, n=4, temperature=1.5, top_p=0.95, seed=seed)
        assert all(choice.finish_reason == "stop" for choice in found.choices)
        return [choice.message.content for choice in found.choices]

    first = answers(1)
    assert all(Order.model_validate_json(one) for one in first)
    assert first == answers(1) != answers(2) and len(set(first)) == 4


def test_a_stream_with_log_probabilities_brings_the_same_text(client: OpenAI) -> None:
    how: dict[str, Any] = {"response_format": NAMED, "logprobs": True, "top_logprobs": 2}
    whole = chat(client, **how).choices[0]
    parts = list(chat(client, stream=True, **how))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole.message.content
    tokens = [token for part in parts if part.choices[0].logprobs for token in part.choices[0].logprobs.content]
    assert tokens == whole.logprobs.content
    assert "".join(token.token for token in tokens) == whole.message.content


def test_a_stop_text_cuts_an_answer_that_has_a_form(client: OpenAI) -> None:
    cut = chat(client, response_format=NAMED, stop=[":"]).choices[0]
    assert cut.finish_reason == "stop" and re.fullmatch(r'\{\s*"name"\s*', cut.message.content)


def test_others_in_the_batch_are_answered_as_alone(client: OpenAI) -> None:
    hows: list[dict[str, Any]] = [
        {"max_tokens": 40},
        {"response_format": NAMED},
        {"max_tokens": 40, "temperature": 1, "seed": 4},
        {"extra_body": {"guided_regex": PATTERN}},
    ] * 2
    models = ["base", "shared", "copy"]

    def ask(number: int) -> str:
        return chat(client, models[number % 3], **hows[number]).choices[0].message.content

    alone = [ask(number) for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == alone


BAD: list[tuple[dict[str, Any], str | None, str]] = [
    ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema"),
    ({"response_format": {**NAMED, "json_schema": {"name": "x"}}}, "response_format.json_schema.schema", "required"),
    ({"response_format": {"type": "text", "json_schema": NAMED["json_schema"]}}, "response_format", "goes with"),
    (
        {"response_format": {**NAMED, "json_schema": {"name": "x", "schema": {"type": "nothing"}}}},
        "response_format",
        "Invalid type: nothing",
    ),
    ({"structured_outputs": {"json": "{"}}, "structured_outputs.json", "is no JSON schema"),
    ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex", "unclosed group"),
    ({"structured_outputs": {"grammar": "nonsense"}}, "structured_outputs.grammar", "is no grammar"),
    ({"guided_regex": "a{"}, "guided_regex", "is no regular expression"),
    ({"guided_json": {"enum": ["x" * 140_000]}}, None, "140,014 characters, and at most 131,072"),
    ({"guided_json": {"type": "integer", "multipleOf": 999983}}, "guided_json", "takes more than 2 seconds"),
    ({"guided_regex": "a", "response_format": NAMED}, None, "can be held to one of them"),
    ({"guided_regex": "a", "guided_choice": ["a"]}, None, "guided_regex and choice"),
    ({"guided_regex": "a", "multitune": {"labels": True}, "model": "colours"}, None, "multitune.labels"),
]


@pytest.mark.parametrize(("body", "param", "why"), BAD)
def test_a_form_that_cannot_be_served_is_400_with_the_field(
    byte_server: str, body: dict[str, Any], param: str | None, why: str
) -> None:
    for stream in (False, True):
        asked = {"model": "base", "messages": [{"role": "user", "content": TEXT}], "stream": stream, **body}
        found = httpx.post(f"{byte_server}/v1/chat/completions", json=asked, timeout=60)
        error = found.json()["error"]
        assert (found.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param), error
        assert why in error["message"]


def test_a_schema_nested_beyond_reason_is_400(byte_server: str) -> None:
    for depth in (300, 900, 5000):
        schema = '{"items":' * depth + "{}" + "}" * depth
        body = f'{{"model": "base", "messages": [{{"role": "user", "content": "a"}}], "guided_json": {schema}}}'
        found = httpx.post(
            f"{byte_server}/v1/chat/completions", content=body, headers={"Content-Type": "application/json"}
        )
        assert found.status_code == 400 and found.json()["error"]["type"] == "invalid_request_error"


def test_an_answer_that_becomes_too_costly_is_400_or_the_last_message_of_its_stream(
    client: OpenAI, byte_server: str
) -> None:
    many = {"type": "object", "properties": {f"p{i}": {} for i in range(900)}, "additionalProperties": False}
    outer = {"type": "object", "properties": {"a": many}, "required": ["a"], "additionalProperties": False}
    extra = {"guided_json": outer}  # each of the many may come next, once the inner object begins
    with pytest.raises(BadRequestError, match="the answer cannot go on"):
        chat(client, extra_body=extra)
    asked = {"model": "base", "messages": [{"role": "user", "content": TEXT}], "stream": True, **extra}
    found = httpx.post(f"{byte_server}/v1/chat/completions", json=asked, timeout=60)
    *_, last, done = found.text.strip().split("\n\n")
    assert done == "data: [DONE]"
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["type"] == "invalid_request_error" and "the answer cannot go on" in error["message"]


def test_a_base_whose_tokenizer_has_no_bytes_says_so(server: str) -> None:
    asked = {
        "model": "base",
        "messages": [{"role": "user", "content": TEXT}],
        "response_format": {"type": "json_object"},
    }
    found = httpx.post(f"{server}/v1/chat/completions", json=asked)
    assert found.status_code == 400 and "tokenizer cannot be constrained" in found.json()["error"]["message"]
