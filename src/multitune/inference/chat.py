"""Requests to a chat model and its answers, and a response cache on disk, so that no answer is paid for twice."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from multitune.core.errors import ConfigError, RunFolderError
from multitune.core.files import read_json, write_json
from multitune.core.records import Message

OPENAI_HOST = "https://api.openai.com/"
OPENAI, KEY_ENV = f"{OPENAI_HOST}v1", "OPENAI_API_KEY"
MOST_TOKENS = 10**9  # of one request
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind an OpenAI-compatible API."""

    api_base: str  # without a slash at its end
    model: str
    key: str = field(default="", repr=False)  # sent, and neither stored nor shown

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        return (urlsplit(self.api_base).hostname or "") in LOCAL_HOSTS


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked, and what it may use."""

    place: str  # whose it is, for messages: task and row
    messages: Sequence[Message]
    parameters: Mapping[str, Any]  # of the request, such as temperature
    prompt_tokens: int  # by the run's own tokenizer: an estimate
    most_answer_tokens: int


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What came back."""

    text: str
    finish: str  # the server's reason to stop, such as stop or length
    prompt_tokens: int
    answer_tokens: int
    counted: bool  # by the server; False where it gave no usage and the numbers are estimates
    model: str  # as the server names the one that answered


def is_count(value: object) -> bool:
    """Whether a value is a number of tokens that one request can take."""
    return type(value) is int and 0 <= value <= MOST_TOKENS


class ResponseCache:
    """Answers by what was asked: server, model, messages and parameters; one small file each, written whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, endpoint: Endpoint, request: ChatRequest) -> ChatAnswer | None:
        """An answer given before; one that is damaged counts as none."""
        try:
            answer = ChatAnswer(**read_json(self._file(endpoint, request))["answer"])
            return answer if is_count(answer.prompt_tokens) and is_count(answer.answer_tokens) else None
        except (RunFolderError, TypeError, KeyError):
            return None

    def keep(self, endpoint: Endpoint, request: ChatRequest, answer: ChatAnswer) -> None:
        """Write an answer down.

        Raises:
            StorageError: the disk is full or not writable.
        """
        asked = {"api_base": endpoint.api_base, **_body(endpoint, request)}
        write_json(self._file(endpoint, request), {"asked": asked, "answer": asdict(answer)})

    def _file(self, endpoint: Endpoint, request: ChatRequest) -> Path:
        name = request_key(endpoint, request)
        return self._folder / name[:2] / f"{name}.json"


def request_key(endpoint: Endpoint, request: ChatRequest) -> str:
    """32 hex digits over what is asked, and of whom."""
    asked = json.dumps([endpoint.api_base, _body(endpoint, request)], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


def _body(endpoint: Endpoint, request: ChatRequest) -> dict[str, Any]:
    """The request as JSON."""
    return {"model": endpoint.model, "messages": [dict(m) for m in request.messages], **request.parameters}


def chat_messages(messages: Sequence[Message], system: str | None) -> list[Message]:
    """Messages of a chat, the run's system message before those that have none of their own."""
    before = [{"role": "system", "content": system}] if system and messages[0]["role"] != "system" else []
    return [*before, *messages]


def open_endpoint(model: str, api_base: str | None, key_env: str | None, option: str = "--api-base") -> Endpoint:
    """A model's address, with the key from the environment.

    Args:
        model: as its server names it.
        api_base: such as http://localhost:8000/v1; OpenAI's when absent.
        key_env: the environment variable that holds the key; empty for a server that wants none. None is OpenAI's
            own variable for OpenAI's own server, and no key for any other.
        option: by which the user gave the address, for messages.

    Raises:
        ConfigError: the address is no such URL, holds a password, there is no key for it, or the key would travel
            unencrypted.
    """
    base = (api_base or OPENAI).rstrip("/").removesuffix("/chat/completions")
    try:
        parts = urlsplit(base)
    except ValueError as error:  # half an IPv6 address
        raise ConfigError(f"{option} {api_base}: not an address ({error})") from error
    if not model:
        raise ConfigError("openai: names no model. Write it behind the colon, such as openai:gpt-4o-mini")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{option} {api_base}: not an address. Give one such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        raise ConfigError(f"{option}: holds a name, a password or a query, and would be stored. Use --key-env instead")
    if key_env is None:
        key_env = KEY_ENV if base.startswith(OPENAI_HOST) else ""
    key = os.environ.get(key_env, "") if key_env else ""
    endpoint = Endpoint(base, model, key.strip())
    if not re.fullmatch(r"[!-~]*", endpoint.key):
        raise ConfigError(f"--key-env {key_env}: holds spaces, line breaks or characters that no key has. Set it anew")
    if key_env and not endpoint.key and not endpoint.is_local:
        raise ConfigError(
            f"--key-env {key_env}: this environment variable is not set, and {parts.hostname} wants a key. Set it, "
            'name another one, or give --key-env "" if the server needs none'
        )
    if endpoint.key and parts.scheme != "https" and not endpoint.is_local:
        raise ConfigError(
            f"--key-env {key_env}: the key would go to {parts.hostname} unencrypted. Give an https address, or "
            '--key-env "" if the server needs none'
        )
    return endpoint
