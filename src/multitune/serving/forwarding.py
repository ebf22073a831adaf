"""A call in the words of a stock server, and what comes back in ours."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from multitune.core.errors import InputError
from multitune.data.chat_template import OPTIONS
from multitune.inference.chat import MOST_TOKENS
from multitune.serving.answers import object_of
from multitune.serving.calls import Call
from multitune.serving.grammars import Constraint
from multitune.serving.protocol import ChatRequest
from multitune.serving.upstream_client import UpstreamError

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class RelayedUsage(BaseModel):
    """Tokens of a call as the upstream counts them; what else it counts is relayed."""

    model_config = ConfigDict(extra="allow")
    prompt_tokens: Tokens
    completion_tokens: Tokens = 0


class Relayed(BaseModel):
    """What is relayed of an answer, or of a message of its stream."""

    choices: list[dict[str, Any]] = []
    usage: RelayedUsage | None = None
    error: Any = None

    def body(self, call: Call, usage: bool = True) -> str:
        """It as an answer of ours, as JSON.

        Raises:
            UpstreamError: it holds a number that JSON has not.
        """
        found = {
            "id": call.public_id,
            "object": object_of(call),
            "created": call.created,
            "model": call.body.model,
            "usage": self.usage.model_dump() if self.usage and usage else None,
            "multitune": call.decision.plain(),
            "choices": self.choices,
        }
        try:
            return json.dumps(found, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise UpstreamError(f"the upstream server's answer cannot be read ({error})") from error


def read_answer(text: bytes) -> Relayed:
    """An answer of an upstream, or a message of its stream.

    Raises:
        UpstreamError: it is none, or an error.
    """
    try:
        found = Relayed.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise UpstreamError(f"the upstream server's answer cannot be read ({place}: {first['msg']})") from error
    if found.error is not None:
        reason = found.error.get("message") if isinstance(found.error, dict) else found.error
        raise UpstreamError(f"the upstream server failed: {' '.join(str(reason).split())[:500]}")
    return found


def forwarded(call: Call, model: str, longest: int) -> tuple[str, dict[str, Any]]:
    """The route and the body by which a stock server is asked; our defaults stand in it.

    Args:
        call: that is to be answered.
        model: what the server calls the adapter.
        longest: most tokens of a prompt and its answer.

    Raises:
        InputError: a stock server cannot answer it as the embedded engine would.
    """
    given = call.body
    if given.multitune.labels:
        raise InputError(
            "multitune.labels: probabilities of labels are for the embedded engine, and this server asks an upstream. "
            "Ask without it, or with structured_outputs.choice"
        )
    body: dict[str, Any] = {
        "model": model,
        "temperature": given.temperature,
        "top_p": given.top_p,
        "n": given.n,
        "max_tokens": max(call.max_tokens(prompt, longest) for prompt in call.prompts),
        "stream": given.stream,
    }
    if given.stream:
        body["stream_options"] = {"include_usage": True}
    if given.seed is not None:
        body["seed"] = given.seed
    if call.stops:
        body["stop"] = list(call.stops)
    if given.choices:
        body["structured_outputs"] = {"choice": given.choices}
    elif given.constraint:
        body |= _form(given.constraint)
    if isinstance(given, ChatRequest):
        _require_text(call, given)
        body |= {"messages": call.chat.with_system(call.messages), "chat_template_kwargs": dict(OPTIONS)}
        if given.logprobs:
            body |= {"logprobs": True, "top_logprobs": given.top_logprobs or 0}
        return CHAT, body
    body |= {"prompt": given.prompt, "echo": given.echo}
    if given.logprobs is not None:
        body["logprobs"] = given.logprobs
    return COMPLETIONS, body


def _form(constraint: Constraint) -> dict[str, Any]:
    """What an answer must be: JSON as all servers read it, the rest as vLLM does."""
    if constraint.kind != "json":
        return {"structured_outputs": {constraint.kind: constraint.text}}
    try:
        schema = json.loads(constraint.text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{constraint.field}: is no JSON ({error})") from error
    if schema == {"type": "object"}:
        return {"response_format": {"type": "json_object"}}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


def _require_text(call: Call, given: ChatRequest) -> None:
    """Refuse a control token in a message: a stock server would parse it, and end a turn that its user has not.

    Raises:
        InputError: names the message.
    """
    encoder = call.chat.encoder
    users = [(f"messages.{number}", one.text) for number, one in enumerate(given.messages)]
    ours = [("the run's system text or shots", one["content"]) for one in call.chat.with_system(call.messages)]
    for place, text in (*users, *ours):
        if encoder.holds(text):
            token = next((one for one in encoder.control if one in text), "another spelling of one")
            raise InputError(
                f"{place}: holds a control token of the base ({token}), which the upstream server would not take as "
                "text. Take it out; a server without --upstream reads it as text"
            )
