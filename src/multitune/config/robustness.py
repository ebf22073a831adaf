"""What a run file says of measurements beside the scores: groups, swapped terms, perturbed rows, bias, secrets."""

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator

from multitune.config.source import Section

Perturbation = Literal["typos", "lower", "upper", "spaces", "long_before", "long_after", "label_words", "suffix"]
Suite = Literal["crows_pairs", "winobias", "bbq"]
SUITES: tuple[Suite, ...] = get_args(Suite)


class RobustnessConfig(Section):
    """What is measured of the answers beside their scores; nothing when absent."""

    slices: tuple[str, ...] = Field(
        default=(),
        description="Columns of the rows by whose values each task's score is shown, with the gap between groups.",
    )

    flips: bool = Field(
        default=False,
        description="How many answers change where women and men, or other groups of people, are swapped in a text.",
    )
    perturb: bool | tuple[Perturbation, ...] = Field(
        default=False,
        description="Score rows that are changed but for their right answer: true for every way, or a list of some: "
        f"{', '.join(get_args(Perturbation))}.",
    )

    bias: Mapping[Suite, str | None] = Field(
        default={},
        description="Suites of social bias, as change against the base: a list of crows_pairs, winobias and bbq, with "
        "rows from the hub; or each with its file or folder.",
    )

    secrets: bool = Field(
        default=False,
        description="Whether what ships completes personal data and secrets of its training answers that the base "
        "does not.",
    )

    @field_validator("bias", mode="before")
    @classmethod
    def _list_of_suites(cls, bias: Any) -> Any:
        named = isinstance(bias, list | tuple) and all(isinstance(one, str) for one in bias)
        return dict.fromkeys(bias) if named else bias

    def without_robustness(self) -> Self:
        """The same, with nothing of it asked for."""
        return self.model_copy(update={name: one.default for name, one in RobustnessConfig.model_fields.items()})

    @property
    def perturbations(self) -> tuple[Perturbation, ...]:
        """The ways to change a row that are asked for."""
        return (get_args(Perturbation) if self.perturb else ()) if isinstance(self.perturb, bool) else self.perturb

    @property
    def asks_models(self) -> bool:
        """Whether a model has to answer further rows."""
        return self.flips or bool(self.perturbations) or bool(self.bias) or self.secrets

    @property
    def asks_anything(self) -> bool:
        """Whether anything is to be measured."""
        return bool(self.slices) or self.asks_models
