"""The models that a finished run can answer with: its base and its adapters, loaded from its folder."""

from multitune.config.adapters import expand_adapters
from multitune.config.schema import RunConfig
from multitune.core.bases import BASE, BaseRef
from multitune.core.errors import RunFolderError
from multitune.core.routing_versions import require_table
from multitune.core.run_folder import RunFolder
from multitune.inference.local import LocalModel
from multitune.inference.predict import Subject
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
from multitune.training.prepare import PreparedRun


def open_subjects(prepared: PreparedRun, folder: RunFolder, backbone: Backbone | None = None) -> list[Subject]:
    """The base and every adapter of a run, loaded from its folder.

    Args:
        prepared: the run.
        folder: of the run.
        backbone: the run's base, without a bank; loaded when None.

    Raises:
        RunFolderError: an adapter is missing because the run was not finished.
    """
    config = prepared.config
    bank = AdapterBank(backbone or load_backbone(prepared.ref, config.device, config.dtype, config.quantization))
    subjects = [Subject(BASE, LocalModel(bank, BASE, prepared.chat, config))]
    for plan in prepared.plans:
        name, path = plan.spec.name, folder.adapter(plan.spec.name)
        if not path.is_dir():
            raise RunFolderError(f"{path}: no such adapter; the run was not finished. Go on with --resume")
        if config.method == "full":
            tuned = AdapterBank(load_backbone(BaseRef(name, str(path)), config.device, config.dtype))
            subjects.append(Subject(name, LocalModel(tuned, BASE, prepared.chat, config)))
        else:
            load_adapter(bank, path, name)
            subjects.append(Subject(name, LocalModel(bank, name, prepared.chat, config)))
    return subjects


def shipped_adapters(folder: RunFolder, config: RunConfig) -> dict[str, str]:
    """Task -> the adapter it ships with; in a run without a routing table the one that learned the most tasks."""
    if folder.routing_versions:
        return require_table(folder).adapters
    widest = sorted(expand_adapters(config), key=lambda adapter: -len(adapter.tasks))
    return {task.name: next(a.name for a in widest if task.name in a.tasks) for task in config.tasks}
