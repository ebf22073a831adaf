"""Rows as tokens, the one way that training, scoring and generation share: questions, conversations, plain text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multitune.core.errors import ModelError, TaskError
from multitune.core.records import Example, Message, Segments
from multitune.data.tokenizer import ChatFormat


@dataclass(frozen=True, slots=True)
class RowChat:
    """What a chat model gets to see of a row."""

    messages: Sequence[Message]
    tools: Sequence[Any]
    reply: Message | None  # where it is more than a text

    @classmethod
    def of(cls, row: Example) -> "RowChat":
        """That of a row with a prompt."""
        if not row.chat:
            return cls([{"role": "user", "content": row.prompt}], (), None)
        given: dict[str, Any] = json.loads(row.chat)
        return cls(given["messages"], given.get("tools", ()), given.get("reply"))


def prompt_tokens(rows: Sequence[Example], chat: ChatFormat) -> list[np.ndarray]:
    """Tokens of each row up to where its answer begins, int32 (prompt_token,) each.

    Raises:
        TaskError: the chat template takes no such conversation, or the row is a plain text, which has no prompt.
    """
    if plain := next((row for row in rows if not row.prompt), None):
        raise TaskError(f"task {plain.task!r}, row {plain.id}: a plain text has no prompt. Give the task one")
    conversations = [RowChat.of(row) for row in rows]
    try:
        return chat.encode_conversations([one.messages for one in conversations], [one.tools for one in conversations])
    except ModelError:
        for row, one in zip(rows, conversations, strict=True):  # which of them it is
            _asked_alone(row, one, chat)
        raise


def row_tokens(rows: Sequence[Example], chat: ChatFormat) -> list[Segments]:
    """Prompt and answer of each row. Of a plain text, all but its first token is answer.

    Raises:
        TaskError: an answer turns into no token, or the chat template takes no such conversation.
    """
    found: dict[int, Segments] = {}
    texts = [at for at, row in enumerate(rows) if not row.prompt]
    asked = [at for at, row in enumerate(rows) if row.prompt]
    for at, tokens in zip(texts, chat.encode_texts([rows[at].answer for at in texts]), strict=True):
        found[at] = Segments(tokens[:1], tokens[1:])
    prompts = prompt_tokens([rows[at] for at in asked], chat)
    names = [f"task {rows[at].task!r}, row {rows[at].id}" for at in asked]
    answers = chat.encode_answers([rows[at].answer for at in asked], names)
    for at, prompt, answer in zip(asked, prompts, answers, strict=True):
        one = RowChat.of(rows[at]) if rows[at].chat else None
        found[at] = Segments(prompt, answer if one is None or one.reply is None else _replied(rows[at], one, chat))
    return [found[at] for at in range(len(rows))]


def _replied(row: Example, one: RowChat, chat: ChatFormat) -> np.ndarray:
    assert one.reply is not None, "a row whose reply is a text has its tokens already"
    try:
        return chat.encode_reply(one.messages, one.reply, one.tools)
    except ModelError as error:
        raise _refused(row, error) from error


def _asked_alone(row: Example, one: RowChat, chat: ChatFormat) -> None:
    try:
        chat.encode_conversations([one.messages], [one.tools])
    except ModelError as error:
        if not row.chat:
            raise
        raise _refused(row, error) from error


def _refused(row: Example, error: ModelError) -> TaskError:
    """A chat template that refuses one conversation has no fault of its own."""
    roles = ", ".join(message["role"] for message in RowChat.of(row).messages)
    return TaskError(f"task {row.task!r}, row {row.id} (turns so far: {roles}): {error}")
