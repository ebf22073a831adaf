"""The conversation of a row, in any spelling that data sets use, as turns of one form: role, content, tool calls."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from multitune.config.task import Turns
from multitune.core.errors import TaskError, suggest
from multitune.core.records import Message
from multitune.core.text import written_list
from multitune.tasks.output_parsing import free_text

CALL = "function_call"  # ShareGPT's role of a turn that calls a tool and says nothing
ROLES: Mapping[str, str] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response", "function_response"), "tool"),
    CALL: "assistant",
}
KEYS = (("role", "content"), ("from", "value"))  # OpenAI, ShareGPT


def is_conversation(value: Any) -> bool:
    """Whether a cell is a list of turns, each with who speaks and what is said."""
    if not isinstance(value, list | tuple) or not value:
        return False
    turns: list[Any] = list(cast(Sequence[Any], value))
    return all(isinstance(turn, Mapping) and _keys(cast(Mapping[str, Any], turn)) for turn in turns)


def read_messages(value: Any) -> list[Message]:
    """The turns of a cell: `role` (system, user, assistant or tool), `content`, and what else a template reads.

    Args:
        value: a list of turns as OpenAI (role, content) or ShareGPT (from, value) writes them, or such a list as text.

    Raises:
        TaskError: it is no such list, or a turn has an unknown role or says nothing.
    """
    turns = _listed(value)
    if not is_conversation(turns):
        raise TaskError(
            f"messages: {turns!r:.80} is no list of turns with role and content, or from and value. "
            "Name the column that holds one"
        )
    messages = [_message(turn, f"turn {number}") for number, turn in enumerate(turns, start=1)]
    return [message for message in messages if message["role"] != "system" or message["content"]]


def read_tools(value: Any) -> list[Any]:
    """The tools of a cell, which may be JSON as text; none where it is empty.

    Raises:
        TaskError: it is no list.
    """
    tools = _listed(value) if value else []
    if not isinstance(tools, list):
        raise TaskError(f"tools: {tools!r:.80} is no list of tools. Name the column that holds one")
    return [_without_null(tool) for tool in cast(list[Any], tools)]


def learned_turns(messages: Sequence[Message], turns: Turns) -> list[int]:
    """Places of the assistant turns that carry loss: what the assistant says unasked is none, nor one of weight 0.

    Raises:
        TaskError: there is none.
    """
    asked = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    places = [
        at
        for at, message in enumerate(messages)
        if message["role"] == "assistant" and at > asked and message.get("weight") != 0
    ]
    if not places:
        raise TaskError("messages: no turn of the assistant that answers anything. Complete the row, or remove it")
    return places if turns == "every" else places[-1:]


def without_weight(message: Message) -> dict[str, Any]:
    """A turn as a chat template reads it."""
    return {key: value for key, value in message.items() if key != "weight"}


def shown(messages: Sequence[Message], tools: Sequence[Any] = ()) -> str:
    """Turns as a text for people, by which a row is also known; of one question alone, the question."""
    if len(messages) == 1 and messages[0]["role"] == "user" and not tools:
        return turn_text(messages[0])
    listed = [f"tools: {_json(tools)}"] if tools else []
    return "\n\n".join([*listed, *(f"{message['role']}: {turn_text(message)}" for message in messages)])


def turn_text(message: Message) -> str:
    """What a turn says, and the calls that it makes, one JSON object a line."""
    return "\n".join(filter(None, [message["content"], *map(_json, _functions(message))]))


def _functions(message: Message) -> Iterator[Any]:
    for call in message.get("tool_calls", ()):
        function = call.get("function", call) if isinstance(call, Mapping) else call
        yield function


def _keys(turn: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((keys for keys in KEYS if keys[0] in turn and (keys[0] == "role" or keys[1] in turn)), None)


def _message(given: Mapping[str, Any], place: str) -> Message:
    turn = _without_null(given)
    role_key, content_key = _keys(turn) or KEYS[0]
    role = str(turn.get(role_key, "")).strip().casefold()
    if role not in ROLES:
        raise TaskError(f"{place} has the {role_key} {turn.get(role_key)!r}. {suggest(role, ROLES)}")
    rest = {key: value for key, value in turn.items() if key not in (role_key, content_key, "function_call")}
    content = _text(turn.get(content_key, ""), place)
    content = content.strip() if ROLES[role] in ("system", "user") else content
    calls = [*rest.pop("tool_calls", ()), *([turn["function_call"]] if "function_call" in turn else [])]
    if role == CALL:
        calls, content = _called(content, place), ""
    if calls:
        rest["tool_calls"] = [_call(call, place) for call in calls]
    elif not content.strip() and ROLES[role] in ("user", "assistant"):
        raise TaskError(f"{place}, of the {ROLES[role]}, has no text. Correct the row, or remove it")
    return {"role": ROLES[role], "content": content, **rest}


def _text(content: Any, place: str) -> str:
    """The text of a turn, which may be written in parts."""
    if isinstance(content, str):
        return free_text(content)
    parts: list[Any] = list(cast(list[Any], content)) if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(cast(Mapping[str, Any], part).get("text"), str):
            raise TaskError(f"{place} holds {part!r:.60}, which is no text. Write what is said as a text")
    return free_text("".join(part["text"] for part in parts))


def _called(content: str, place: str) -> list[Any]:
    try:
        calls: Any = json.loads(content)
    except ValueError as error:
        raise TaskError(f"{place} is a {CALL}, and {content!r:.60} is no JSON. Write name and arguments") from error
    return cast(list[Any], calls) if isinstance(calls, list) else [calls]


def _call(call: Any, place: str) -> dict[str, Any]:
    """A call as templates read it: a function with its arguments as an object, also where they came as JSON text."""
    whole: dict[str, Any] = dict(cast(Mapping[str, Any], call)) if isinstance(call, Mapping) else {}
    function: Any = whole.get("function", whole)
    if not isinstance(function, Mapping) or not isinstance(cast(Mapping[str, Any], function).get("name"), str):
        raise TaskError(f"{place} calls {call!r:.60}, which names no function. Write name and arguments")
    named: dict[str, Any] = dict(cast(Mapping[str, Any], function))
    arguments = named.get("arguments", {})
    if isinstance(arguments, str):
        with suppress(ValueError):  # a text that is no JSON stays one
            arguments = json.loads(arguments)
    rest = {key: value for key, value in whole.items() if key not in ("function", "name", "arguments")}
    return {"type": "function", **rest, "function": {**named, "arguments": arguments}}


def _listed(value: Any) -> Any:
    found = written_list(value) if isinstance(value, str) else None
    return value if found is None else found


def _without_null(value: Any) -> Any:
    """A turn without what Arrow fills in where other rows have more keys."""
    if isinstance(value, Mapping):
        whole = cast(Mapping[str, Any], value)
        return {key: _without_null(part) for key, part in whole.items() if part is not None}
    return [_without_null(part) for part in cast(list[Any], value)] if isinstance(value, list) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
