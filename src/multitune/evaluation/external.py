"""Models that a run is compared with: a chat model behind an API, another local model, or an adapter on its base."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from multitune.core.bases import BASE, resolve_base
from multitune.core.errors import ConfigError, DataError, InputError, suggest
from multitune.core.events import Observe, unwatched
from multitune.core.paths import cache_folder
from multitune.core.records import Example, Prediction, Split
from multitune.core.results.comparison import ApiUsage
from multitune.core.results.events import NoteEvent, ProgressEvent
from multitune.data.task_input import TaskInput
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.data.tokens import encode
from multitune.inference.budget import Caps, Ledger, Prices
from multitune.inference.chat import Answer, AnswerStore, Endpoint, Question, chat_messages, open_endpoint
from multitune.inference.predict import longest_answer, predict_options, predict_rows
from multitune.inference.remote import RetryPolicy, ask
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
        kept = self.item.tokens[self.split].kept
        return [self.item.data.examples[self.split][kept[i]] for i in self.places]


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
    key_env: str = "OPENAI_API_KEY"
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
    raise ConfigError(f"--against {spec}: {suggest(kind, forms)}")


def answer_all(
    kind: KINDS, name: str, tasks: Sequence[ComparisonTask], remote: RemoteOptions, observe: Observe = unwatched
) -> ModelAnswers:
    """Let a model answer the rows of every task.

    Raises:
        InputError: it cannot be loaded or asked as given.
        MultituneError: see `remote.ask` and `predict.predict_rows`.
    """
    if kind == "openai":
        return _ask_server(name, tasks, remote, observe)
    return ModelAnswers(_answer_locally(kind, name, tasks))


def _answer_locally(kind: KINDS, name: str, tasks: Sequence[ComparisonTask]) -> dict[str, list[Prediction]]:
    run = tasks[0].run
    ref = run.ref if kind == "adapter" else resolve_base(name, Path.cwd())
    if kind == "adapter" and not Path(name).is_dir():
        raise ConfigError(f"--against adapter:{name}: no such folder. Give one with adapter_config.json in it")
    chat = run.chat if kind == "adapter" else ChatFormat(load_tokenizer(ref), run.config.system)
    bank = AdapterBank(load_backbone(ref, run.config.device, run.config.dtype))
    adapter = BASE
    if kind == "adapter":
        adapter = "against"
        load_adapter(bank, Path(name), adapter)
    predictions: dict[str, list[Prediction]] = {}
    for task in tasks:
        options = predict_options(task.run.config, None)
        if kind == "adapter":
            item, places = task.item, task.places
        else:
            item, places = _in_its_tokens(task, chat, bank), range(len(task.places))
            longest = max(len(row.tokens) for row in item.tokens[task.split])
            labels = chat.encode_answers(item.data.task.labels) if item.data.task.labels else []
            options = replace(
                options, pack_tokens=max(options.pack_tokens, longest + max(map(len, labels), default=0))
            )
        predictions[task.item.name] = predict_rows(bank, adapter, item, (task.split, places), chat, options)
    return predictions


def _in_its_tokens(task: ComparisonTask, chat: ChatFormat, bank: AdapterBank) -> TaskInput:
    """The rows of a task in another model's tokens; the run's training rows still say how long an answer may be."""
    limit = int(getattr(bank.backbone.model.config, "max_position_embeddings", 0) or 1 << 20)
    examples = task.examples
    rows = encode(examples, chat, limit, cache_folder() / "tokens")
    if rows.too_long:
        raise DataError(
            f"task {task.item.name!r}: row {rows.too_long[0]!r} has more tokens than the {limit:,} that "
            f"{bank.backbone.ref.name} reads. Take another model, or leave such rows out by train.max_length"
        )
    data = replace(task.item.data, examples={**task.item.data.examples, task.split: examples})
    return TaskInput(data, {**task.item.tokens, task.split: rows}, False)


def _ask_server(model: str, tasks: Sequence[ComparisonTask], options: RemoteOptions, observe: Observe) -> ModelAnswers:
    endpoint = open_endpoint(model, options.api_base, options.key_env)
    if options.caps.cost is not None and options.prices is None:
        raise ConfigError("--max-cost needs prices. Give them as --price IN,OUT per million tokens")
    if endpoint.key and endpoint.api_base.startswith("http://") and not endpoint.is_local:
        observe(NoteEvent(text=f"the key goes to {endpoint.api_base} unencrypted; https:// would hide it"))
    questions = [question for task in tasks for question in _questions(task, options)]
    store = AnswerStore(cache_folder() / ANSWERS)
    estimate = _estimate(endpoint, questions, store, options.prices)
    if estimate.stored < estimate.questions and not options.consent(estimate):
        raise InputError("nothing was sent. Say yes, or give --yes, to ask")
    ledger = Ledger(options.caps, options.prices)

    def progress(done: int, of: int) -> None:
        observe(ProgressEvent(what="answers", done=done, of=of))

    answers = ask(endpoint, questions, store, ledger, options.policy, progress)
    predictions: dict[str, list[Prediction]] = {}
    cut_short: dict[str, int] = {}
    rest = iter(answers)
    for compared in tasks:
        own = [next(rest) for _ in compared.places]
        task = compared.item.data.task
        rows = zip(compared.examples, own, strict=True)
        predictions[task.name] = [task.predict(row, answer.text) for row, answer in rows]
        cut_short[task.name] = sum(answer.finish == "length" for answer in own)
    return ModelAnswers(predictions, _usage(endpoint, questions, answers, ledger, cut_short))


def _questions(task: ComparisonTask, options: RemoteOptions) -> list[Question]:
    """A request for each row: no randomness, and room for an answer with some talk around it."""
    most = options.max_tokens or longest_answer(task.item) + CHATTER
    given = {"temperature": 0, "max_tokens": most, **options.parameters}
    parameters = {name: value for name, value in given.items() if value is not None}
    limits = [parameters.get(name) for name in ("max_completion_tokens", "max_tokens")]
    most = next((limit for limit in limits if isinstance(limit, int)), most)
    rows = task.item.tokens[task.split]
    return [
        Question(
            place=f"task {task.item.name!r}, row {example.id!r}",
            messages=chat_messages(example.prompt, task.run.config.system),
            parameters=parameters,
            prompt_tokens=len(rows[place].prompt),
            most_answer_tokens=most,
        )
        for place, example in zip(task.places, task.examples, strict=True)
    ]


def _estimate(
    endpoint: Endpoint, questions: Sequence[Question], store: AnswerStore, prices: Prices | None
) -> Estimate:
    different = {store.key(endpoint, question): question for question in questions}
    new = [question for question in different.values() if store.find(endpoint, question) is None]
    prompt = sum(question.prompt_tokens for question in new)
    answer = sum(question.most_answer_tokens for question in new)
    cost = prices.cost(prompt, answer) if prices else None
    stored = len(different) - len(new)
    return Estimate(endpoint.api_base, endpoint.model, len(different), stored, prompt, answer, cost)


def _usage(
    endpoint: Endpoint,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    ledger: Ledger,
    cut_short: Mapping[str, int],
) -> ApiUsage:
    """What the answers took, earlier ones included; `api_base` and parameters say how to ask for them again."""
    asked = [dict(question.parameters) for question in questions]
    return ApiUsage(
        api_base=endpoint.api_base,
        model=endpoint.model,
        answered_by=tuple(sorted({answer.model for answer in answers if answer.model})),
        parameters=tuple(body for place, body in enumerate(asked) if body not in asked[:place]),
        prompt_tokens=ledger.prompt_tokens,
        answer_tokens=ledger.answer_tokens,
        uncounted=sum(not answer.counted for answer in answers),
        cost=ledger.cost,
        cut_short=dict(cut_short),
    )


def subject_name(kind: KINDS, name: str, api_base: str | None) -> str:
    """A file name for a model; `~` keeps it apart from every adapter's."""
    from hashlib import sha256

    short = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[-48:]
    return f"{kind}~{short}~{sha256(f'{name} {api_base}'.encode()).hexdigest()[:6]}"
