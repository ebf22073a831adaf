"""What a trainee is worth on validation rows of one task: its loss, and its score by the task's metric."""

from collections.abc import Sequence

from multitune.core.records import Prediction, Segments
from multitune.core.seeds import generator
from multitune.inference.likelihood import row_losses
from multitune.inference.local import LocalModel
from multitune.inference.predict import chosen_rows, predict_rows
from multitune.training.prepare import PreparedRun
from multitune.training.trainee import Trainee


def validation_rows(run: PreparedRun, task: str) -> list[Segments]:
    """The rows whose loss is measured; all adapters meet the same ones."""
    tokens = run.tasks[task].tokens["validation"]
    order = generator(run.config.seed, "validation", task).permutation(len(tokens))
    return [tokens[int(i)] for i in order[: run.config.train.validate_limit]]


def validation_losses(trainee: Trainee, run: PreparedRun, rows: Sequence[Segments]) -> list[float]:
    """Nats per answer token of each row."""
    pack_tokens = run.config.train.pack_tokens
    return row_losses(trainee.bank, trainee.subject, rows, pack_tokens, batch_invariant=False).tolist()


def answered_rows(run: PreparedRun, task: str) -> list[int]:
    """Places of the validation rows that are answered."""
    return chosen_rows(run.tasks[task], "validation", seed=run.config.seed, limit=run.config.train.validate_limit)


def validation_answers(trainee: Trainee, run: PreparedRun, task: str, places: Sequence[int]) -> list[Prediction]:
    """The answers to some of them, each with its score by the task's metric.

    Raises:
        MultituneError: the outputs are not finite, or a single prompt does not fit into memory.
    """
    model = LocalModel(trainee.bank, trainee.subject, run.chat, run.config)
    return predict_rows(model, run.tasks[task], "validation", places)
