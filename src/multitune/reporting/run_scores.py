"""The scores of a whole run: its own, and those of the tasks that joined later."""

from multitune.core.errors import RunFolderError
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder


def read_run_scores(folder: RunFolder) -> Scores:
    """The scores of a run, with those of the tasks that joined later.

    Raises:
        RunFolderError: the run was not evaluated, or its scores are damaged.
    """
    return with_joined(folder, Scores.read(folder.scores), [])


def with_joined(folder: RunFolder, scores: Scores, missing: list[str]) -> Scores:
    """A run's own scores, and those of the tasks that joined later; one that cannot be read is noted."""
    for task in folder.joined:
        try:
            added = Scores.read(folder.added(task).scores)
        except RunFolderError as error:
            missing.append(f"added/{task}: {error}")
            continue
        if added.split == scores.split:
            scores = scores.joined_with(added)
    return scores
