"""Answers of the embedded engine in the words of the OpenAI API, as one body or as the messages of a stream."""

import json
from collections.abc import Sequence

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


def whole_choice(call: Call, index: int, answer: Collected) -> Choice:
    """One answer of a call, when it has ended."""
    tokenizer = call.chat.tokenizer
    if isinstance(call.body, ChatRequest):
        found = chat_logprobs(tokenizer, answer.tokens) if call.alternatives is not None else None
        return Choice(
            index=index, message=AnswerMessage(content=answer.text), logprobs=found, finish_reason=answer.finish
        )
    prompt = call.prompts[index // call.body.n]
    echo = str(tokenizer.decode(prompt)) if call.echoes else ""
    values: CompletionLogprobs | None = None
    if call.alternatives is not None and call.echoes:
        values = completion_logprobs(tokenizer, [*answer.prompt, *answer.tokens], int(prompt[0]))
    elif call.alternatives is not None:
        values = completion_logprobs(tokenizer, answer.tokens)
    return Choice(index=index, text=echo + answer.text, logprobs=values, finish_reason=answer.finish)


def part(
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


def usage(call: Call, answers: Sequence[Collected]) -> Usage:
    """Tokens of all prompts and answers."""
    prompts, generated = sum(map(len, call.prompts)), sum(one.generated for one in answers)
    return Usage(prompt_tokens=prompts, completion_tokens=generated, total_tokens=prompts + generated)


def message(call: Call, choice: Choice) -> str:
    """One message of a stream, as JSON."""
    return completion(call, [choice], None)


def completion(call: Call, choices: Sequence[Choice], usage: Usage | None) -> str:
    """A body or a message, as JSON."""
    found = Completion(
        id=call.public_id,
        object=object_of(call),
        created=call.created,
        model=call.body.model,
        choices=tuple(choices),
        usage=usage,
        multitune=call.decision,
    )
    return json.dumps(found.plain(), ensure_ascii=False)


def object_of(call: Call) -> str:
    """What kind of thing an answer, or a message of its stream, is."""
    if not isinstance(call.body, ChatRequest):
        return "text_completion"
    return "chat.completion.chunk" if call.body.stream else "chat.completion"
