"""Shots: worked examples of a task as earlier turns of a chat, in front of whatever is asked."""

import json
from collections.abc import Sequence

from multitune.core.records import Message, Shot


def shot_turns(shots: Sequence[Shot]) -> list[Message]:
    """A turn of the user and one of the assistant for each."""
    return [
        turn
        for shot in shots
        for turn in ({"role": "user", "content": shot.prompt}, {"role": "assistant", "content": shot.answer})
    ]


def behind_shots(shots: Sequence[Shot], messages: Sequence[Message]) -> list[Message]:
    """A conversation with shots in front, behind its system text; one that begins with them stays as it is."""
    turns = shot_turns(shots)
    first = 1 if messages[0]["role"] == "system" else 0
    if [dict(one) for one in messages[first : first + len(turns)]] == turns:
        return list(messages)
    return [*messages[:first], *turns, *messages[first:]]


def shot_chat(shots: Sequence[Shot], prompt: str) -> str:
    """A prompt behind shots, as `Example.chat`; nothing without shots."""
    if not shots:
        return ""
    messages = behind_shots(shots, [{"role": "user", "content": prompt}])
    return json.dumps({"messages": messages}, ensure_ascii=False)
