"""What a run is doing, by its files alone."""

from multitune.core.results.run import State
from multitune.core.run_folder import RunFolder


def state_of(folder: RunFolder) -> State:
    """`running`: a process holds its event log. `finished`: nobody does, and the scores are there. `stopped`: nobody
    does, and they are not, so that it can be resumed. `damaged`: no run file, so that it cannot.
    """
    if not folder.config.is_file():
        return "damaged"
    if folder.is_held:
        return "running"
    return "finished" if folder.scores.is_file() else "stopped"
