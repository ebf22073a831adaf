"""A finished run, opened: what it found, and its adapters, ready to answer.

It keeps its base in memory: whatever its own adapters do loads the base once at most; a comparison loads the other
model beside it.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitune.config.load import load_config, parse_config
from multitune.config.robustness import Perturbation, RobustnessConfig, Suite
from multitune.config.schema import RunConfig
from multitune.core.errors import InputError, RunFolderError, suggest
from multitune.core.events import Observe, unwatched
from multitune.core.predictions import read_predictions
from multitune.core.results.comparison import ModelComparison
from multitune.core.results.robustness import Robustness
from multitune.core.results.routing import RoutingVersion, TaskChange
from multitune.core.results.scores import Scores
from multitune.core.results.verification import Verification
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import RunFolder

if TYPE_CHECKING:
    from pandas import DataFrame

    from multitune.deployment.answering import Answer, Answerer, Conversation
    from multitune.model.backbone import Backbone
    from multitune.routing.router import Decision

Config = RunConfig | Mapping[str, Any] | Path | str  # a run, what a run file says, or the path of one


class Run:
    """A finished run: what it found, and its adapters, ready to answer.

    >>> run = multitune.open_run("runs/tiny")
    >>> run
    Run('runs/tiny')
    >>> run.scores.transfer["shared"].tasks[0].task, run.routing.version
    ('colours', 'v0001')
    >>> answer = run.generate("say w1 w7", max_new_tokens=3)
    >>> answer.adapter in run.adapters, answer.route.task
    (True, 'colours')
    """

    def __init__(self, path: Path | str, backbone: "Backbone | None" = None) -> None:
        """Open a run folder; its base is loaded when it is first needed.

        Args:
            path: the folder that `train` made.
            backbone: its base, without a bank.

        Raises:
            RunFolderError: there is no run.
        """
        self.folder = RunFolder(Path(path)).require()
        self._backbone = backbone
        self._answerer: Answerer | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def config(self) -> RunConfig:
        """What was trained."""
        return load_config(self.folder.config)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of its tasks, those that joined later last."""
        return (*(task.name for task in self.config.tasks), *self.folder.joined)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of its adapters."""
        return tuple(self.folder.adapters)

    @property
    def scores(self) -> Scores:
        """Scores, verdicts and retention on the run's own rows, joined tasks included."""
        from multitune.reporting.run_scores import read_run_scores

        return read_run_scores(self.folder)

    @property
    def robustness(self) -> Robustness | None:
        """Scores by group, flips and scores on perturbed rows, as far as they were measured."""
        return Robustness.read_if_made(self.folder.robustness)

    @property
    def routing(self) -> RoutingVersion | None:
        """What each task ships with, why, and what the router is worth; None where nothing was chosen."""
        return read_version(self.folder)

    def predictions(
        self, task: str, adapter: str | None = None, *, split: str | None = None, evaluation: str | None = None
    ) -> "DataFrame":
        """What the base and the adapters answered to the rows of a task, one row per answer.

        Args:
            task: of the run, or one that joined.
            adapter: `base` or an adapter; all when None.
            split: of the rows; the one that was scored when None.
            evaluation: the name of another evaluation; the run's own when None.

        Raises:
            InputError: there are no such answers.
        """
        from pandas import DataFrame

        folder = self.folder.evaluation(evaluation) if evaluation else self.folder
        folder = folder.added(task) if task in self.folder.joined else folder
        split = split or Scores.read(folder.scores).split
        names = [adapter] if adapter else folder.answered(task, split)
        if not names:
            raise RunFolderError(f"{folder.path}: no answers to {split} rows of {task!r}. {suggest(task, self.tasks)}")
        parts = {name: read_predictions(folder.predictions(name, task, split)) for name in names}
        fields = ("id", "output", "value", "gold", "score", "loss")
        return DataFrame(
            [{"adapter": n, **{f: getattr(p, f) for f in fields}} for n, rows in parts.items() for p in rows],
            columns=["adapter", *fields],
        )

    def route(self, text: str) -> "Decision":
        """Which adapter the router picks for a text, how sure it is, and why."""
        return self._answering().route([text])[0]

    def generate(self, prompt: "Conversation", adapter: str = "auto", max_new_tokens: int | None = None) -> "Answer":
        """The answer to a prompt, or to the messages of a chat; `generate_all` answers many at once."""
        return self.generate_all([prompt], adapter, max_new_tokens)[0]

    def generate_all(
        self, prompts: "Sequence[Conversation]", adapter: str = "auto", max_new_tokens: int | None = None
    ) -> "list[Answer]":
        """Greedy answers, in the order of the prompts.

        Args:
            prompts: texts, or messages of which the last is the user's: `[{"role": "user", "content": "…"}]`.
            adapter: its name, `base`, or `auto` for the one that the router picks.
            max_new_tokens: most tokens of an answer; 512 when None.
        """
        from multitune.inference.predict import LONGEST_ANSWER

        return self._answering().generate(prompts, adapter, max_new_tokens or LONGEST_ANSWER)

    def predict(self, task: str, rows: "Sequence[Mapping[str, Any]]", adapter: str = "auto") -> "list[Answer]":
        """Answers to rows as they stand in the data of a task: its template asks, and reads what comes back."""
        return self._answering().predict(task, rows, adapter)

    def evaluate(
        self,
        *,
        split: str | None = None,
        limit: int | None = None,
        name: str | None = None,
        observe: Observe = unwatched,
    ) -> Scores:
        """Score the adapters again; on other rows as an evaluation of its own, beside the run's."""
        from multitune.pipeline import evaluate_folder

        with self._lent() as backbone:
            scores, _ = evaluate_folder(self.path, observe, split=split, limit=limit, name=name, backbone=backbone)
        return scores

    def measure(
        self,
        *,
        slices: Sequence[str] = (),
        flips: bool = False,
        perturb: bool | Sequence[Perturbation] = False,
        bias: Sequence[Suite] | Mapping[Suite, str | None] = (),
        secrets: bool = False,
        observe: Observe = unwatched,
    ) -> Robustness:
        """Measure more of a run, as `evaluate.slices`, `flips`, `perturb`, `bias` and `secrets` do."""
        from multitune.pipeline import measure_folder

        ways = perturb if isinstance(perturb, bool) else tuple(perturb)
        suites = bias if isinstance(bias, Mapping) else dict.fromkeys(bias)
        wanted = RobustnessConfig(slices=tuple(slices), flips=flips, perturb=ways, bias=suites, secrets=secrets)

        with self._lent() as backbone:
            return measure_folder(self.path, wanted, observe, backbone)

    def compare(self, against: str, *, observe: Observe = unwatched, **how: Any) -> ModelComparison:
        """Compare the run with `openai:MODEL`, `local:BASE` or `adapter:FOLDER`; `how` as of `compare_folder`."""
        from multitune.evaluation.comparison import compare_folder

        return compare_folder(self.path, against, observe=observe, **how)

    def select(self, overrides: Sequence[str] = (), observe: Observe = unwatched) -> RoutingVersion:
        """Choose again which adapter each task ships with, and fit the router."""
        from multitune.pipeline import select_folder

        with self._lent() as backbone:
            return select_folder(self.path, observe, tuple(overrides), backbone)

    def add(
        self, config: Config, *, alone: bool = False, overwrite: bool = False, observe: Observe = unwatched
    ) -> TaskChange:
        """Train one adapter for a new task and route to it; nothing that was there before changes."""
        from multitune.deployment.extend import add_task

        new = read_config(config)
        with self._lent() as backbone:
            return add_task(self.folder, new, alone=alone, overwrite=overwrite, observe=observe, backbone=backbone)

    def remove(self, task: str) -> TaskChange:
        """Route to a task no more; one that joined later is deleted."""
        from multitune.deployment.extend import remove_task

        with self._lent() as backbone:
            return remove_task(self.folder, task, backbone)

    def export(
        self, adapter: str, to: Path | str, form: str = "peft", *, verify: bool = True, public: bool = False
    ) -> str:
        """Copy an adapter out: `peft` (also for vLLM), `gguf` for llama.cpp, or `merged`; returns how to load it.

        Unless `verify` is False, rows of the run's record are sent through it first, and one that differs is refused.

        Args:
            adapter: its name.
            to: a new folder, or `hub:OWNER/NAME` to push it there.
            form: which of the three.
            verify: whether it must answer as the record says.
            public: whether everybody may read what is pushed.

        Raises:
            VerificationError: it does not answer as the record says; nothing is left of it.
            RefusedError: the hub does not take it.
        """
        from multitune.core.hub_folders import is_on_hub
        from multitune.deployment.export import parse_form
        from multitune.deployment.push import push
        from multitune.deployment.verify import export_verified
        from multitune.reporting.card import card_or_none

        card, wanted = card_or_none(self.folder, adapter), parse_form(form)
        if public and not is_on_hub(to):
            raise InputError(f"--public: {to} is a folder here. It is for --to hub:OWNER/NAME")
        with self._spare() as backbone:
            export = partial(export_verified, card=card, verify=verify, backbone=backbone)
            if is_on_hub(to):
                return push(self.folder, adapter, str(to), wanted, public=public, export=export)
            return export(self.folder, adapter, Path(to), wanted)

    def verify(
        self,
        against: Path | str,
        adapter: str | None = None,
        *,
        limit: int | None = None,
        model: str | None = None,
        key_env: str | None = None,
    ) -> Verification:
        """Whether an exported or served model answers as this run's record says.

        Args:
            against: a PEFT or model folder, a GGUF file, or the address of an OpenAI-compatible server.
            adapter: that it is to answer as; the shared or only one when None.
            limit: most rows of each task, those first on which adapter and base differ; 32 when None.
            model: as the server names it; the adapter's name when None.
            key_env: the environment variable that holds the server's key; see `open_endpoint`.

        Raises:
            InputError: the target cannot be loaded or asked, or the run has no such record.
        """
        from multitune.deployment.recorded_rows import default_adapter, recorded_rows
        from multitune.deployment.targets import Server
        from multitune.deployment.verify import ROWS, verify_target

        name = adapter or default_adapter(self.folder)
        tasks, server = recorded_rows(self.folder, name, limit or ROWS), Server(str(against), model or name, key_env)
        with self._spare() as backbone:
            return verify_target(self.folder, name, str(against), tasks, server=server, backbone=backbone)

    def report(self, output: Path | str | None = None) -> Path:
        """Write the report as one page for a browser, and return where it is."""
        from multitune.reporting.page import write_report

        return write_report([self.path], Path(output) if output else None)

    def _answering(self) -> "Answerer":
        from multitune.deployment.answering import Answerer

        if self._answerer is None:
            self._answerer, self._backbone = Answerer(self.folder, self._backbone), None
        return self._answerer

    @contextmanager
    def _lent(self) -> "Generator[Backbone]":
        """The base, for work that brings adapters of its own; after a failure it is loaded anew."""
        backbone = self._answering().close()
        self._answerer = None
        yield backbone
        self._backbone = backbone

    @contextmanager
    def _spare(self) -> "Generator[Backbone | None]":
        """The base, if it is loaded already."""
        if self._answerer is None and self._backbone is None:
            yield None
            return
        with self._lent() as backbone:
            yield backbone


def read_config(config: Config, overrides: Sequence[str] = ()) -> RunConfig:
    """A run as the functions here take it: a RunConfig, what a run file says, or the path of one.

    Raises:
        ConfigError: with one line per fault.
    """
    if isinstance(config, RunConfig):
        return parse_config(config.model_dump(), Path(), overrides) if overrides else config
    if isinstance(config, Mapping):
        return parse_config(config, Path(), overrides)
    return load_config(config, overrides)


def open_run(path: Path | str) -> Run:
    """A finished run, from its folder.

    >>> multitune.open_run("runs/tiny").tasks
    ('colours', 'copy')
    """
    return Run(path)
