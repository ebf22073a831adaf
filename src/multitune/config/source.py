"""Where the rows of a task come from, how they are split and limited; and what all sections of a run file share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

from multitune.core.text import is_ascii_based, without_password

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Section(BaseModel):
    """Base of all sections: unknown keys, inf and nan are refused, values are not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SourceConfig(Section):
    """Where rows come from. A plain string in YAML means `{train: that string}`."""

    train: str | None = Field(default=None, description="File, folder, glob or hub id; a hub split; or an SQL query.")
    validation: str | None = Field(default=None, description="As `train`. Absent: carved from train by hash.")
    test: str | None = Field(default=None, description="As `train`. Absent: carved from train by hash.")
    hub: str | None = Field(default=None, description="Hub id; train, validation and test then name its splits.")
    config: str | None = Field(default=None, description="Configuration of the hub set, such as `main`.")
    revision: str | None = Field(default=None, description="Commit or tag of the hub set.")
    sql: str | None = Field(
        default=None, description="SQLAlchemy URL, with ${NAME} of the environment; splits are queries."
    )

    encoding: str = Field(default="utf-8", description="Of text files, such as `windows-1252`.")
    sheet: str | None = Field(default=None, description="Sheet of a workbook that has several.")
    required: tuple[str, ...] = Field(
        default=(), description="Columns that a row must fill; rows that do not are left out, and counted."
    )

    @field_validator("encoding")
    @classmethod
    def _is_ascii_based(cls, encoding: str) -> str:
        if not is_ascii_based(encoding):
            raise ValueError(f"{encoding!r} is unknown, or no encoding of which ASCII is a part. Save it as UTF-8")
        return encoding

    @field_serializer("sql", when_used="json")  # whatever is written or sent: run folders, reports, trackers
    def _without_password(self, sql: str | None) -> str | None:
        return sql and without_password(sql)


class SplitConfig(Section):
    """Shares of rows held out where a source names no such split."""

    validation: Fraction = Field(default=0.1, description="Share of the rows held out to choose by.")
    test: Fraction = Field(default=0.1, description="Share of the rows held out to report.")


class LimitConfig(Section):
    """Most rows to use of each split, drawn with the run's seed. A plain number means `{train: that number}`.

    Of a retention set, a plain number limits whichever rows it answers.
    """

    train: int | None = Field(default=None, ge=1, description="Most training rows.")
    validation: int | None = Field(default=None, ge=1, description="Most validation rows.")
    test: int | None = Field(default=None, ge=1, description="Most test rows.")
