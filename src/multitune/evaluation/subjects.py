"""The models that a finished run can answer with: its base and its adapters, loaded from its folder."""

from multitune.core.bases import BASE, BaseRef
from multitune.core.errors import RunFolderError
from multitune.core.run_folder import RunFolder
from multitune.inference.predict import Subject
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
from multitune.training.prepare import PreparedRun


def open_subjects(prepared: PreparedRun, folder: RunFolder) -> list[Subject]:
    """The base and every adapter of a run, loaded from its folder.

    Raises:
        RunFolderError: an adapter is missing because the run was not finished.
    """
    config = prepared.config
    bank = AdapterBank(load_backbone(prepared.ref, config.device, config.dtype))
    subjects = [Subject(BASE, bank, BASE)]
    for plan in prepared.plans:
        name, path = plan.spec.name, folder.adapter(plan.spec.name)
        if not path.is_dir():
            raise RunFolderError(f"{path}: no such adapter; the run was not finished. Go on with --resume")
        if config.method == "full":
            tuned = AdapterBank(load_backbone(BaseRef(name, str(path)), config.device, config.dtype))
            subjects.append(Subject(name, tuned, BASE))
        else:
            load_adapter(bank, path, name)
            subjects.append(Subject(name, bank, name))
    return subjects
