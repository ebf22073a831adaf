"""What the result of a run depends on: written down when it begins, and compared before a resumed one goes on."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from multitune.config.audit import AuditConfig
from multitune.config.load import dump_config, holds_config, load_config, write_config
from multitune.config.schema import RunConfig
from multitune.config.source import SourceConfig
from multitune.core.errors import AdapterError, RunFolderError
from multitune.core.files import files_digest
from multitune.core.results.run import BaseRecord, DataRecord, Versions
from multitune.core.run_folder import RunFolder
from multitune.core.versions import versions
from multitune.model.backbone import Backbone
from multitune.model.files import CONFIG, WEIGHTS
from multitune.training.prepare import PreparedRun

REMEDY = "Put it back, or start again with --overwrite"


def begin(run: PreparedRun, backbone: Backbone, folder: RunFolder, overwrite: bool) -> None:
    """Begin the folder of a run, which is locked. The run file comes last: where it is, the rest is there too.

    Raises:
        RunFolderError: it holds a run that is not to be overwritten, or something that is not ours.
    """
    if not overwrite:
        require_new(folder)  # again: another process may have been here since the caller looked
    folder.clear()
    _versions(run).write(folder.versions)
    run.data_record().write(folder.data)
    _base_record(run, backbone).write(folder.base)
    if run.audit:
        run.audit.write(folder.audit)
    write_config(folder.config, run.config)


def require_new(folder: RunFolder) -> None:
    """Refuse a folder that holds anything but the beginning of a run that was killed in `begin`.

    Raises:
        RunFolderError: it does.
    """
    if not folder.is_empty and not _is_half_begun(folder):
        raise RunFolderError(
            f"{folder.path}: already holds a run. Go on with it (--resume), start over (--overwrite), or change `name`"
        )


def _is_half_begun(folder: RunFolder) -> bool:
    """Whether all that it holds are files of ours that are written before the run file."""
    before = {folder.versions, folder.data, folder.base, folder.audit}
    try:
        Versions.read(folder.versions)
    except RunFolderError:
        return False
    return not folder.config.exists() and folder.kept <= before


def require_same(run: PreparedRun, folder: RunFolder) -> None:
    """Compare a run with what its folder says that it began as: run file, rows, chat template, parent adapters.

    Where things lie may have changed; what they hold may not.

    Raises:
        RunFolderError: the folder holds another run.
    """
    began = load_config(folder.require().config)
    if _without_places(began) != _without_places(run.config):
        raise RunFolderError(
            f"{folder.config}: this run was started with another config, and cannot go on with a changed one "
            f"({_changed(_nowhere(began), _nowhere(run.config))}). Undo the change, or start again with --overwrite"
        )
    before, now = DataRecord.read(folder.data).sets, run.data_record().sets
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        raise RunFolderError(
            f"{folder.data}: the rows of {changed[0]!r} changed since the run began. Put them back, or start again "
            "with --overwrite"
        )
    if not folder.base.is_file():  # begun by a version that wrote none
        if began.base != run.config.base:
            raise RunFolderError(f"{folder.config}: this run was started with the base {began.base!r}. {REMEDY}")
        return
    base = BaseRecord.read(folder.base)
    if base.chat != run.chat.fingerprint:
        raise RunFolderError(
            f"{folder.base}: the tokenizer or the chat template of {run.config.base!r} changed since the run began. "
            f"{REMEDY}"
        )
    if sorted(base.parents.values()) != sorted(_parents(run).values()):
        raise RunFolderError(f"{folder.base}: an adapter that the run stacks on changed since it began. {REMEDY}")


def note_changes(run: PreparedRun, backbone: Backbone, folder: RunFolder) -> Iterator[str]:
    """Compare the weights of the base as well, and say what else may move the last bits of the result.

    The folder then holds where things lie now.

    Raises:
        RunFolderError: the run began on other weights.
    """
    if folder.base.is_file():
        before, now = BaseRecord.read(folder.base), _base_record(run, backbone)
        if before.fingerprint != now.fingerprint:
            raise RunFolderError(
                f"{folder.base}: the run began on other weights (fingerprint {before.fingerprint}) than the base "
                f"{run.config.base!r} holds now (fingerprint {now.fingerprint}). {REMEDY}"
            )
        if (before.device, before.dtype) != (now.device, now.dtype):
            yield (
                f"began on {before.device} in {before.dtype}, goes on on {now.device} in {now.dtype}: the result may "
                "differ in its last digits"
            )
    old, new = Versions.read(folder.versions).packages, _versions(run).packages
    moved = [f"{name} {old[name]} -> {new.get(name)}" for name in old if old[name] != new.get(name)]
    if moved:
        yield f"goes on with other versions ({', '.join(moved)}): the result may differ from that of one version"
    note_places(run, folder)


def note_places(run: PreparedRun, folder: RunFolder) -> None:
    """Keep where things lie now, for a run that was moved."""
    if not holds_config(folder.config, run.config):
        write_config(folder.config, run.config)


def describe(run: PreparedRun, backbone: Backbone) -> dict[str, str]:
    """What the result depends on, part by part, as text that processes of one run can compare."""
    base = _base_record(run, backbone)
    rows = {f"rows of {name}": record.model_dump_json() for name, record in run.data_record().sets.items()}
    return {
        "run file": _without_places(run.config),
        **rows,
        "tokenizer or chat template": base.chat,
        "weights of the base": base.fingerprint,
        "finished adapters that it stacks on": "\n".join(sorted(base.parents.values())),
        "kind of device": f"{backbone.device.type} in {base.dtype}",
        "packages": "\n".join(f"{name} {version}" for name, version in _versions(run).packages.items()),
    }


def _base_record(run: PreparedRun, backbone: Backbone) -> BaseRecord:
    return BaseRecord(
        name=run.config.base,
        fingerprint=backbone.fingerprint,
        chat=run.chat.fingerprint,
        parents=_parents(run),
        device=str(backbone.device),
        dtype=str(backbone.dtype).removeprefix("torch."),
        quantization=run.config.quantization,
    )


def _versions(run: PreparedRun) -> Versions:
    """With the package that quantizes the base, if one does."""
    return versions("bitsandbytes") if run.config.quantization else versions()


def _parents(run: PreparedRun) -> dict[str, str]:
    """Folder -> SHA-256 of each finished adapter that one of the run stacks on."""
    own = {plan.spec.name for plan in run.plans}
    folders = {plan.spec.parent for plan in run.plans if plan.spec.parent and plan.spec.parent not in own}
    try:
        return {folder: files_digest([Path(folder) / CONFIG, Path(folder) / WEIGHTS]) for folder in sorted(folders)}
    except OSError as error:
        raise AdapterError(f"{error.filename}: cannot be read ({error.strerror}); an adapter stacks on it") from error


def _without_places(config: RunConfig) -> str:
    """A run file without where things lie, whose contents are compared by digest, its audit and its memory."""
    return dump_config(_nowhere(config))


def _changed(began: BaseModel, now: BaseModel, section: str = "") -> str:
    """The first field that differs, with its sections."""
    for name in type(began).model_fields:
        one, other = getattr(began, name), getattr(now, name)
        if one != other and isinstance(one, BaseModel) and isinstance(other, BaseModel):
            return _changed(one, other, f"{section}{name}.")
        if one != other:
            return f"{section}{name}"
    return "in its written form"


def _nowhere(config: RunConfig) -> RunConfig:
    nowhere = {"data": SourceConfig()}
    fields = {"name": "run", "output": "", "base": "", "audit": AuditConfig(), "memory": None}
    sets = {
        group: tuple(one.model_copy(update=nowhere) for one in getattr(config, group))
        for group in ("tasks", "general", "retention")
    }
    adapters = config.adapters
    if not isinstance(adapters, str):
        names = {None, *(adapter.name for adapter in adapters if not isinstance(adapter, str)), "shared"}
        adapters = tuple(
            adapter
            if isinstance(adapter, str) or adapter.stack_on in names
            else adapter.model_copy(update={"stack_on": "a finished adapter"})
            for adapter in adapters
        )
    return config.model_copy(update={**fields, "adapters": adapters, **sets})
