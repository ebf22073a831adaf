"""One trainer on one workload, in a process of its own: `… -m benchmarks.speed.trainers SETUP WORKLOAD STEPS`.

All start from the same base and the same LoRA weights, and read the same rows in the same order. The last line that
is printed is a JSON object: seconds and rows of every step, the loss of every step, and the peak memory.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from benchmarks.speed.workloads import batches, prepared
from multitune.core.records import Segments
from multitune.core.results.events import Event, StepEvent
from multitune.core.run_folder import RunFolder
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import save_adapter
from multitune.model.gguf import dequantized_folder


@dataclass
class Timeline:
    """What happened, step by step."""

    seconds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    executed_tokens: list[int] = field(default_factory=list)
    answer_tokens: list[int] = field(default_factory=list)
    peak_memory_gb: float = 0.0


def multitune(workload: str, steps: int, **options: Any) -> Timeline:
    """A run as `multitune train` makes it."""
    from multitune.training.job import train_run

    run = prepared(workload, steps)
    line = Timeline()

    def watch(event: Event) -> None:
        if isinstance(event, StepEvent):
            line.seconds.append(event.seconds)
            line.rows.append(run.config.train.batch_size)
            line.loss.append(event.adapters["shared"].loss)
            line.executed_tokens.append(event.tokens)
            line.answer_tokens.append(event.answer_tokens)

    train = run.config.train.model_copy(update=options)
    run = replace(run, config=run.config.model_copy(update={"train": train}))
    train_run(run, RunFolder(Path(mkdtemp())), observe=watch)
    return line


def trl(workload: str, steps: int, **options: Any) -> Timeline:
    """TRL's SFTTrainer with the options of one of its setups."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]

    run, rows = prepared(workload, steps), batches(workload, steps)
    config = run.config.train
    micro = options.pop("micro", 16)
    accumulated = 1 if options.get("packing") else 16 // micro
    line = Timeline()

    class Clock(TrainerCallback):
        started = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.monotonic()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            line.seconds.append(time.monotonic() - self.started)

    arguments = SFTConfig(
        output_dir=mkdtemp(),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulated,
        num_train_epochs=1,
        learning_rate=config.learning_rate or 2e-4,
        weight_decay=config.weight_decay,
        lr_scheduler_type="cosine",
        max_length=config.pack_tokens if options.get("packing") else config.max_length,
        train_sampling_strategy="sequential",
        logging_steps=1,
        completion_only_loss=True,
        report_to="none",
        save_strategy="no",
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        **options,
    )
    # The prompt-completion form, already as tokens: TRL takes the mask as it is.
    dataset = Dataset.from_list([_peer_row(row) for batch in rows for row in batch])
    trainer = SFTTrainer(
        model=_peer_model(workload, steps),
        args=arguments,
        train_dataset=dataset,
        processing_class=run.chat.tokenizer,
        callbacks=[Clock()],
    )
    trainer.train()
    line.loss = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    line.rows = [len(pack) for pack in trainer.train_dataset["seq_lengths"]] if options.get("packing") else []
    line.rows = line.rows or [len(batch) for batch in rows]
    return line


def peft(workload: str, steps: int, **options: Any) -> Timeline:
    """PEFT's layers in a loop that a careful engineer would write: padded to the longest, logits of answers alone."""
    run = prepared(workload, steps)
    model = _peer_model(workload, steps)
    weights = [p for p in model.parameters() if p.requires_grad]
    adamw = torch.optim.AdamW(weights, lr=2e-4, weight_decay=run.config.train.weight_decay, fused=True)
    line = Timeline()
    for step, rows in enumerate(batches(workload, steps)):
        started = time.monotonic()
        for group in adamw.param_groups:
            group["lr"] = 2e-4 * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / steps))))
        loss = padded_loss(model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, run.config.train.max_grad_norm)
        adamw.step()
        adamw.zero_grad()
        line.seconds.append(time.monotonic() - started)
        line.rows.append(len(rows))
        line.loss.append(float(loss.detach()))
    return line


def padded_loss(model: Any, rows: Sequence[Segments]) -> torch.Tensor:
    """Mean loss of rows padded to the longest, with logits where an answer is predicted."""
    width = max(len(row.tokens) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        ids[i, : len(row.tokens)] = torch.from_numpy(row.tokens)
        mask[i, : len(row.tokens)] = 1
        labels[i, len(row.prompt) : len(row.tokens)] = torch.from_numpy(row.answer)
    inner = model.get_base_model()
    hidden = inner.model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).last_hidden_state
    wanted = (labels[:, 1:] != -100).to(model.device)
    logits = inner.lm_head(hidden[:, :-1][wanted]).float()
    return torch.nn.functional.cross_entropy(logits, labels[:, 1:].to(model.device)[wanted])


def _peer_row(row: Segments) -> dict[str, list[int]]:
    mask = [0] * len(row.prompt) + [1] * len(row.answer)
    return {"input_ids": row.tokens.tolist(), "completion_mask": mask}


def _peer_model(workload: str, steps: int) -> Any:
    """The same base in the same type, with the LoRA weights that multitune's run begins with, in PEFT's layers."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = prepared(workload, steps)
    bank = AdapterBank(load_backbone(run.ref, run.config.device, run.config.dtype))
    folder = Path(mkdtemp(), "adapter")
    adapter = bank.create("shared", run.config.lora.rank, run.config.lora.alpha, "all", run.config.seed)
    save_adapter(adapter, folder, bank, {})
    location = dequantized_folder(run.ref) if run.ref.gguf else run.ref.location
    base: Any = AutoModelForCausalLM.from_pretrained(location, dtype=bank.backbone.dtype)
    return PeftModel.from_pretrained(base.to(bank.backbone.device), folder, is_trainable=True)


# name -> (trainer, its options). bf16 is autocast on top of a bf16 model: it casts PEFT's float32 weights.
PLAIN = {"gradient_checkpointing": False, "bf16": True}
CHUNKED = {**PLAIN, "loss_type": "chunked_nll"}  # TRL's loss without the logits of prompts
SETUPS: dict[str, tuple[Callable[..., Timeline], dict[str, Any]]] = {
    "multitune": (multitune, {}),
    "peft": (peft, {}),
    "trl": (trl, PLAIN),
    "trl-checkpointing": (trl, {**PLAIN, "gradient_checkpointing": True}),
    "trl-chunked": (trl, {**CHUNKED, "micro": 4}),
    "trl-packing": (trl, {**CHUNKED, "packing": True, "micro": 1}),
}


def main() -> None:
    """Run the setup, workload and number of steps that the arguments name."""
    setup, workload, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    trainer, options = SETUPS[setup]
    line = trainer(workload, steps, **options)
    line.peak_memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if torch.cuda.is_available():
        line.peak_memory_gb = torch.cuda.max_memory_allocated() / 2**30
    print(json.dumps(asdict(line)))


if __name__ == "__main__":
    main()
