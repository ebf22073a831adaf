"""The audit of a run: of all rows as its file names them, or of a sample of a prepared run before it is trained."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from multitune.audit.checks import Mixture
from multitune.audit.run import AuditInput, Progress, require_settings, run_checks, unreported
from multitune.audit.sets import audit_sets
from multitune.config.schema import RunConfig
from multitune.core.bases import resolve_base
from multitune.core.errors import AuditError
from multitune.core.events import Observe
from multitune.core.results.audit import Audit, Finding
from multitune.core.results.events import NoteEvent, PhaseEvent
from multitune.data.run_sets import RunSets, read_sets
from multitune.data.taskdata import TaskData
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.training.plan import AdapterPlan, SetSize, plan_sets
from multitune.training.prepare import PreparedRun

SHOWN = 5  # findings that a note names


def audit_rows(config: RunConfig, progress: Progress = unreported, *, rows: int | None = None) -> Audit:
    """Audit a run by its file, without tokenising a row.

    Args:
        config: its paths are absolute.
        progress: is told of each set while it is read, and of each check how many rows it has looked at.
        rows: most rows of each set that are looked at; all when None.

    Raises:
        InputError: config or data do not fit.
    """
    return run_checks(read_audited(config, progress), progress, rows=rows)


def read_audited(config: RunConfig, progress: Progress = unreported) -> AuditInput:
    """Read what is audited of a run: its sets, and how they will be drawn.

    Raises:
        InputError: config or data do not fit.
    """
    require_settings(config.audit)
    chat = ChatFormat(load_tokenizer(resolve_base(config.base, Path.cwd())), config.system, config.control_tokens)
    sets = read_sets(config, chat.ends, lambda name, done, rows: progress(f"reading {name}", done, rows))
    members = (*sets.tasks, *sets.general)
    return _input(config, sets, plan_sets(config, {data.task.name: _size(config, data) for data in members}))


def audit_prepared(prepared: PreparedRun, progress: Progress = unreported) -> Audit:
    """Audit a sample of the rows of a run that is about to be trained.

    Raises:
        InputError: the audit's settings do not fit.
    """
    given = _input(prepared.config, prepared.as_read, prepared.adapters)
    return run_checks(given, progress, rows=prepared.config.audit.rows)


def with_audit(prepared: PreparedRun, observe: Observe) -> PreparedRun:
    """A run that is about to be trained, with the audit of a sample of its rows.

    Raises:
        AuditError: `audit: strict`, and a finding of severity high is open.
        InputError: the audit's settings do not fit.
    """
    observe(PhaseEvent(name="audit"))
    audit = audit_prepared(prepared)
    if prepared.config.audit.mode == "strict":
        require_passed(audit)
    for line in audit_notes(audit):
        observe(NoteEvent(text=line))
    return replace(prepared, audit=audit)


def require_passed(audit: Audit) -> None:
    """Refuse to go on with findings that strict mode does not let pass.

    Raises:
        AuditError: there are some.
    """
    if audit.blocking:
        lines = [f"audit: strict, and {_number(audit.blocking)} of severity high open; nothing was trained"]
        lines += [f"  {line}" for line in _listed(audit.blocking)]
        raise AuditError("\n".join([*lines, "Correct the data, or accept what is no fault: multitune audit FILE"]))


def audit_notes(audit: Audit) -> list[str]:
    """What an audit found, in a few sentences: the open findings of severity high, and what it cost."""
    rows = sum(sum(one.rows.values()) for one in audit.sets)
    looked = f"audit of {f'a sample of {rows:,}' if audit.sampled else f'all {rows:,}'} rows in {audit.seconds:.1f} s"
    lower = len(audit.open) - len(audit.blocking)
    more = f"; {lower} lower" if lower else ""
    if not audit.blocking:
        return [f"{looked}: no open finding of severity high{more}"]
    lines = [f"{looked}: {_number(audit.blocking)} of severity high open{more}", *_listed(audit.blocking)]
    return [*lines, "to see them all, and what to do: multitune audit FILE"]


def _number(findings: Sequence[Finding]) -> str:
    return "1 finding" if len(findings) == 1 else f"{len(findings)} findings"


def _listed(findings: Sequence[Finding]) -> list[str]:
    lines = [f"{one.check}, {', '.join(one.sets)}: {one.message}" for one in findings[:SHOWN]]
    return [*lines, f"and {len(findings) - SHOWN} more"] if len(findings) > SHOWN else lines


def _input(config: RunConfig, sets: RunSets, plans: Iterable[AdapterPlan]) -> AuditInput:
    """The mixture is that of the adapter that draws from most sets."""
    widest = max(plans, key=lambda plan: len(plan.spec.tasks) + len(plan.spec.general))
    return AuditInput(config.name, audit_sets(sets), Mixture(widest.shares), config.seed, config.audit)


def _size(config: RunConfig, data: TaskData) -> SetSize:
    """With the mean length of the answers in characters, where shares count tokens."""
    train = data.examples["train"]
    if config.mixture.unit == "examples":
        return SetSize(len(train))
    return SetSize(len(train), sum(len(row.answer) for row in train) / max(1, len(train)))
