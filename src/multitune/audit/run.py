"""All checks over the sets of a run: what they find, the worst first, with what was accepted and what was skipped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from multitune.audit.accepted import read_accepted, stale_keys, with_accepted
from multitune.audit.checks import Audited, AuditSet, Check, Found, Mixture
from multitune.audit.registry import all_checks, check_settings, thresholds
from multitune.audit.sets import sampled
from multitune.config.audit import AuditConfig
from multitune.core.errors import MissingExtraError
from multitune.core.results.audit import SEVERITIES, Audit, AuditedSet, Finding, Measure, SkippedCheck

Progress = Callable[[str, int, int], None]  # (title of a check, rows done, rows there are)


def unreported(title: str, done: int, rows: int) -> None:
    """A progress that nobody sees."""


@dataclass(frozen=True, slots=True)
class AuditInput:
    """What is audited, and how."""

    name: str  # of the run
    sets: Sequence[AuditSet]
    mixture: Mixture
    seed: int
    config: AuditConfig
    checks: Sequence[Check] = field(default_factory=all_checks)

    def __post_init__(self) -> None:
        check_settings(self.config, self.checks)

    @property
    def rows(self) -> int:
        """Rows of all sets."""
        return sum(sum(one.sizes().values()) for one in self.sets)

    @property
    def made(self) -> list[Check]:
        """The checks that are not skipped."""
        return [check for check in self.checks if check.name not in self.config.skip]

    def sample(self, most: int) -> "AuditInput":
        """The same with at most so many rows of each set."""
        return replace(self, sets=[sampled(one, most, self.seed) for one in self.sets])

    def seen_by(self, check: Check, advance: Callable[[int], None] = lambda rows: None) -> Audited:
        """What one check gets to see."""
        return Audited(self.sets, self.mixture, self.seed, thresholds(check, self.config), advance)


def require_settings(config: AuditConfig) -> None:
    """Refuse what a run file says of the audit before any row is read.

    Raises:
        ConfigError: an unknown check or threshold, or a fault in the file of accepted findings.
        PluginError: a check of another package cannot be loaded.
    """
    check_settings(config, all_checks())
    read_accepted(config.accept)


def run_checks(given: AuditInput, progress: Progress = unreported, *, rows: int | None = None) -> Audit:
    """Make every check.

    Args:
        given: what is audited.
        progress: is told of each check how many rows it has looked at.
        rows: most rows of each set that are looked at; all when None.

    Raises:
        ConfigError: the settings name an unknown check or threshold, or the accepted findings have a fault.
        PluginError: a check of another package failed.
    """
    accepted = read_accepted(given.config.accept)
    began, seen = time.monotonic(), given.sample(rows) if rows else given
    findings: list[Finding] = []
    measures: list[Measure] = []
    skipped = [SkippedCheck(check=name, reason="`audit.skip` names it") for name in given.config.skip]
    for check in given.made:
        for found in _made(check, seen, progress):
            if isinstance(found, Finding):
                findings.append(found)
            elif isinstance(found, Measure):
                measures.append(found)
            else:
                skipped.append(found)
    is_sample = seen.rows < given.rows
    complete = {check.name for check in given.made} - {one.check for one in skipped}
    return Audit(
        name=given.name,
        sets=tuple(AuditedSet(name=one.name, role=one.role, rows=one.sizes()) for one in seen.sets),
        sampled=is_sample,
        findings=tuple(sorted(with_accepted(findings, accepted), key=_order)),
        measures=tuple(measures),
        skipped=tuple(skipped),
        stale=() if is_sample else stale_keys(findings, accepted, complete),
        seconds=time.monotonic() - began,
    )


def _made(check: Check, given: AuditInput, progress: Progress) -> list[Found]:
    rows, done = given.rows, 0

    def advance(more: int) -> None:
        nonlocal done
        done = min(done + more, rows)
        progress(check.title, done, rows)

    progress(check.title, 0, rows)
    found: list[Found] = []
    try:
        for one in check.find(given.seen_by(check, advance)):
            found.append(one)  # one by one: what was found before an extra is missing stays
    except MissingExtraError as error:
        found.append(SkippedCheck(check=check.name, reason=str(error)))
    progress(check.title, rows, rows)
    return found


def _order(finding: Finding) -> tuple[int, str, tuple[str, ...], str]:
    return SEVERITIES.index(finding.severity), finding.check, finding.sets, finding.subject
