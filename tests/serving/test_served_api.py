"""The official client asks a run that a process of its own serves."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from multitune.run import Run

QUESTION = "say w1 w7"
PROMPTS = ["say w3 w21", "copy w5 w9", "copy w2 w2 w2", "say w9 w9", "general w4"]


@pytest.fixture(scope="module")
def client(server: str) -> OpenAI:
    return OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def run(finished: Path) -> Run:
    return Run(finished)


def chat(client: OpenAI, text: str = QUESTION, model: str = "auto", **how: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **how)


@pytest.mark.parametrize("model", ["auto", "base", "shared"])
def test_an_answer_is_that_of_the_run(client: OpenAI, run: Run, model: str) -> None:
    for prompt in PROMPTS:
        expected, found = run.generate(prompt, model, 12), chat(client, prompt, model, max_tokens=12)
        assert found.choices[0].message.content.strip() == expected.text
        assert found.multitune["adapter"] == expected.adapter


def test_auto_says_what_it_decided_in_headers_and_body(client: OpenAI, run: Run) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": QUESTION}], max_tokens=4
    )
    route, decision = run.route(QUESTION), raw.parse().multitune
    assert (decision["task"], decision["adapter"], decision["reason"]) == (route.task, route.adapter, route.reason)
    assert decision["probability"] == pytest.approx(route.probability, abs=1e-5)
    assert raw.headers["x-multitune-adapter"] == route.adapter
    assert raw.headers["x-multitune-task"] == route.task
    assert raw.headers["x-multitune-reason"] == route.reason
    assert float(raw.headers["x-multitune-probability"]) == pytest.approx(route.probability, abs=1e-5)


def test_a_task_is_answered_by_what_it_ships_with(client: OpenAI, run: Run) -> None:
    assert run.routing is not None
    decision = chat(client, model="colours", max_tokens=2).multitune
    assert decision["adapter"] == run.routing.table.tasks["colours"].adapter
    assert (decision["task"], decision["reason"], decision["probability"]) == ("colours", "named", None)


@pytest.mark.parametrize("model", ["nothing", "adapter:nothing", "task:shared", "../etc/passwd", ""])
def test_an_unknown_name_is_404_and_never_another_model(client: OpenAI, model: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        chat(client, model=model)
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert "All: auto, base, colours, copy, colours.residual, copy.residual, shared" in caught.value.message


def test_the_list_of_models_names_root_and_parent(client: OpenAI, finished: Path, server: str) -> None:
    models = {one.id: one for one in client.models.list()}
    assert list(models) == ["auto", "base", "colours", "copy", "colours.residual", "copy.residual", "shared"]
    base = models["base"].root
    assert models["shared"].root == str(finished / "adapters" / "shared") and models["shared"].parent == base
    for name in ("shared", "adapter:shared"):
        found = client.models.retrieve(name)
        assert (found.id, found.root, found.parent) == (name, models["shared"].root, base)
    assert client.models.retrieve("task:copy").root == models["copy"].root != base
    assert client.models.retrieve("adapter:copy").root == str(finished / "adapters" / "copy")
    assert httpx.get(f"{server}/v1/models/nothing").status_code == 404


def test_a_stream_brings_the_same_text_and_the_usage_last(client: OpenAI) -> None:
    whole = chat(client, "copy w5 w9", max_tokens=10)
    parts = list(chat(client, "copy w5 w9", max_tokens=10, stream=True, stream_options={"include_usage": True}))
    assert "".join(part.choices[0].delta.content or "" for part in parts[:-1]) == whole.choices[0].message.content
    assert parts[0].choices[0].delta.role == "assistant"
    assert [part.usage for part in parts[:-1]] == [None] * (len(parts) - 1)
    assert parts[-1].choices == [] and parts[-1].usage == whole.usage
    assert parts[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert {part.id for part in parts} == {parts[0].id} and parts[0].multitune["reason"]


def test_seeds_repeat_and_several_answers_differ(client: OpenAI) -> None:
    def texts(seed: int) -> list[str]:
        found = chat(client, "copy w5", "base", temperature=1.5, top_p=0.95, seed=seed, n=3, max_tokens=12)
        assert [choice.index for choice in found.choices] == [0, 1, 2]
        return [choice.message.content for choice in found.choices]

    assert texts(1) == texts(1) != texts(2)
    assert len(set(texts(1))) == 3


def test_log_probabilities_of_a_chat_name_the_tokens_and_the_likeliest(client: OpenAI) -> None:
    found = chat(client, model="shared", logprobs=True, top_logprobs=2, max_tokens=5).choices[0]
    tokens = found.logprobs.content
    assert all(len(token.top_logprobs) == 2 and token.top_logprobs[0].token == token.token for token in tokens)
    written = " ".join(token.token for token in tokens if token.token != "<end>")
    assert found.message.content.split() == written.split()


def test_stop_and_length_are_told_apart(client: OpenAI) -> None:
    whole = chat(client, "copy w5", "base", max_tokens=8).choices[0]
    words = whole.message.content.split()
    cut = chat(client, "copy w5", "base", max_tokens=8, stop=[words[2]]).choices[0]
    assert cut.finish_reason == "stop" and cut.message.content.split() == words[:2]
    assert chat(client, "copy w5", "base", max_tokens=2).choices[0].finish_reason == "length"


def test_labels_of_a_task_come_with_probabilities(client: OpenAI, run: Run) -> None:
    for text in ("w1 w7", "w3 w21", "w8 w30"):
        found = chat(client, f"say {text}", "colours", extra_body={"multitune": {"labels": True}})
        labels = found.multitune["labels"]
        assert {one["label"] for one in labels} == {"red", "blue"}
        assert sum(one["probability"] for one in labels) == pytest.approx(1)
        assert all(one["exact"] for one in labels)
        best = run.predict("colours", [{"text": text}])[0].text
        assert found.choices[0].message.content == labels[0]["label"] == best
    assert found.usage.completion_tokens == 2
    with pytest.raises(BadRequestError, match="no task of kind classify"):
        chat(client, "copy w1", "copy", extra_body={"multitune": {"labels": True}})


TEXTS = ["red", "w5 w6"]


@pytest.mark.parametrize("field", [{"structured_outputs": {"choice": TEXTS}}, {"guided_choice": TEXTS}])
def test_a_choice_is_answered_by_one_of_its_texts(client: OpenAI, field: dict[str, Any]) -> None:
    found = chat(client, "copy w5 w6", "base", extra_body=field)
    assert found.choices[0].message.content in TEXTS
    streamed = list(chat(client, "copy w5 w6", "base", extra_body=field, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in streamed) == found.choices[0].message.content


def test_completions_echo_prompts_with_log_probabilities_for_texts_and_tokens(client: OpenAI, server: str) -> None:
    tokens = httpx.post(f"{server}/tokenize", json={"prompt": "copy w5 w9"}).json()["tokens"]
    how: dict[str, Any] = {"model": "shared", "echo": True, "logprobs": 1, "max_tokens": 1}
    by_text = client.completions.create(prompt="copy w5 w9", **how).choices[0]
    by_tokens = client.completions.create(prompt=tokens, **how).choices[0]
    assert by_text == by_tokens
    values = by_text.logprobs
    assert len(values.tokens) == len(tokens) + 1 and values.token_logprobs[0] is None
    assert all(value < 0 for value in values.token_logprobs[1:]) and by_text.text.startswith("copy w5 w9")
    assert values.text_offset[:2] == [0, len(values.tokens[0])]


def test_several_prompts_are_answered_in_their_order(client: OpenAI) -> None:
    alone = [client.completions.create(model="base", prompt=p, max_tokens=5).choices[0].text for p in PROMPTS]
    together = client.completions.create(model="base", prompt=PROMPTS, max_tokens=5)
    assert [choice.text for choice in together.choices] == alone
    parts = list(client.completions.create(model="base", prompt=PROMPTS, max_tokens=5, stream=True))
    for index, text in enumerate(alone):
        assert "".join(p.choices[0].text for p in parts if p.choices[0].index == index) == text
    with pytest.raises(BadRequestError, match="one prompt at a time"):
        client.completions.create(model="auto", prompt=PROMPTS, max_tokens=5)


def test_the_tokenizer_is_served_as_harnesses_ask_for_it(server: str) -> None:
    info = httpx.get(f"{server}/tokenizer_info").json()
    assert info["eos_token"] == "<end>" and info["chat_template"] is None
    found = httpx.post(f"{server}/tokenize", json={"prompt": "say w1", "add_special_tokens": False}).json()
    assert found["count"] == len(found["tokens"]) == 2
    text = httpx.post(f"{server}/detokenize", json={"tokens": found["tokens"]}).json()["prompt"]
    assert text == "say w1"
    asked = httpx.post(f"{server}/tokenize", json={"messages": [{"role": "user", "content": "say w1"}]}).json()
    assert asked["count"] == 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, None),
        ({"messages": [{"role": "assistant", "content": "hello"}]}, None),
        ({"messages": [{"role": "robot", "content": "hello"}]}, "messages.0.role"),
        ({"temperature": 9}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 1000}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, None),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"multitune": {"lables": True}}, "multitune.lables"),
        ({"stop": ["", "a"]}, None),
        ({"guided_choice": ["a", "a"]}, None),
    ],
)
def test_what_cannot_be_served_is_400_and_says_what(server: str, body: dict[str, Any], param: str | None) -> None:
    asked = {"model": "auto", "messages": [{"role": "user", "content": QUESTION}], **body}
    found = httpx.post(f"{server}/v1/chat/completions", json=asked)
    error = found.json()["error"]
    assert (found.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["message"]


def test_bodies_that_are_no_json_and_routes_that_are_none_get_openai_errors(server: str) -> None:
    assert httpx.post(f"{server}/v1/chat/completions", content=b"{").json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{server}/v1/nothing").json()["error"]["code"] == "not_found"
    assert httpx.get(f"{server}/v1/completions").status_code == 405
    assert httpx.get(f"{server}/health").json() == {"status": "ok"}
    assert "/v1/chat/completions" in json.loads(httpx.get(f"{server}/openapi.json").text)["paths"]
