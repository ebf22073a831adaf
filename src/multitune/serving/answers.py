"""The answers of a call, as one body or as the messages of a stream."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from multitune.serving.calls import Call
from multitune.serving.protocol import ChatRequest, Usage
from multitune.serving.requests import FinishReason
from multitune.serving.responses import (
    AnswerMessage,
    ChatLogprobs,
    Choice,
    Collected,
    Completion,
    CompletionLogprobs,
    chat_logprobs,
    completion_logprobs,
)
from multitune.serving.sampling import TokenLogprob


async def whole(call: Call) -> Completion:
    """All answers of a call.

    Raises:
        InputError, OverloadedError: the engine does not take it.
        EngineFailedError: it failed there.
    """
    if call.texts is not None:
        answers = [await call.choose()]
    else:
        answers = [Collected() for _ in range(call.answers)]
        async with aclosing(call.deltas()) as deltas:
            async for index, delta in deltas:
                answers[index].add(delta)
    choices = [_choice(call, index, answer) for index, answer in enumerate(answers)]
    return _completion(call, choices, call.usage(answers))


def _choice(call: Call, index: int, answer: Collected) -> Choice:
    tokenizer = call.chat.tokenizer
    if isinstance(call.body, ChatRequest):
        found = chat_logprobs(tokenizer, answer.tokens) if call.alternatives is not None else None
        message = AnswerMessage(content=answer.text)
        return Choice(index=index, message=message, logprobs=found, finish_reason=answer.finish)
    prompt = call.prompts[index // call.body.n]
    echo = str(tokenizer.decode(prompt)) if call.echoes else ""
    values: CompletionLogprobs | None = None
    if call.alternatives is not None and call.echoes:
        values = completion_logprobs(tokenizer, [*answer.prompt, *answer.tokens], int(prompt[0]))
    elif call.alternatives is not None:
        values = completion_logprobs(tokenizer, answer.tokens)
    return Choice(index=index, text=echo + answer.text, logprobs=values, finish_reason=answer.finish)


async def chunks(call: Call) -> AsyncGenerator[str]:
    """A call's answers as they come, each message as JSON; the first one comes before anything is generated.

    Raises:
        InputError, OverloadedError: the engine does not take it; before the first message.
        EngineFailedError: it failed there.
    """
    answers = [Collected() for _ in range(call.answers)]
    if call.texts is not None:
        answers = [await call.choose()]
        yield _message(call, [_part(call, 0, answers[0].text, role=True)])
        yield _message(call, [_part(call, 0, finish="stop")])
    else:
        begun: set[int] = set()
        async with aclosing(call.deltas()) as deltas:
            async for index, delta in deltas:
                answers[index].add(delta)
                new = [delta.token] if delta.token else []
                yield _message(call, [_part(call, index, delta.text, new, role=index not in begun)])
                begun.add(index)
                if delta.finish:
                    yield _message(call, [_part(call, index, finish=delta.finish)])
    if call.body.include_usage:
        yield _message(call, [], call.usage(answers))


def _part(
    call: Call,
    index: int,
    text: str = "",
    tokens: Sequence[TokenLogprob] = (),
    *,
    role: bool = False,
    finish: FinishReason | None = None,
) -> Choice:
    """A piece of an answer: its beginning says whose it is, its end why it ends."""
    tokenizer = call.chat.tokenizer
    logged = call.alternatives is not None and bool(tokens)
    found: ChatLogprobs | CompletionLogprobs | None = None
    if isinstance(call.body, ChatRequest):
        found = chat_logprobs(tokenizer, tokens) if logged else None
        content = None if finish else text
        delta = AnswerMessage(role="assistant" if role else None, content=content)
        return Choice(index=index, delta=delta, logprobs=found, finish_reason=finish)
    found = completion_logprobs(tokenizer, tokens) if logged else None
    return Choice(index=index, text=text, logprobs=found, finish_reason=finish)


def _message(call: Call, choices: Sequence[Choice], usage: Usage | None = None) -> str:
    return json.dumps(_completion(call, choices, usage).plain(), ensure_ascii=False)


def _completion(call: Call, choices: Sequence[Choice], usage: Usage | None) -> Completion:
    chat, stream = isinstance(call.body, ChatRequest), call.body.stream
    kind = ("chat.completion.chunk" if stream else "chat.completion") if chat else "text_completion"
    return Completion(
        id=call.public_id,
        object=kind,
        created=call.created,
        model=call.body.model,
        choices=tuple(choices),
        usage=usage,
        multitune=call.decision,
    )
