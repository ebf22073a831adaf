"""What a run file says of the audit: when it stops a run, how many rows it looks at, thresholds, accepted findings."""

from typing import Annotated, Literal

from pydantic import Field

from multitune.config.source import Section

ACCEPTED = "audit-accepted.yaml"  # beside the run file, unless `audit.accept` names another


class AuditConfig(Section):
    """How the data is audited before training. A plain word means `{mode: that word}`."""

    mode: Literal["off", "warn", "strict"] = Field(
        default="warn",
        description="off: no audit before training; warn: open findings of severity high are shown; strict: they stop "
        "the run.",
    )
    rows: int = Field(
        default=2000, ge=1, description="Most rows of each set that are audited before training, drawn with the seed."
    )
    thresholds: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        default_factory=dict[str, float],
        description="By CHECK.THRESHOLD; the default of each if absent.",
    )
    accept: str | None = Field(
        default=None,
        description=f"File of the findings that a person accepted; {ACCEPTED} beside the run file if absent.",
    )
    skip: tuple[str, ...] = Field(default=(), description="Checks that are not made, by name.")
