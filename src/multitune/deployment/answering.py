"""The adapters of a finished run answer texts that nobody scores: chats, prompts, and rows of its tasks.

Nothing but the run folder and the base is read: a run goes on answering where its data is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from multitune.config.adapters import expand_adapters
from multitune.config.load import load_config
from multitune.core.bases import BASE, BaseRef, resolve_base
from multitune.core.errors import InputError, RouterError, suggest
from multitune.core.records import Message
from multitune.core.results.base import Record
from multitune.core.results.run import DataRecord
from multitune.core.run_folder import RunFolder
from multitune.data.row_tokens import prompt_tokens
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.evaluation.subjects import shipped_adapters
from multitune.inference.local import LocalModel
from multitune.inference.options import choose_options
from multitune.inference.predict import LONGEST_ANSWER
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.embedding_table import load_embedding_table
from multitune.model.files import load_adapter
from multitune.routing.features import Features, open_features
from multitune.routing.router import Decision, Router, load_router
from multitune.tasks.shots import behind_shots
from multitune.tasks.task import Task

AUTO = "auto"  # in the place of an adapter's name: the one that the router, or the task, picks
ROLES = ("system", "user", "assistant")
Conversation = str | Sequence[Message]  # one prompt, or the messages so far


class Answer(Record):
    """What a run answers to one prompt or row."""

    text: str
    adapter: str  # that answered, or `base`
    route: Decision | None = None  # why that one, where the router chose
    value: Any = None  # `text` as the task reads it, for rows of a task

    def __str__(self) -> str:
        return self.text


class OpenRouter(NamedTuple):
    """A router of a run, ready to be asked."""

    version: str  # of the routing
    router: Router
    features: Features


class Answerer:
    """A run's base with its adapters; the base and each adapter are loaded when they are first needed."""

    def __init__(self, folder: RunFolder, backbone: Backbone | None = None) -> None:
        """Read what the run is.

        Args:
            folder: of the run.
            backbone: its base, without a bank; loaded when None.

        Raises:
            ModelError: the base is not to be had.
        """
        self._folder = folder
        self.config = load_config(folder.require().config)
        self._ref = resolve_base(self.config.base)
        self._backbone = backbone
        self.chat = ChatFormat(load_tokenizer(self._ref), self.config.system, self.config.control_tokens)
        self._tuned: dict[str, AdapterBank] = {}  # models that were trained as a whole
        self._chats: dict[str, ChatFormat] = {}  # of tasks that joined

    @cached_property
    def bank(self) -> AdapterBank:
        """The base, with the adapters that were loaded so far.

        Raises:
            ModelError: the base is not to be had.
        """
        return AdapterBank(
            self._backbone or load_backbone(self._ref, self.config.device, self.config.dtype, self.config.quantization)
        )

    def close(self) -> Backbone:
        """Give the backbone back without adapters; the answerer is of no more use."""
        self.bank.close()
        return self.bank.backbone

    def forget(self) -> None:
        """Read the router and the tasks anew when they are next needed: tasks have joined or left."""
        self.__dict__.pop("router", None)
        self.__dict__.pop("tasks", None)
        self._chats.clear()

    def route(self, texts: Sequence[str]) -> list[Decision]:
        """Where each text goes.

        Raises:
            RouterError: the run has no router.
        """
        shipped = shipped_adapters(self._folder, self.config)
        return self.router.router.decide(self.router.features.of(texts), shipped)

    def generate(
        self, conversations: Sequence[Conversation], adapter: str = AUTO, max_new_tokens: int = LONGEST_ANSWER
    ) -> list[Answer]:
        """Greedy answers, in the order of the conversations.

        Args:
            conversations: a prompt, or messages of which the last is the user's, each.
            adapter: its name, `base`, or `auto` for the one the router picks by what the user wrote.
            max_new_tokens: most tokens of an answer.

        Raises:
            InputError: no such adapter, or a conversation that is none.
            RouterError: `auto`, and the run has neither a router nor one adapter of all its tasks.
            MultituneError: a prompt does not fit into memory, or outputs are not finite.
        """
        messages = [checked_conversation(one) for one in conversations]
        if adapter == AUTO and not self._folder.routing_versions:
            adapter = self.adapter_of_all_tasks()
        routes: list[Decision | None] = [None] * len(messages)
        if adapter == AUTO:
            routes = [*self.route(["\n\n".join(m["content"] for m in one if m["role"] == "user") for one in messages])]
        adapters = [route.adapter if route else adapter for route in routes]
        tasks = [
            self.task_asked(name, route.task if route else None) for name, route in zip(adapters, routes, strict=True)
        ]
        asked = list(zip(adapters, tasks, strict=True))
        texts = [""] * len(messages)
        for name, task in dict.fromkeys(asked):
            mine = [at for at, one in enumerate(asked) if one == (name, task)]
            model = self.model(name, self.chat_of(name))
            shots = self.tasks[task].shots if task else ()
            prompts = self._readable(
                model.chat.encode_conversations([behind_shots(shots, messages[at]) for at in mine])
            )
            stop = self.tasks[task].config.stop if task else ()
            for at, text in zip(mine, model.answer(prompts, max_new_tokens, stop), strict=True):
                texts[at] = text
        found = zip(texts, adapters, routes, strict=True)
        return [Answer(text=text, adapter=name, route=route) for text, name, route in found]

    def predict(self, task: str, rows: Sequence[Mapping[str, Any]], adapter: str = AUTO) -> list[Answer]:
        """Answers to rows as they stand in the data of a task; its own template asks, labels are picked by likelihood.

        Args:
            task: of the run, or one that joined.
            rows: with the columns that the prompt of the task needs; no answer.
            adapter: its name, `base`, or `auto` for the one the task ships with.

        Raises:
            InputError: no such task or adapter, or a row that lacks a column.
        """
        if task not in self.tasks:
            raise InputError(f"{self._folder.path}: no task {task!r}. {suggest(task, self.tasks)}")
        asked = self.tasks[task]
        shipped = shipped_adapters(self._folder, self.config)
        name = shipped.get(task, task) if adapter == AUTO else adapter
        model = self.model(name, self.chat_of(task))
        questions = asked.questions(rows)
        prompts = self._readable(prompt_tokens(questions, model.chat))
        if asked.kind == "choice":
            texts = [one.text for one in choose_options(model, questions, asked.config.length_normalized)]
        elif asked.kind == "classify":
            texts = model.pick(prompts, asked.labels)
        else:
            texts = model.answer(prompts, asked.config.max_new_tokens or LONGEST_ANSWER, asked.config.stop)
        return [
            Answer(text=text, adapter=name, value=asked.read(text, question.options))
            for text, question in zip(texts, questions, strict=True)
        ]

    def task_asked(self, adapter: str, routed: str | None = None) -> str | None:
        """The task whose shots and stop strings belong to what an adapter is asked; None where it may be any.

        Args:
            adapter: that answers.
            routed: the task for which the router picked it.
        """
        if adapter == BASE:
            return None
        if routed in self.tasks:
            return routed
        learned = next((one.tasks for one in expand_adapters(self.config) if one.name == adapter), (adapter,))
        return learned[0] if len(learned) == 1 and learned[0] in self.tasks else None

    def _readable(self, prompts: list[np.ndarray]) -> list[np.ndarray]:
        """The prompts, if the base reads so many tokens.

        Raises:
            InputError: one is longer than it was made for.
        """
        longest, most = max(map(len, prompts), default=0), self.bank.backbone.longest
        if most is not None and longest > most:
            raise InputError(f"a prompt has {longest:,} tokens, and {self.config.base} reads {most:,}. Shorten it")
        return prompts

    def chat_of(self, joined: str) -> ChatFormat:
        """How prompts are read; a task that joined, and its adapter, may have a system text of their own."""
        if joined not in self._folder.joined:
            return self.chat
        if joined not in self._chats:
            config = load_config(self._folder.added(joined).config)
            self._chats[joined] = ChatFormat(self.chat.tokenizer, config.system, config.control_tokens)
        return self._chats[joined]

    def model(self, name: str, chat: ChatFormat) -> LocalModel:
        """An adapter, or the base, which reads prompts in some format; loaded when it is first asked for.

        Raises:
            InputError: no such adapter.
        """
        if name == BASE or name in self.bank.names:
            return LocalModel(self.bank, name, chat, self.config)
        paths = self._folder.adapters
        if name not in paths:
            raise InputError(f"{self._folder.path}: no adapter {name!r}. {suggest(name, [BASE, *paths])}")
        if self.config.method == "lora":
            load_adapter(self.bank, paths[name], name)
            return LocalModel(self.bank, name, chat, self.config)
        if name not in self._tuned:
            tuned = BaseRef(name, str(paths[name]))
            self._tuned[name] = AdapterBank(load_backbone(tuned, self.config.device, self.config.dtype))
        return LocalModel(self._tuned[name], BASE, chat, self.config)

    def adapter_of_all_tasks(self) -> str:
        """The adapter that every task ships with.

        Raises:
            RouterError: there are several.
        """
        names = set(shipped_adapters(self._folder, self.config).values())
        if len(names) == 1:
            return names.pop()
        raise RouterError(
            f"{self._folder.path}: has no router that could pick an adapter. Name one ({', '.join(sorted(names))}), "
            f"or make a router: multitune select {self._folder.path}"
        )

    @cached_property
    def router(self) -> OpenRouter:
        """The router in force, for whoever asks more of it than where a text goes.

        Raises:
            RouterError: the run has none, or it is damaged.
        """
        if not self._folder.routing_versions:
            raise RouterError(
                f"{self._folder.path}: has no router yet. Make one: multitune select {self._folder.path}"
            )
        version = self._folder.routing_versions[-1]
        router = load_router(version, self._features.key)
        if router.costs.shared not in self._folder.adapters:  # somebody dropped it, as nothing ships with it
            router.costs = replace(router.costs, shared=None)
        return OpenRouter(version.name, router, self._features)

    @cached_property
    def _features(self) -> Features:
        """What the router reads; the embeddings alone where no more of the base is needed, nor loaded already.

        They are looked up on the CPU: a machine that only routes may lack the device of the run.
        """
        name = self.config.router.features
        loaded = self._backbone is not None or "bank" in self.__dict__ or name.startswith("layer:")
        base = self.bank.backbone if loaded else load_embedding_table(self._ref, "cpu", self.config.dtype)
        return open_features(name, base, self.chat.tokenizer)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The tasks of the run and those that joined, with the labels of their data."""
        found: dict[str, Task] = {}
        for folder in (self._folder, *(self._folder.added(task) for task in self._folder.joined)):
            sets = DataRecord.read(folder.data).sets
            for config in load_config(folder.config).tasks:
                found[config.name] = Task(config)
                found[config.name].fit_labels(sets[config.name].labels)
                found[config.name].fit_shots(sets[config.name].shots)
        return found


def checked_conversation(conversation: Conversation) -> Sequence[Message]:
    """A conversation as messages.

    Raises:
        InputError: it is empty, or no chat that an answer could follow.
    """
    messages = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else conversation
    for number, message in enumerate(messages, start=1):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise InputError(f"message {number} has the role {role!r}. {suggest(str(role), ROLES)}")
        if not isinstance(content, str) or not content.strip():
            raise InputError(f"message {number} has no text. Give `content` as a text that is not empty")
        if role == "system" and number > 1:
            raise InputError(f"message {number} is a system message. It may only stand first")
    if not messages or messages[-1]["role"] != "user":
        raise InputError("the last message is not the user's, so there is nothing to answer. End with a user message")
    return messages
