"""Conversations of rows: spellings that mean the same, turns that are learned, and what is no conversation."""

import json
from typing import Any

import pytest

from multitune.core.errors import TaskError
from multitune.tasks.conversation import is_conversation, learned_turns, read_messages, read_tools, shown, turn_text

CALL = {"type": "function", "function": {"name": "price", "arguments": {"tea": "green"}}}
ASKED = {"role": "user", "content": "How much?"}


def turns(*roles: str) -> list[Any]:
    return read_messages([{"role": role, "content": f"{role} {i}"} for i, role in enumerate(roles)])


@pytest.mark.parametrize(
    ("given", "role"),
    [
        ("human", "user"),
        ("gpt", "assistant"),
        ("Assistant", "assistant"),
        ("developer", "system"),
        ("observation", "tool"),
        ("function", "tool"),
    ],
)
def test_every_spelling_of_a_role_is_one_of_four(given: str, role: str) -> None:
    assert read_messages([{"from": given, "value": "x"}]) == [{"role": role, "content": "x"}]


def test_a_conversation_may_come_as_json_text() -> None:
    assert read_messages(json.dumps([ASKED])) == [ASKED]


def test_parts_of_a_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "How "}, {"type": "text", "text": "much?"}]
    assert read_messages([{"role": "user", "content": parts}]) == [ASKED]


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL], "name": None},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "price", "arguments": '{"tea": "green"}'}}],
        },
        {"role": "assistant", "function_call": {"name": "price", "arguments": '{"tea": "green"}'}},
        {"from": "function_call", "value": '{"name": "price", "arguments": {"tea": "green"}}'},
    ],
)
def test_every_spelling_of_a_call_is_one(turn: Any) -> None:
    assert read_messages([turn]) == [{"role": "assistant", "content": "", "tool_calls": [CALL]}]
    assert turn_text(read_messages([turn])[0]) == json.dumps(CALL["function"])


def test_an_empty_system_text_is_none() -> None:
    assert read_messages([{"role": "system", "content": ""}, ASKED]) == [ASKED]


@pytest.mark.parametrize(
    ("turn", "fault"),
    [
        ({"role": "usr", "content": "x"}, r"turn 1 has the role 'usr'. Did you mean 'user'"),
        ({"role": "user", "content": " "}, r"turn 1, of the user, has no text"),
        ({"role": "assistant", "content": None}, r"turn 1, of the assistant, has no text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, r"turn 1 holds .* which is no text"),
        ({"role": "user", "content": 7}, r"turn 1 holds 7, which is no text"),
        ({"from": "function_call", "value": "call it"}, r"turn 1 is a function_call, and 'call it' is no JSON"),
        ({"role": "assistant", "content": "", "tool_calls": [{"id": 3}]}, r"turn 1 calls .* names no function"),
    ],
)
def test_a_faulty_turn_is_named(turn: Any, fault: str) -> None:
    with pytest.raises(TaskError, match=fault):
        read_messages([turn])


@pytest.mark.parametrize("value", [None, [], "hello", ["hello"], [{"text": "x"}], {"role": "user"}, [{"from": "a"}]])
def test_what_has_no_turns_is_no_conversation(value: Any) -> None:
    assert not is_conversation(value)
    with pytest.raises(TaskError, match="is no list of turns"):
        read_messages(value)


def test_every_answer_is_learned_or_the_last_one() -> None:
    chat = turns("system", "user", "assistant", "user", "assistant", "user")
    assert learned_turns(chat, "every") == [2, 4]
    assert learned_turns(chat, "last") == [4]


def test_a_greeting_that_answers_nothing_is_not_learned() -> None:
    assert learned_turns(turns("assistant", "user", "assistant"), "every") == [2]


def test_a_turn_of_weight_0_is_not_learned() -> None:
    chat = [ASKED, {"role": "assistant", "content": "4", "weight": 0}, ASKED, {"role": "assistant", "content": "5"}]
    assert learned_turns(read_messages(chat), "every") == [3]


@pytest.mark.parametrize("roles", [("user",), ("system", "assistant"), ("user", "tool")])
def test_a_conversation_without_an_answer_is_refused(roles: tuple[str, ...]) -> None:
    with pytest.raises(TaskError, match="no turn of the assistant that answers anything"):
        learned_turns(turns(*roles), "every")


def test_a_question_alone_is_shown_as_it_is() -> None:
    assert shown([ASKED]) == "How much?"
    assert shown([ASKED], [{"name": "price"}]) == 'tools: [{"name": "price"}]\n\nuser: How much?'


def test_tools_may_come_as_json_text_or_not_at_all() -> None:
    assert read_tools(json.dumps([CALL])) == [CALL]
    assert read_tools(None) == read_tools("") == []
    with pytest.raises(TaskError, match="is no list of tools"):
        read_tools("price")
