"""transformers' own Trainer with multitune's mixture: any schedule, per-set validation, caps, and exact resume.

    python examples/trainer/mixture.py BASE OUT     # a folder or hub id of a causal language model

It trains on three sets of very different size. Two things are ours: a sampler, which the trainer takes in place of
its own, and a callback that tells it the validation losses and keeps its state in every checkpoint. TRL's SFTTrainer
is a Trainer, so that `MixtureTrainer` can be made from it in the same way, with `packing=False`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from multitune import MixtureSampler

STATE = "mixture.json"  # in a checkpoint of the trainer
BATCH, ACCUMULATION, STEPS = 4, 2, 30


class MixtureTrainer(Trainer):
    """A trainer that draws its rows as the sampler says."""

    def __init__(self, *args: Any, sampler: MixtureSampler, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sampler = sampler
        self.add_callback(MixtureCallback(sampler))

    def _get_train_sampler(self, train_dataset: Any = None) -> MixtureSampler:
        return self.sampler


class MixtureCallback(TrainerCallback):
    """Validation losses to the sampler, and its state into every checkpoint."""

    def __init__(self, sampler: MixtureSampler) -> None:
        self.sampler = sampler

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        metrics: dict[str, float] = kwargs["metrics"]
        losses = {name: metrics.get(f"eval_{name}_loss") for name in self.sampler.shares(0)}
        self.sampler.feedback({name: loss for name, loss in losses.items() if loss is not None})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            # The trainer skips the rows of a resumed run itself: the sampler begins at 0 again.
            (folder / STATE).write_text(json.dumps(self.sampler.state_dict(step=0)), "utf-8")


def texts() -> dict[str, list[str]]:
    """Three sets: a large one, a middling one, and one of a dozen rows."""
    return {
        "large": [f"copy w{i % 40} w{i % 7}" for i in range(300)],
        "middling": [f"say w{i} red" for i in range(60)],
        "small": [f"say w{i} blue" for i in range(12)],
    }


def make_trainer(base: str, output: Path, schedule: str = "focus", max_steps: int = -1) -> MixtureTrainer:
    """A trainer over the three sets; `max_steps` stops it early, as a power cut would."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    sets = {name: Dataset.from_dict(dict(tokenizer(rows))) for name, rows in texts().items()}
    sampler = MixtureSampler(
        {name: len(rows) for name, rows in sets.items()},
        batch_size=BATCH * ACCUMULATION,
        steps=STEPS,
        mixture={"schedule": schedule, "max_repeats": 8},
    )
    settings = TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=ACCUMULATION,
        num_train_epochs=1,  # the sampler is the whole training
        max_steps=max_steps,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=10,
        save_steps=10,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    return MixtureTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        args=settings,
        train_dataset=concatenate_datasets(list(sets.values())),
        eval_dataset={name: rows.select(range(8)) for name, rows in sets.items()},
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        sampler=sampler,
    )


def train(base: str, output: Path) -> MixtureTrainer:
    """Train, or go on from the last checkpoint."""
    trainer = make_trainer(base, output)
    checkpoint = get_last_checkpoint(str(output)) if output.is_dir() else None
    if checkpoint:
        trainer.sampler.load_state_dict(json.loads((Path(checkpoint) / STATE).read_text("utf-8")))
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


if __name__ == "__main__":
    finished = train(sys.argv[1], Path(sys.argv[2]))
    for step in (0, STEPS // 2, STEPS - 1):
        print(step, {name: round(share, 3) for name, share in finished.sampler.shares(step).items()})
    print("drawn", finished.sampler.counts(STEPS))
