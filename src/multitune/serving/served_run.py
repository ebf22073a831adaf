"""A run as it is served: the names that requests may give, the adapter each of them means, and the tasks' labels."""

import logging
from dataclasses import dataclass
from functools import cached_property

from multitune.core.bases import BASE
from multitune.core.errors import InputError, MultituneError, RouterError, suggest
from multitune.core.run_folder import RunFolder
from multitune.data.tokenizer import ChatFormat
from multitune.deployment.answering import AUTO, Answerer
from multitune.evaluation.subjects import shipped_adapters
from multitune.serving.adapters import ServedAdapters
from multitune.serving.backend import Backend, UpstreamOptions
from multitune.serving.decisions import CONVERSATION, NAMED, NO_ROUTER, ROUTED, Route
from multitune.serving.embedded import Embedded
from multitune.serving.engine import EngineOptions
from multitune.serving.learning.conversations import SWITCH, EarlierRoute
from multitune.serving.learning.learner import Learner, LearningOptions
from multitune.serving.responses import ParityRow
from multitune.serving.upstream import Upstream
from multitune.tasks.task import Task

_log = logging.getLogger(__name__)
NOTHING_LEARNED = LearningOptions()
TASK_PREFIX, ADAPTER_PREFIX = "task:", "adapter:"  # before a name that both a task and an adapter have


class UnknownModelError(InputError):
    """A request names no task and no adapter of the run."""


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name that a request may give as its model."""

    name: str
    root: str  # what it stands for: an adapter's folder, or the base
    parent: str | None  # the base, for an adapter


class ServedRun:
    """A run's adapters at a backend, and the router in front of it."""

    def __init__(
        self,
        folder: RunFolder,
        options: EngineOptions | UpstreamOptions,
        learning: LearningOptions = NOTHING_LEARNED,
    ) -> None:
        """Load the base and all adapters, or find them at an upstream.

        Args:
            folder: of the run.
            options: of the engine in this process, or of the server that answers in its stead.
            learning: whether its router learns from use.

        Raises:
            InputError: the run trained whole models, or its base cannot be served so.
        """
        self.folder = folder.require()
        self._answerer = Answerer(folder)
        self.config = self._answerer.config
        if self.config.method != "lora":
            raise InputError(
                f"{folder.path}: its models were trained as a whole (method: {self.config.method}), and the server "
                "holds one base with adapters. Serve one of them from its folder with vLLM"
            )
        self.backend: Backend = self._opened(options)
        self.adapters = ServedAdapters(self.backend, self.folder.path)
        self.parity: list[ParityRow] = []
        self.learner = Learner(self.folder, learning)
        self.router_fault = ""  # why requests to auto go to the base, where they do
        self._own: set[str] = set()  # adapters of the run, which come and go with its folder
        self._state = ()
        self.refresh()

    def _opened(self, options: EngineOptions | UpstreamOptions) -> Backend:
        if isinstance(options, EngineOptions):
            return Embedded(self._answerer.bank, self.chat, options, self.config.train.pack_tokens)
        if self.routes_on_engine and self.folder.routing_versions:
            raise InputError(
                f"{self.folder.path}: its router reads layers of the base (router.features: "
                f"{self.config.router.features}), which no upstream gives. Serve it without --upstream, or train with "
                "router.features: embedding"
            )
        return Upstream(options, self.config.base, list(self.folder.adapters))

    def load(self, name: str, path: str, replace: bool) -> None:
        """Serve one more adapter, or another version of one, for as long as the server runs.

        Raises:
            InputError: it is not as it must be, or the backend does not take it.
        """
        self.adapters.load(name, path, replace)
        if fault := self.backend.faults.get(name):
            self.adapters.unload(name)
            raise InputError(f"lora_name {name!r}: {fault}")

    @property
    def chat(self) -> ChatFormat:
        """How the base reads text."""
        return self._answerer.chat

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks of the run, and those that joined."""
        return self._answerer.tasks

    def refresh(self) -> bool:
        """Take over what `multitune add`, `remove` and `select` did to the folder; whether anything had changed.

        Raises:
            InputError: an adapter that joined is damaged; what was served before goes on.
        """
        self.backend.refresh()
        state = (*map(str, self.folder.routing_versions), *self.folder.joined)
        if self._own and state == self._state:
            return False
        found = self.folder.adapters
        for name in (name for name in found if name not in self._own):
            self.adapters.load(name, str(found[name].resolve()), replace=True)
        self._answerer.forget()
        self._adopt_router()
        for name in (self._own - found.keys()).intersection(self.adapters.names):
            self.adapters.unload(name)
        self._own, self._state = set(found), state
        return True

    def _adopt_router(self) -> None:
        """Route by the version in force; without one, or by a damaged one, nothing is routed."""
        if not self.folder.routing_versions:
            return
        self.router_fault = ""
        try:
            self.learner.adopt(self._answerer.router, shipped_adapters(self.folder, self.config))
        except MultituneError as error:
            _log.warning("the router cannot decide: %s", error)
            self.router_fault = str(error)
            self.learner.adopt(None, {})

    def faults(self) -> dict[str, str]:
        """Adapter -> why it cannot be asked: it is not there, or its check at start failed and it is still served."""
        served = self.adapters.versions
        failed = {row.adapter: row.fault for row in self.parity if served.get(row.adapter) == row.version}
        return {**{name: fault for name, fault in failed.items() if fault}, **self.backend.faults}

    @property
    def models(self) -> list[ModelName]:
        """All names that a request may give: auto, the base, tasks and adapters."""
        return [self.model(name) for name in self._names]

    @property
    def _names(self) -> list[str]:
        return [AUTO, BASE, *self.tasks, *(name for name in self.adapters.names if name not in self.tasks)]

    def model(self, name: str) -> ModelName:
        """What stands behind a name that a request may give.

        Raises:
            UnknownModelError: nothing has it.
        """
        route, base = self.named(name), self.config.base
        if route is None or (route.task is None and route.adapter == BASE):
            return ModelName(name, base, None)
        return ModelName(name, str(self.adapters.paths.get(route.adapter, base)), base)

    @cached_property
    def routes_on_engine(self) -> bool:
        """Whether the router reads layers of the model, which the engine's thread owns."""
        return self.config.router.features.startswith("layer:")

    def named(self, model: str) -> Route | None:
        """Where a name leads; None for `auto`.

        Raises:
            UnknownModelError: nothing has it.
        """
        if model == AUTO:
            return None
        if model in (BASE, self.config.base):
            return Route(task=None, adapter=BASE, reason=NAMED)
        task = model.removeprefix(TASK_PREFIX)
        if task in self.tasks and not model.startswith(ADAPTER_PREFIX):
            adapter = shipped_adapters(self.folder, self.config).get(task, BASE)
            return Route(task=task, adapter=adapter, reason=NAMED)
        name = model.removeprefix(ADAPTER_PREFIX)
        if name in self.adapters.names and not model.startswith(TASK_PREFIX):
            return Route(task=None, adapter=name, reason=NAMED)
        raise UnknownModelError(f"The model {model!r} does not exist. {suggest(model, self._names)}")

    def route(self, text: str, request: str = "", earlier: EarlierRoute | None = None) -> Route:
        """Where the router sends a text; the base, with the reason, if it cannot say.

        Args:
            text: what the user wrote.
            request: the id by which feedback may name it; nothing is kept of a text without one.
            earlier: where the turns before went, if it is not the first of a conversation.
        """
        try:
            return self._routed(text, request, earlier)[0]
        except MultituneError as error:
            _log.warning("the router cannot decide: %s", error)
            return Route(task=None, adapter=BASE, reason=NO_ROUTER)

    def probe(self, text: str) -> tuple[Route, dict[str, float]]:
        """Where the router would send a text, and the probability of each task; nothing is kept.

        Raises:
            RouterError: the run has no router.
        """
        return self._routed(text, "", None)

    def _routed(self, text: str, request: str, earlier: EarlierRoute | None) -> tuple[Route, dict[str, float]]:
        if not self.folder.routing_versions:
            return Route(task=None, adapter=self._answerer.adapter_of_all_tasks(), reason=NAMED), {}
        live = self.learner.live
        if live is None:
            raise RouterError(f"{self.folder.path}: its router cannot be read. Make another: multitune select")
        found, values = self.learner.decide(live, text, request)
        probabilities = {
            task: round(float(p), 6) for task, p in zip(live.router.classifier.tasks, values, strict=True)
        }
        if earlier and earlier.adapter != found.adapter and earlier.adapter in self.adapters.names:
            kept = sum(p for task, p in probabilities.items() if live.table[task] == earlier.adapter)
            if found.reason != ROUTED or found.probability - kept < SWITCH:
                route = Route(task=earlier.task, adapter=earlier.adapter, probability=kept, reason=CONVERSATION)
                return route, probabilities
        probability = round(found.probability, 6)
        route = Route(task=found.task, adapter=found.adapter, probability=probability, reason=found.reason)
        return route, probabilities

    def chat_of(self, route: Route) -> ChatFormat:
        """How prompts of a route are read; a task that joined may have a system text of its own."""
        return self._answerer.chat_of(route.task if route.task and route.adapter != BASE else route.adapter)

    def task_of(self, route: Route) -> Task | None:
        """The task whose shots and stop strings belong to a route; None where no task is meant, or any."""
        if route.reason == NAMED and route.task:
            return self.tasks[route.task]
        task = self._answerer.task_asked(route.adapter, route.task)
        return self.tasks[task] if task else None

    def close(self) -> None:
        """End the backend, once what was learned is on disk."""
        self.backend.close()
        self.learner.close()
