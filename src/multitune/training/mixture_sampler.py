"""The mixture for those who keep their trainer: a torch sampler over several sets, resumable, with all schedules."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, final

from pydantic import ValidationError
from torch.utils.data import Sampler

from multitune.config.faults import fault_lines
from multitune.config.schema import MixtureConfig
from multitune.core.errors import ConfigError, MixtureError, suggest
from multitune.core.seeds import generator
from multitune.mixture.sampler import Member, Stream, StreamPlan, StreamState, plan_steps

STREAM = "sampler"  # the name under which its random numbers are drawn


@final
class MixtureSampler(Sampler[int]):
    """Places in the concatenation of several sets, drawn as a run's mixture draws them.

    It is the whole training: one epoch of it has `steps` times `batch_size` rows. What step k draws is a function of
    the settings, k and the feedback before it, so that a training that was stopped goes on with the same rows. The
    rows of a step are shuffled, so that its micro-batches mix the sets as the step does.

    >>> sampler = multitune.MixtureSampler({"colours": 40, "copy": 400}, batch_size=8, steps=50)
    >>> len(sampler), len(list(sampler))
    (400, 400)
    >>> {name: round(share, 2) for name, share in sampler.shares(0).items()}  # `anneal` begins by size
    {'colours': 0.09, 'copy': 0.91}
    >>> sampler.set_of(39), sampler.set_of(40)  # of a place in the concatenation
    ('colours', 'copy')
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        batch_size: int,
        epochs: float = 1.0,
        steps: int | None = None,
        mixture: Mapping[str, Any] | None = None,
        fixed: Mapping[str, float] | None = None,
        mean_loss_tokens: Mapping[str, float] | None = None,
        seed: int = 17,
    ) -> None:
        """Plan the draws.

        Args:
            sizes: set -> its rows, in the order in which the sets are concatenated.
            batch_size: rows of an optimizer step: of a device, times gradient accumulation, times devices.
            epochs: passes over the rows of the sets without a fixed share, on average.
            steps: optimizer steps; overrides `epochs`.
            mixture: the section `mixture` of a run file, such as {"schedule": "focus", "max_repeats": 2}.
            fixed: set -> its fixed share of the draws, such as general data against forgetting.
            mean_loss_tokens: set -> mean tokens with loss of a row, for `unit: tokens`.
            seed: all draws follow from it.

        Raises:
            ConfigError: `mixture` is not valid.
            MixtureError: no sets, an empty one, or a share of a set that is not there.
        """
        self._mixture = _validated(mixture or {})
        fixed, tokens = fixed or {}, mean_loss_tokens or {}
        for name in (*fixed, *tokens):
            if name not in sizes:
                raise MixtureError(f"sampler: {name!r} is not among the sets. {suggest(name, sizes)}")
        members = [Member(name, size, tokens.get(name, 1.0), fixed.get(name)) for name, size in sizes.items()]
        rows = sum(size for name, size in sizes.items() if name not in fixed) or sum(sizes.values())
        share = sum(fixed.values())
        if share >= 1.0:
            raise MixtureError(f"sampler: the fixed shares add up to {share:g}; leave some for the others")
        self._steps = plan_steps(rows, max(batch_size, 1), epochs, share) if steps is None else steps
        self._plan = StreamPlan(seed, STREAM, batch_size, self._steps)
        self._stream = Stream(members, self._mixture, self._plan)
        self._names = list(sizes)
        self._first = dict(zip(self._names, accumulate(sizes.values(), initial=0), strict=False))
        self._settings = {"sizes": dict(sizes), "batch_size": batch_size, "steps": self._steps, "seed": seed}
        self._start, self._drawn = 0, 0

    def __len__(self) -> int:
        """Rows of the whole training, from where it goes on."""
        return (self._steps - self._start) * self._plan.batch_size

    def __iter__(self) -> Iterator[int]:
        """Places in the concatenation, step by step."""
        for step in range(self._start, self._steps):
            self._drawn = max(self._drawn, step + 1)
            draws = self._stream.draw(step)
            for place in generator(self._plan.seed, STREAM, "order", step).permutation(len(draws)):
                draw = draws[place]
                yield self._first[draw.task] + draw.index

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self._steps

    def shares(self, step: int) -> dict[str, float]:
        """The chance that a draw of a step falls on each set, in the order given; they add up to one."""
        shares = self._stream.shares(step)
        return {name: shares[name] for name in self._names}

    def counts(self, step: int) -> dict[str, int]:
        """Draws of each set in all steps before this one."""
        counts = self._stream.achieved(step)
        return {name: counts[name] for name in self._names}

    def set_of(self, place: int) -> str:
        """The set to which a place in the concatenation belongs."""
        return self._names[bisect_right(list(self._first.values()), place) - 1]

    def feedback(self, losses: Mapping[str, float]) -> None:
        """Note validation losses per set; `focus` uses them in the steps that are not drawn yet.

        A loader draws ahead of the training, so that a step or more passes before they show.

        Args:
            losses: set -> mean loss; a set may be missing.
        """
        self._stream.feedback(self._drawn - 1, losses)

    def freeze(self, name: str) -> bool:
        """Draw a set no more; its share goes to the others. False, and nothing changes, where it is the last.

        Raises:
            MixtureError: no set has this name.
        """
        return self._stream.freeze(name, self._drawn - 1)

    def set_epoch(self, epoch: int) -> None:
        """Called by trainers at the start of each epoch; there is only one.

        Raises:
            MixtureError: it is not the first.
        """
        if epoch > 0:
            raise MixtureError(
                f"sampler: it holds the whole training, {self._steps} steps. Set the trainer to 1 epoch, and give the "
                "passes to the sampler as `epochs`"
            )

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on, as JSON can hold it.

        Args:
            step: optimizer steps that are done, as the trainer counts them: a loader draws ahead. 0 for a trainer
                that skips the rows of a resumed run itself, as that of transformers does. What was drawn when None.
        """
        done = self._drawn if step is None else step
        return {"settings": self._settings, "step": done, "feedback": self._stream.state().model_dump(mode="json")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken.

        Raises:
            MixtureError: it is the state of a sampler with other sets, batch size, length or seed.
        """
        theirs = state["settings"]
        differing = [name for name, value in self._settings.items() if theirs.get(name) != value]
        if differing:
            name = differing[0]
            raise MixtureError(
                f"sampler: the state has {name} {theirs.get(name)}, this one {self._settings[name]}. Give the "
                "settings that it began with"
            )
        self._stream.restore(StreamState.model_validate(state["feedback"]))
        self._start = self._drawn = int(state["step"])


def _validated(mixture: Mapping[str, Any]) -> MixtureConfig:
    try:
        found = MixtureConfig.model_validate(dict(mixture))
    except ValidationError as error:
        faults = fault_lines(error, MixtureConfig)
        raise ConfigError("\n".join(f"sampler: mixture.{fault}" for fault in faults)) from error
    if found.share_prefix == "document":
        raise ConfigError(
            "sampler: mixture.share_prefix is 'document', for packs that share what rows begin with; those of other "
            "trainers do not. Leave it out"
        )
    return found
