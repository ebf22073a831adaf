"""Models that a run is compared with: a chat model behind an API, another local model, or an adapter on its base."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from multitune.core.bases import BASE, resolve_base
from multitune.core.errors import ConfigError, InputError, suggest
from multitune.core.events import Observe, unwatched
from multitune.core.hub_folders import fetch, is_on_hub
from multitune.core.paths import cache_folder
from multitune.core.records import Example, Prediction, Split
from multitune.core.results.comparison import ApiUsage
from multitune.core.results.events import ProgressEvent
from multitune.data.task_input import TaskInput
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.inference.api import ApiModel
from multitune.inference.budget import Caps, Ledger, Prices
from multitune.inference.chat import ChatRequest, Endpoint, ResponseCache, open_endpoint, request_key
from multitune.inference.language_model import LanguageModel
from multitune.inference.local import LocalModel
from multitune.inference.openai_client import CachedClient, OpenAIClient, RetryPolicy
from multitune.inference.predict import longest_answer, predict_rows, rows_at
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
from multitune.training.prepare import PreparedRun

KINDS = Literal["openai", "local", "adapter"]
CHATTER = 128  # tokens an answer may have beyond the longest that the task knows: other models write more
ANSWERS = "answers"  # in the cache folder


@dataclass(frozen=True, slots=True)
class ComparisonTask:
    """One task of a comparison: its rows, and the run's own answers to them."""

    run: PreparedRun
    item: TaskInput
    split: Split
    places: tuple[int, ...]  # among the tokenised rows of the split
    adapter: str  # ours
    ours: tuple[Prediction, ...]
    base: tuple[Prediction, ...] | None

    @property
    def examples(self) -> list[Example]:
        """The rows as text, in the order of `places`."""
        return rows_at(self.item, self.split, self.places)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a comparison will ask of a server, estimated before anything is sent."""

    api_base: str
    model: str
    questions: int
    stored: int  # of them, answered before
    prompt_tokens: int  # of those to send, by the run's own tokenizer
    most_answer_tokens: int
    most_cost: float | None  # None without prices


def agreed(estimate: Estimate) -> bool:
    """Consent to anything."""
    return True


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How to ask a model behind an API."""

    api_base: str | None = None
    key_env: str | None = None  # see `open_endpoint`
    prices: Prices | None = None
    caps: Caps = field(default_factory=Caps)
    max_tokens: int | None = None  # most answer tokens of a request; by task when absent
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])  # of the request; None takes one out
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    consent: Callable[[Estimate], bool] = agreed


@dataclass(frozen=True, slots=True)
class ModelAnswers:
    """What a model answered, and what that took."""

    predictions: Mapping[str, list[Prediction]]  # task -> in the order of its rows
    usage: ApiUsage | None = None  # of a model behind an API


def parse_model(spec: str) -> tuple[KINDS, str]:
    """`openai:MODEL`, `local:BASE` or `adapter:FOLDER` as its two parts.

    Raises:
        ConfigError: it is none of these.
    """
    kind, _, name = spec.partition(":")
    for known in get_args(KINDS):
        if kind == known and name.strip():
            return known, name.strip()
    forms = ("openai:MODEL", "local:PATH_OR_HUB_ID", "adapter:FOLDER")
    raise ConfigError(f"{spec}: {suggest(kind, forms)}")


def answer_all(
    kind: KINDS, name: str, tasks: Sequence[ComparisonTask], remote: RemoteOptions, observe: Observe = unwatched
) -> ModelAnswers:
    """Let a model answer the rows of every task.

    Raises:
        InputError: it cannot be loaded or asked as given.
        MultituneError: see `LanguageModel`.
    """
    if kind == "openai":
        return _ask_server(name, tasks, remote, observe)
    model = _adapter(name, tasks[0].run) if kind == "adapter" else _base(name, tasks)
    return ModelAnswers(answers_of(model, tasks))


def answers_of(model: LanguageModel, tasks: Sequence[ComparisonTask]) -> dict[str, list[Prediction]]:
    """What a model answers to the rows of each task, in their order."""
    return {task.item.name: predict_rows(model, task.item, task.split, task.places) for task in tasks}


def _adapter(folder: str, run: PreparedRun) -> LocalModel:
    path = fetch(folder, "adapter") if is_on_hub(folder) else Path(folder)
    if not path.is_dir():
        raise ConfigError(f"adapter:{folder}: no such folder. Give one with adapter_config.json in it")
    bank = AdapterBank(load_backbone(run.ref, run.config.device, run.config.dtype, run.config.quantization))
    load_adapter(bank, path, "against")
    return LocalModel(bank, "against", run.chat, run.config)


def _base(name: str, tasks: Sequence[ComparisonTask]) -> LocalModel:
    """Another base, which reads the rows with its own tokenizer."""
    run, ref = tasks[0].run, resolve_base(name, Path.cwd())
    chat = ChatFormat(load_tokenizer(ref), run.config.system, run.config.control_tokens)
    bank = AdapterBank(load_backbone(ref, run.config.device, run.config.dtype))
    model = LocalModel(bank, BASE, chat, run.config)
    for task in tasks:
        model.require_readable(task.examples)
    return model


def _ask_server(name: str, tasks: Sequence[ComparisonTask], options: RemoteOptions, observe: Observe) -> ModelAnswers:
    endpoint = open_endpoint(name, options.api_base, options.key_env)
    if options.caps.cost is not None and options.prices is None:
        raise ConfigError("--max-cost needs prices. Give them as --price IN,OUT per million tokens")
    client = CachedClient(OpenAIClient(endpoint, options.policy), ResponseCache(cache_folder() / ANSWERS))
    ledger = Ledger(options.caps, options.prices)
    model = ApiModel(
        client,
        ledger,
        parameters=options.parameters,
        concurrency=options.policy.concurrency,
        progress=lambda done, of: observe(ProgressEvent(what="answers", done=done, of=of)),
    )
    for task in tasks:  # one that joined may have a system text of its own
        model.read_as(task.item.name, task.run.chat, task.run.config.system)
    most = {task.item.name: options.max_tokens or longest_answer(task.item) + CHATTER for task in tasks}
    requests = [
        one
        for task in tasks
        for one in model.requests(task.examples, most[task.item.name], task.item.data.task.config.stop)
    ]
    model.book_known(requests)
    estimate = _estimate(endpoint, requests, model, options.prices)
    if estimate.stored < estimate.questions and not options.consent(estimate):
        raise InputError("nothing was sent. Answer y at the question, or give --yes")
    predictions: dict[str, list[Prediction]] = {}
    for task in tasks:
        length = most[task.item.name]
        predictions[task.item.name] = predict_rows(model, task.item, task.split, task.places, max_new_tokens=length)
    return ModelAnswers(predictions, _usage(endpoint, requests, model, ledger))


def _estimate(endpoint: Endpoint, requests: Sequence[ChatRequest], model: ApiModel, prices: Prices | None) -> Estimate:
    different = {request_key(endpoint, request): request for request in requests}
    new = [request for key, request in different.items() if key not in model.answers]
    prompt = sum(request.prompt_tokens for request in new)
    answer = sum(request.most_answer_tokens for request in new)
    cost = prices.cost(prompt, answer) if prices else None
    return Estimate(endpoint.api_base, endpoint.model, len(different), len(different) - len(new), prompt, answer, cost)


def _usage(endpoint: Endpoint, requests: Sequence[ChatRequest], model: ApiModel, ledger: Ledger) -> ApiUsage:
    """What the answers took, earlier ones included; `api_base` and parameters say how to ask for them again."""
    answers = [model.answers[request_key(endpoint, request)] for request in requests]
    asked = [dict(request.parameters) for request in requests]
    return ApiUsage(
        api_base=endpoint.api_base,
        model=endpoint.model,
        answered_by=tuple(sorted({answer.model for answer in answers if answer.model})),
        parameters=tuple(body for place, body in enumerate(asked) if body not in asked[:place]),
        prompt_tokens=ledger.prompt_tokens,
        answer_tokens=ledger.answer_tokens,
        uncounted=sum(not answer.counted for answer in answers),
        cost=ledger.cost,
        cut_short=dict(model.cut_short),
    )


def subject_name(kind: KINDS, name: str, api_base: str | None) -> str:
    """A file name for a model; `~` keeps it apart from every adapter's."""
    from hashlib import sha256

    short = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[-48:]
    return f"{kind}~{short}~{sha256(f'{name} {api_base}'.encode()).hexdigest()[:6]}"
