"""What a trainee is worth on validation rows of one task: its loss, and its score by the task's metric."""

from multitune.core.records import Prediction
from multitune.core.seeds import generator
from multitune.inference.likelihood import row_losses
from multitune.inference.local import LocalModel
from multitune.inference.predict import predict_task
from multitune.training.prepare import PreparedRun
from multitune.training.trainee import Trainee


def validation_losses(trainee: Trainee, run: PreparedRun, task: str) -> list[float]:
    """Nats per answer token of each row; all adapters meet the same rows."""
    tokens, train = run.tasks[task].tokens["validation"], run.config.train
    order = generator(run.config.seed, "validation", task).permutation(len(tokens))
    rows = [tokens[int(i)] for i in order[: train.validate_limit]]
    return row_losses(trainee.bank, trainee.subject, rows, train.pack_tokens, batch_invariant=False).tolist()


def validation_answers(trainee: Trainee, run: PreparedRun, task: str) -> list[Prediction]:
    """The answers, each with its score by the task's metric.

    Raises:
        MultituneError: the outputs are not finite, or a single prompt does not fit into memory.
    """
    item, config = run.tasks[task], run.config
    model = LocalModel(trainee.bank, trainee.subject, run.chat, config)
    return predict_task(model, item, "validation", seed=config.seed, limit=config.train.validate_limit)
