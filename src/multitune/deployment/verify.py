"""Parity: whether what left a run answers as the run's record says, by rows of the record sent through it.

Folders and whole models answer here, and tell the likelihood of the right answers. A server tells its answers alone:
labels, which the run picked by likelihood, are compared with those that the run's adapter writes freely. A LoRA file
for llama.cpp is read back, and its weights are compared.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from multitune.config.schema import RunConfig
from multitune.core.bases import BASE, resolve_base
from multitune.core.errors import InputError, VerificationError
from multitune.core.files import delete_folder
from multitune.core.records import Prediction
from multitune.core.results.verification import Verification, VerifiedTask
from multitune.core.run_folder import RunFolder
from multitune.data.row_tokens import row_tokens
from multitune.data.tokenizer import ChatFormat
from multitune.deployment.export import Form, export_adapter
from multitune.deployment.recorded_rows import alike, loss_apart, recorded_rows
from multitune.deployment.targets import Server, ask_server, form_of, open_folder, open_own, written_freely
from multitune.evaluation.external import ComparisonTask, answers_of
from multitune.inference.local import LocalModel
from multitune.model.backbone import Backbone
from multitune.model.files import LoraPair, distance, read_pairs, require_base
from multitune.model.gguf import base_config
from multitune.model.gguf_lora import gguf_tensors, read_gguf_lora
from multitune.tasks.task import CHOSEN

ROWS, EXPORT_ROWS = 32, 8  # of each task: by default, and of an export
# What a compute type explains: mean |Δloss| in nats, and the share of all answers that may be others, where two tokens
# were about equally likely. A run in `auto` may have been recorded in bfloat16 on another machine; a single row may be
# SINGLE times as far as the mean.
EXPLAINED = {"float32": (1e-3, 0.02), "auto": (0.1, 0.25), "bfloat16": (0.1, 0.25)}
SINGLE = 10
WEIGHTS = 1e-4  # relative difference of weights that rounding explains: a GGUF adapter is written in float32


def verify_target(
    folder: RunFolder,
    adapter: str,
    against: str,
    tasks: Sequence[ComparisonTask],
    *,
    server: Server | None = None,
    backbone: Backbone | None = None,
) -> Verification:
    """Compare a target with the record of a run.

    Args:
        folder: of the run.
        adapter: that the target is to answer as.
        against: a PEFT or model folder, a GGUF file, or the address of a server.
        tasks: as `recorded_rows` gives them.
        server: how a server is asked; by the adapter's name when None.
        backbone: the run's base, without a bank; loaded when None and needed. It comes back without one.

    Raises:
        InputError: the target cannot be loaded or asked.
    """
    form, path = form_of(against)
    found = Verification(run=str(folder.path), adapter=adapter, target=against, form=form, by="answers")
    run, moved = tasks[0].run, None
    if form == "gguf_lora":
        weights, faults = _by_weights(folder, adapter, path, run.config)
        return found.model_copy(update={"by": "weights", "weights": weights, "differs": tuple(faults)})
    if run.config.quantization and form != "peft":
        recorded, tasks = tasks, _on_whole_base(folder, adapter, tasks)
        pairs = zip(recorded, tasks, strict=True)
        moved = fmean(apart for before, now in pairs for apart in _losses_apart(before.ours, now.ours))
    if form == "server":
        theirs = ask_server(server or Server(against, adapter), tasks)
        tasks = _as_written(folder, adapter, tasks)
        faults = list[str]()
    else:
        model = open_folder(path, form, run, backbone)
        try:
            if form == "peft":
                require_base(model.bank.backbone, folder.adapters[adapter])
            faults = _reading_faults(run.chat, model.chat, tasks)
            theirs = answers_of(model, tasks)
        finally:
            model.bank.close()
    compared = tuple(_compared(task, theirs[task.item.name]) for task in tasks)
    faults += _answer_faults(compared, *EXPLAINED[run.config.dtype])
    if faults and form == "peft" and run.config.method == "lora":
        faults += _other_adapter(folder, adapter, path)
    return found.model_copy(update={"tasks": compared, "quantization": moved, "differs": tuple(faults)})


def _on_whole_base(folder: RunFolder, adapter: str, tasks: Sequence[ComparisonTask]) -> list[ComparisonTask]:
    """The tasks with answers of the run's own adapter on its base in all its bits, which is what an export stands on.

    What quantization moves is then no part of the comparison, and the tolerance stays that of the compute type.
    """
    config = tasks[0].run.config.model_copy(update={"quantization": None})
    run = replace(tasks[0].run, config=config)
    own = open_own(folder, adapter, run)
    ours, base = answers_of(own, tasks), answers_of(LocalModel(own.bank, BASE, own.chat, config), tasks)
    return [
        replace(task, run=run, ours=tuple(ours[task.item.name]), base=tuple(base[task.item.name])) for task in tasks
    ]


def _as_written(folder: RunFolder, adapter: str, tasks: Sequence[ComparisonTask]) -> list[ComparisonTask]:
    """The tasks with answers as a server gives them: labels are written freely by the run's own adapter, too."""
    if all(task.item.data.task.kind not in CHOSEN for task in tasks):
        return list(tasks)
    own, found = open_own(folder, adapter, tasks[0].run), list[ComparisonTask]()
    base = None if own.adapter == BASE else LocalModel(own.bank, BASE, own.chat, tasks[0].run.config)
    for task in tasks:
        if task.item.data.task.kind in CHOSEN:
            ours = _with_outputs(task.ours, written_freely(own, task))
            task = replace(task, ours=ours, base=_with_outputs(ours, written_freely(base, task)) if base else None)
        found.append(task)
    return found


def _with_outputs(predictions: Sequence[Prediction], outputs: Sequence[str]) -> tuple[Prediction, ...]:
    return tuple(replace(one, output=text) for one, text in zip(predictions, outputs, strict=True))


def _compared(task: ComparisonTask, theirs: Sequence[Prediction]) -> VerifiedTask:
    apart = _losses_apart(theirs, task.ours)
    return VerifiedTask(
        task=task.item.name,
        rows=len(theirs),
        same=sum(map(alike, theirs, task.ours)),
        like_base=None if task.base is None else sum(map(alike, theirs, task.base)),
        mean_loss=fmean(apart) if apart else None,
        max_loss=max(apart) if apart else None,
        base_loss=fmean(_losses_apart(task.base, task.ours)) if apart and task.base else None,
        to_base_loss=fmean(_losses_apart(theirs, task.base)) if apart and task.base else None,
    )


def _losses_apart(these: Sequence[Prediction], those: Sequence[Prediction]) -> list[float]:
    """|Δloss| of each row, in nats; empty where one side tells none."""
    known = all(one.loss is not None for one in (*these, *those))
    return [loss_apart(one, other) for one, other in zip(these, those, strict=True)] if known else []


def _reading_faults(ours: ChatFormat, theirs: ChatFormat, tasks: Sequence[ComparisonTask]) -> list[str]:
    """Whether a target's tokenizer and chat template read the rows as the run's do, and end an answer alike."""
    if theirs is ours:
        return []
    rows = [row for task in tasks for row in task.examples]
    pairs = zip(row_tokens(rows, ours), row_tokens(rows, theirs), strict=True)
    others = sum(one.prompt.tolist() != other.prompt.tolist() for one, other in pairs)
    faults = [f"its chat template or tokenizer reads {others} of {len(rows)} rows otherwise"] if others else []
    return faults + (["another token ends its answers"] if ours.stop_ids != theirs.stop_ids else [])


def _answer_faults(tasks: Sequence[VerifiedTask], tolerance: float, other_answers: float) -> list[str]:
    """What differs in answers, over all tasks, and in likelihoods, task by task, beyond what is tolerated."""
    rows, others = sum(one.rows for one in tasks), sum(one.rows - one.same for one in tasks)
    found = [
        f"it answers {one.rows} rows of {one.task!r} like the base" for one in tasks if _is_like_base(one, tolerance)
    ]
    if others > other_answers * rows:
        found.append(f"it answers {others} of {rows} rows otherwise")
    for one in tasks:
        mean, most = one.mean_loss or 0.0, one.max_loss or 0.0  # a server tells none
        if mean > tolerance or most > SINGLE * tolerance:
            found.append(
                f"the right answers of {one.task!r} are {mean:.2g} nats more or less likely on average (at most "
                f"{most:.2g}; the compute type explains {tolerance:g})"
            )
    return found


def _is_like_base(one: VerifiedTask, tolerance: float) -> bool:
    """Whether a target is the base on rows where the record says that the adapter is not."""
    if one.to_base_loss is not None and one.base_loss is not None:
        return one.to_base_loss <= tolerance < one.base_loss
    return one.like_base == one.rows and one.same < one.rows


def _by_weights(folder: RunFolder, adapter: str, path: Path, config: RunConfig) -> tuple[float, list[str]]:
    """How far a LoRA file for llama.cpp is from the run's adapter, and what is wrong with it."""
    base = base_config(resolve_base(config.base))
    expected = {
        name: LoraPair(*parts) for name, parts in gguf_tensors(read_pairs(folder.adapters[adapter]), base).items()
    }
    found = read_gguf_lora(path)
    apart = distance(found, expected)
    if apart <= WEIGHTS:
        return apart, []
    if not any(pair.b.any() for pair in found.values()):
        return apart, ["it adds nothing to the base, and answers like it"]
    return apart, [f"what it adds differs from the adapter by {apart:.2g} of the adapter's size"]


def _other_adapter(folder: RunFolder, adapter: str, path: Path) -> list[str]:
    """Whose weights a PEFT folder holds, if they are those of another adapter of the run."""
    found = read_pairs(path)
    for name, other in folder.adapters.items():
        if name != adapter and distance(found, read_pairs(other)) <= WEIGHTS:
            return [f"it holds the weights of {name!r}"]
    return []


def export_verified(
    folder: RunFolder,
    adapter: str,
    to: Path,
    form: Form,
    *,
    card: str | None = None,
    verify: bool = True,
    backbone: Backbone | None = None,
) -> str:
    """`export_adapter`, then the comparison with the record; says how the export is loaded, and how it was verified.

    An export that differs is deleted. One of a run whose rows cannot be had here any more stays, and that is said.

    Raises:
        VerificationError: it differs.
        InputError: as of `export_adapter`.
    """
    advice = export_adapter(folder, adapter, to, form, card)
    if not verify:
        return advice
    try:
        tasks = recorded_rows(folder, adapter, EXPORT_ROWS)
    except InputError as error:
        return "\n".join(filter(None, [f"not verified: {error}", advice]))
    try:
        found = verify_target(folder, adapter, str(to), tasks, backbone=backbone)
        if not found.same:
            raise VerificationError(f"{found.sentence}. The export was deleted; --no-verify keeps one")
    except BaseException:
        delete_folder(to, to.parent)
        raise
    return "\n".join(filter(None, [f"verified: {found.sentence}", advice]))
