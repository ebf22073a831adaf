"""Where the rows of a task come from, as a run file says it; and what all sections of a run file have in common."""

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from multitune.core.text import without_password


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

    @field_serializer("sql", when_used="json")  # whatever is written or sent: run folders, reports, trackers
    def _without_password(self, sql: str | None) -> str | None:
        return sql and without_password(sql)
