"""Where the tasks of a run live, in the run itself or in the folder of one that joined later; with their models."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from multitune.config.adapters import adapter_of_all_tasks, expand_adapters
from multitune.config.load import load_config
from multitune.config.schema import AdapterConfig, RunConfig
from multitune.core.bases import BASE
from multitune.core.records import Split
from multitune.core.results.routing import Role
from multitune.core.run_folder import RunFolder
from multitune.data.task_input import TaskInput
from multitune.deployment.select import Candidate
from multitune.inference.local import LocalModel
from multitune.inference.predict import chosen_rows
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
from multitune.training.prepare import PreparedRun, prepare_run


@dataclass(frozen=True, slots=True)
class TaskHome:
    """One task: the folder that holds its predictions, and the run that holds its data."""

    folder: RunFolder
    prepared: PreparedRun
    task: str

    @property
    def item(self) -> TaskInput:
        """Its rows."""
        return self.prepared.tasks[self.task]

    @property
    def evaluated(self) -> tuple[Split, list[int]]:
        """The split of the final table, and the places of its rows in it."""
        config, settings = self.prepared.config, self.prepared.config.evaluate
        return settings.split, chosen_rows(self.item, settings.split, seed=config.seed, limit=settings.limit)

    def model(self, bank: AdapterBank, adapter: str) -> LocalModel:
        """An adapter of a bank, as it answers this task."""
        return LocalModel(bank, adapter, self.prepared.chat, self.prepared.config)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The base and the adapters that were trained on it in this folder, whose predictions lie there."""
        return (BASE, *(plan.spec.name for plan in self.prepared.adapters if self.task in plan.spec.tasks))


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run with all its tasks, and one backbone with all its adapters."""

    folder: RunFolder
    main: PreparedRun
    homes: Mapping[str, TaskHome]  # task -> where it lives, those that joined later last
    bank: AdapterBank

    @property
    def config(self) -> RunConfig:
        """The run's own."""
        return self.main.config

    @property
    def shared(self) -> str | None:
        """The adapter that learned all tasks of the run, if it has one."""
        return shared_adapter(self.folder, self.config)

    def candidates(self, task: str) -> list[Candidate]:
        """What could answer a task: base, adapters that learned it, and for one that joined the shared one too."""
        home = self.homes[task]
        if home.folder == self.folder:
            return [one for one in self.all_candidates() if one.name in home.subjects]
        found = [Candidate(BASE, "base", 0)]
        if self.shared:
            found.append(Candidate(self.shared, "shared", 0, adapter_path(self.shared)))
        return [*found, Candidate(task, "alone", len(self.bank[task].weights), joined_path(task))]

    def all_candidates(self) -> list[Candidate]:
        """The base and every adapter that was loaded, with what each is to its tasks and its parameters."""
        sizes = {name: len(self.bank[name].weights) for name in self.bank.names}
        own = candidates_of(self.config, sizes)
        joined = [task for task, home in self.homes.items() if home.folder != self.folder]
        return [*own, *(Candidate(t, "alone", sizes[t], joined_path(t)) for t in joined if t in sizes)]


def open_run_models(
    folder: RunFolder,
    main: PreparedRun,
    joined: Mapping[str, PreparedRun],
    *,
    backbone: Backbone | None = None,
    bank: AdapterBank | None = None,
    only: Collection[str] | None = None,
) -> OpenRun:
    """Load the adapters of a run beside one backbone.

    Args:
        folder: of the run.
        main: its data.
        joined: task that joined later -> its data.
        backbone: the run's base, without a bank; loaded when None.
        bank: with the backbone, and adapters that are loaded already; a new one when None.
        only: the adapters to load; all when None.

    Raises:
        AdapterError: an adapter is damaged or gone.
    """
    bank = bank or AdapterBank(
        backbone or load_backbone(main.ref, main.config.device, main.config.dtype, main.config.quantization)
    )
    paths = {plan.spec.name: folder.adapter(plan.spec.name) for plan in main.adapters}
    paths |= {task: folder.added(task).adapter(task) for task in joined}
    for name, path in paths.items():
        if name not in bank.names and (only is None or name in only):
            load_adapter(bank, path, name)
    homes = {task.name: TaskHome(folder, main, task.name) for task in main.config.tasks}
    homes |= {task: TaskHome(folder.added(task), prepared, task) for task, prepared in joined.items()}
    return OpenRun(folder, main, homes, bank)


def read_joined(folder: RunFolder) -> dict[str, PreparedRun]:
    """Task that joined later, and whose training came to its end -> its data."""
    return {task: prepare_run(load_config(folder.added(task).config)) for task in folder.joined}


def candidates_of(config: RunConfig, sizes: Mapping[str, int]) -> list[Candidate]:
    """The base and a run's own adapters, with what each is to its tasks.

    Args:
        config: of the run.
        sizes: adapter -> its parameters; one that is not there is no candidate.
    """
    shared = adapter_of_all_tasks(config)
    found = [Candidate(BASE, "base", 0)]
    for adapter in expand_adapters(config):
        role: Role = "shared" if adapter == shared else _role(adapter)
        if adapter.name in sizes:
            found.append(Candidate(adapter.name, role, sizes[adapter.name], adapter_path(adapter.name)))
    return found


def _role(adapter: AdapterConfig) -> Role:
    if adapter.stack_on is not None:
        return "residual"
    return "alone" if len(adapter.tasks) == 1 else "group"


def shared_adapter(folder: RunFolder, config: RunConfig) -> str | None:
    """The name of the run's adapter that learned all its tasks, if it has one."""
    adapter = adapter_of_all_tasks(config)
    return adapter.name if adapter and folder.adapter(adapter.name).is_dir() else None


def adapter_path(name: str) -> str:
    """Where an adapter of the run itself lies in its folder, as a routing table has it."""
    return f"adapters/{name}"


def joined_path(task: str) -> str:
    """Where the adapter of a task that joined later lies."""
    return str(Path("added") / task / "adapters" / task)
