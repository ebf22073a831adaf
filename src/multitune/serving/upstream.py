"""Another server as a backend: vLLM, or any with the OpenAI API, that holds the base and the adapters."""

import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from pydantic import BaseModel, TypeAdapter, ValidationError

from multitune.core.bases import BASE, public_name, resolve_base
from multitune.core.errors import InputError, ModelError
from multitune.core.records import Message, Segments
from multitune.data.chat_template import OPTIONS
from multitune.model.gguf import base_config
from multitune.model.vllm import RANKS, check_vllm
from multitune.serving.backend import Backend, T, UpstreamOptions
from multitune.serving.calls import Call
from multitune.serving.forwarding import CHAT, COMPLETIONS, Relayed, forwarded, read_answer
from multitune.serving.requests import EngineStats, OverloadedError
from multitune.serving.upstream_client import UpstreamClient, UpstreamError

_log = logging.getLogger(__name__)
MODELS, LOAD, UNLOAD = "/v1/models", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
LOOK_SECONDS = 5.0  # between two looks at the upstream's models
DONE = b"[DONE]"


class UpstreamModel(BaseModel):
    """One name in the upstream's list of models."""

    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None
    owned_by: str | None = None


MODEL_LIST = TypeAdapter(list[UpstreamModel])


@final
class Upstream(Backend):
    """Calls are forwarded, and their answers relayed as they come; adapters have the names of the run."""

    def __init__(self, options: UpstreamOptions, base: str, adapters: Sequence[str]) -> None:
        """Find out what the upstream calls the base.

        Args:
            options: which server.
            base: of the run, as its config names it.
            adapters: of the run.

        Raises:
            InputError: it does not answer, or lists no model that could be the base.
        """
        self._options, self._base = options, base
        self._client = UpstreamClient(options.endpoint, options.silence_seconds)
        self._place = f"--upstream {options.endpoint.api_base}"
        try:
            models = self._models()
            self._ours = any(model.owned_by == "multitune" for model in models)
            self._base_name = BASE if self._ours else self._found_base(models, adapters)
        except UpstreamError as error:
            self.close()
            raise InputError(f"{self._place}: {error}. Start it first, or give another address") from error
        except InputError:
            self.close()
            raise
        known = [model.max_model_len for model in models if model.id == self._base_name and model.max_model_len]
        self._longest = known[0] if known else self._longest_of_base()
        self._folders: dict[str, Path] = {}  # adapter -> its folder
        self._versions: dict[str, str] = {}  # adapter -> which of them
        self._loaded: set[str] = set()  # by us, not found there
        self._faults: dict[str, str] = {}  # adapter -> why the upstream does not hold it
        self._ranks: dict[str, int] = {}  # of those
        self._outage, self._next_look = "", time.monotonic() + LOOK_SECONDS
        self._stats, self._lock = EngineStats(), threading.Lock()

    def _models(self) -> list[UpstreamModel]:
        status, body = self._client.ask("GET", MODELS)
        if status != 200:
            raise UpstreamError(f"{MODELS}: status {status}{self._client.reason_in(body)}")
        try:
            found: Any = json.loads(body)
            return MODEL_LIST.validate_python(found["data"])
        except (ValueError, RecursionError, LookupError, TypeError, ValidationError) as error:
            raise UpstreamError(f"{MODELS}: no list of models, as an OpenAI-compatible server gives it") from error

    def _found_base(self, models: Sequence[UpstreamModel], adapters: Sequence[str]) -> str:
        """What an upstream calls the base: the model of its name, or the only one that is no adapter."""
        names = {self._base, public_name(self._base)}
        whole = [model for model in models if model.parent is None and model.id not in adapters]
        same = [model for model in whole if names & {model.id, model.root}]
        if same or len({model.root or model.id for model in whole}) == 1:
            return (same or whole)[0].id
        listed = ", ".join(model.id for model in whole) or "none"
        raise InputError(
            f"{self._place}: which of its models is the base {self._base} is not clear ({listed}). Start it with "
            f"--served-model-name {public_name(self._base)}"
        )

    def _longest_of_base(self) -> int:
        config = base_config(resolve_base(self._base)).get_text_config()
        longest = int(getattr(config, "max_position_embeddings", 0) or 0)
        if not longest:
            raise InputError(f"{self._place}: neither it nor the base {self._base} says how long a text may be")
        return longest

    @property
    def longest(self) -> int:
        """As the upstream says, or as the base was made for."""
        return self._longest

    @property
    def stats(self) -> EngineStats:
        """Calls under way, and tokens as the upstream counts them; its queue and its store are its own."""
        with self._lock:
            return replace(self._stats, running=+self._stats.running, waiting=Counter[str]())

    @property
    def faults(self) -> Mapping[str, str]:
        """Adapters that the upstream does not hold."""
        missing = self._faults.copy()
        if not missing:
            return missing
        modules = " ".join(f"{name}={self._folders[name]}" for name in missing)
        rank = max(self._ranks.values())
        remedy = f"Start vLLM with: --enable-lora --max-lora-rank {rank} --lora-modules {modules}"
        return {name: f"the upstream does not hold it{why}. {remedy}" for name, why in missing.items()}

    def _miss(self, name: str, why: str) -> None:
        """Note that an adapter is not there, with the rank that vLLM needs for it."""
        try:
            self._ranks[name] = check_vllm(self._folders[name], base_config(resolve_base(self._base))).max_lora_rank
        except ModelError:
            self._ranks[name] = 0
        self._ranks[name] = self._ranks[name] or RANKS[-1]
        self._faults[name] = why

    @property
    def outage(self) -> str:
        """What the last look at the upstream found."""
        return self._outage

    def require_room(self, requests: int = 1) -> None:
        """Of answers under way."""
        with self._lock:
            under_way = self._stats.running.total()
        if under_way and under_way + requests > self._options.max_calls:
            raise OverloadedError(f"{under_way} answers are under way already. Try again later")

    async def whole(self, call: Call) -> str:
        """The upstream's answer.

        Raises:
            InputError: a stock server cannot answer it.
            UpstreamRefusalError, UpstreamError: it does not take the call, or fails.
        """
        path, body = forwarded(call, self._name(call.version), self._longest)
        with self._under_way(call):
            found = read_answer(await self._client.whole(path, body))
        if len(found.choices) != call.answers:
            raise UpstreamError(f"the upstream server gave {len(found.choices)} answers instead of {call.answers}")
        self._count(found)
        return found.body(call)

    async def chunks(self, call: Call) -> AsyncGenerator[str]:
        """The upstream's messages as they come.

        Raises:
            InputError, UpstreamRefusalError, UpstreamError: as `whole`.
        """
        path, body = forwarded(call, self._name(call.version), self._longest)
        begun = False
        with self._under_way(call):
            async with aclosing(self._client.lines(path, body)) as lines:
                async for line in lines:
                    field, _, text = line.partition(b":")
                    text = text.strip()
                    if field != b"data" or not text:
                        continue  # a comment that keeps the connection alive, or the end of a message
                    if text == DONE and begun:
                        return
                    found = read_answer(text)
                    self._count(found)
                    if found.choices or call.body.include_usage:
                        yield found.body(call, usage=call.body.include_usage)
                        begun = True
        raise UpstreamError("the upstream server's answer broke off before its end")

    @contextmanager
    def _under_way(self, call: Call) -> Generator[None]:
        with self._lock:
            self._stats.running[call.version] += call.answers
        try:
            yield
        finally:
            with self._lock:
                self._stats.running[call.version] -= call.answers

    def _count(self, found: Relayed) -> None:
        if found.usage:
            with self._lock:
                self._stats.prompt_tokens += found.usage.prompt_tokens
                self._stats.generation_tokens += found.usage.completion_tokens

    def _name(self, version: str) -> str:
        """What the upstream calls an adapter; a server of multitune might have a task of that name, too."""
        name = version.partition("@")[0]
        if name == BASE:
            return self._base_name
        return f"adapter:{name}" if self._ours else name

    def load(self, version: str, folder: Path) -> None:
        """Let the upstream load it unless it is there; where it cannot, that is one of the `faults`.

        Raises:
            InputError: it is to replace another version, which stays.
        """
        name = version.partition("@")[0]
        before = self._versions.get(name, ""), self._folders.get(name, folder)
        self._versions[name], self._folders[name] = version, folder
        try:
            there = self._holds(name, self._models())
            if before[0] or not there:
                self._put(name, replace=there)
        except UpstreamError as error:
            self._miss(name, f" ({error})")
        if before[0] and name in self._faults:
            self._versions[name], self._folders[name] = before
            raise InputError(f"lora_name {name!r}: the upstream does not take it{self._faults.pop(name)}")

    def _holds(self, name: str, models: Sequence[UpstreamModel]) -> bool:
        if self._ours:
            return self._client.ask("GET", f"{MODELS}/adapter:{name}")[0] == 200
        return name in {model.id for model in models} - {self._base_name}

    def _put(self, name: str, replace: bool) -> None:
        asked = {"lora_name": name, "lora_path": str(self._folders[name]), "load_inplace": replace}
        status, body = self._client.ask("POST", LOAD, asked)
        if status == 200:
            self._loaded.add(name)
            self._faults.pop(name, None)
            _log.info("the upstream has loaded adapter %s", name)
        elif status in (404, 405):
            self._miss(name, ", and loads none while it runs")
        else:
            self._miss(name, f", and did not load it (status {status}{self._client.reason_in(body)})")

    def retire(self, version: str) -> None:
        """Let the upstream unload what it was made to load; what it began with stays there."""
        name = version.partition("@")[0]
        if self._versions.get(name) != version:
            return  # its name means another version by now
        for known in (self._faults, self._versions, self._folders):
            known.pop(name, None)
        if name in self._loaded:
            self._loaded.remove(name)
            try:
                self._client.ask("POST", UNLOAD, {"lora_name": name})
            except UpstreamError as error:
                _log.warning("adapter %s stays at the upstream: %s", name, error)

    def run(self, job: Callable[[], T]) -> "Future[T]":
        """Not here, where no layer is; a router that reads them was refused at the start."""
        raise InputError(f"{self._place}: the router reads layers of the base, which are not here. Serve without it")

    def refresh(self) -> None:
        """Look every few seconds which adapters the upstream holds; one that it lost, as by a restart, is loaded."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        try:
            models = self._models()
            for name in list(self._folders):
                if self._holds(name, models):
                    self._faults.pop(name, None)
                elif self._outage or name not in self._faults:
                    self._put(name, replace=False)
            self._outage = ""
        except UpstreamError as error:
            self._outage = f"the upstream does not answer ({error})"

    def losses(self, version: str, rows: Sequence[Segments]) -> list[float] | None:
        """By the likelihoods of prompts that are echoed; None of a server that does not tell them."""
        if not rows:
            return []
        how = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        prompts = [row.tokens.tolist() for row in rows]
        status, body = self._client.ask("POST", COMPLETIONS, {"model": self._name(version), "prompt": prompts, **how})
        if status != 200:
            return None
        found: list[float] = []
        try:
            choices: Any = sorted(json.loads(body)["choices"], key=lambda choice: choice["index"])
            for row, choice in zip(rows, choices, strict=True):
                values: Any = choice["logprobs"]["token_logprobs"]
                answer = [float(value) for value in values[len(row.prompt) : len(row.tokens)]]
                if len(answer) < len(row.answer) or not all(map(math.isfinite, answer)):
                    return None
                found.append(-sum(answer) / len(answer))
        except (ValueError, RecursionError, LookupError, TypeError):
            return None
        return found

    def beginnings(self, version: str, chats: Sequence[Sequence[Message]], tokens: int) -> list[str]:
        """By its chat template, which may be another than that of the rows; empty where it refuses."""
        found: list[str] = []
        for messages in chats:
            how = {"max_tokens": tokens, "temperature": 0, "chat_template_kwargs": OPTIONS}
            body = {"model": self._name(version), "messages": [dict(one) for one in messages], **how}
            status, answer = self._client.ask("POST", CHAT, body)
            choices = read_answer(answer).choices if status == 200 else []
            message: Any = choices[0].get("message") if choices else None
            found.append(str(message.get("content") or "") if isinstance(message, dict) else "")
        return found

    async def disconnect(self) -> None:
        """Close the connections of calls."""
        await self._client.disconnect()

    def close(self) -> None:
        """Close the other connections; adapters stay at the upstream."""
        self._client.close()
