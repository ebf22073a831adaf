"""verify: whether an exported or served model answers as the record of its run says."""

from typing import Literal

from multitune.core.results.base import Document, Record

Target = Literal["peft", "merged", "gguf", "gguf_lora", "server"]  # gguf is a whole model


class VerifiedTask(Record):
    """One task's rows; losses are those of the right answer, in nats per token, None where the target tells none."""

    task: str
    rows: int
    same: int  # answers that are those of the run
    like_base: int | None = None  # answers that are those of the base; None where the base's are not known
    mean_loss: float | None = None  # mean and largest |loss of the target − loss in the record|
    max_loss: float | None = None
    base_loss: float | None = None  # mean |loss of the base − loss in the record|
    to_base_loss: float | None = None  # mean |loss of the target − loss of the base|


class Verification(Document):
    """A target against the record of a run."""

    REMEDY = "multitune verify RUN --against TARGET"

    run: str
    adapter: str
    target: str
    form: Target
    by: Literal["answers", "weights"]
    tasks: tuple[VerifiedTask, ...] = ()  # empty where weights were compared
    # Where a run quantized its base: mean |loss of its adapter on the base in all its bits − loss in the record|. The
    # target is compared with the former then.
    quantization: float | None = None
    weights: float | None = None  # relative difference of what the adapters add
    differs: tuple[str, ...] = ()  # what differs beyond what the compute type explains; empty where nothing does

    @property
    def same(self) -> bool:
        """The verdict."""
        return not self.differs

    @property
    def rows(self) -> int:
        """All rows that were sent."""
        return sum(one.rows for one in self.tasks)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        if self.differs:
            return f"{self.target} does not answer as {self.adapter!r} of {self.run} did: {'; '.join(self.differs)}"
        if self.by == "weights":
            return (
                f"{self.target} holds the weights of {self.adapter!r} of {self.run} (relative difference "
                f"{self.weights:.1g}): checked by weights, not by answers, which need llama.cpp"
            )
        same = sum(one.same for one in self.tasks)
        known = [one for one in self.tasks if one.mean_loss is not None]
        mean = sum((one.mean_loss or 0.0) * one.rows for one in known) / max(sum(one.rows for one in known), 1)
        losses = f", losses {mean:.2g} nats apart" if known else ", likelihoods are not told by a server"
        if self.quantization is not None:
            return (
                f"{self.target} answers as {self.adapter!r} of {self.run} does on the base in all its bits: {same} of "
                f"{self.rows} rows{losses}; the record, of a quantized base, is {self.quantization:.2g} nats away"
            )
        return f"{self.target} answers as {self.adapter!r} of {self.run} did: {same} of {self.rows} rows{losses}"
