"""The routing versions of a run: the last one is in force."""

from pathlib import Path

from multitune.core.errors import RouterError
from multitune.core.files import read_json
from multitune.core.results.routing import RouterReport, RoutingTable, RoutingVersion, TaskChange
from multitune.core.run_folder import ROUTING_CHANGE, ROUTING_REPORT, ROUTING_TABLE, RunFolder


def read_version(folder: RunFolder) -> RoutingVersion | None:
    """The last routing version of a run; None where there is none.

    Raises:
        RunFolderError: a file of it is missing, damaged, or of a newer multitune.
    """
    if not folder.routing_versions:
        return None
    path = folder.routing_versions[-1]
    table, about = RoutingTable.read(path / ROUTING_TABLE), read_about(path)
    if isinstance(about, TaskChange):
        return RoutingVersion(version=path.name, table=table, change=about)
    return RoutingVersion(version=path.name, table=table, report=about)


def read_about(version: Path) -> RouterReport | TaskChange:
    """What the router of a version is worth, or what the change of tasks did that it came from.

    Raises:
        RunFolderError: missing, damaged, or of a newer multitune.
    """
    if (version / ROUTING_CHANGE).is_file():
        return TaskChange.read(version / ROUTING_CHANGE)
    file = version / ROUTING_REPORT
    value = read_json(file)
    if isinstance(value, dict) and "change" in value:  # written before a change had a file of its own
        return TaskChange.parse(value, str(file))
    return RouterReport.parse(value, str(file))


def require_table(folder: RunFolder) -> RoutingTable:
    """The last routing table of a run, each adapter of which is there.

    Raises:
        RouterError: there is none, or it names an adapter that is gone.
        RunFolderError: it is damaged.
    """
    versions = folder.require().routing_versions
    if not versions:
        raise RouterError(f"{folder.path}: has no routing table yet. Make one: multitune select {folder.path}")
    file = versions[-1] / ROUTING_TABLE
    table = RoutingTable.read(file)
    for task, choice in table.tasks.items():
        place = folder.path / choice.path
        if choice.path and not place.resolve().is_relative_to(folder.path.resolve()):
            raise RouterError(f"{file}: task {task!r} is answered by {choice.path}, which lies outside of the run")
        if choice.path and not place.is_dir():
            raise RouterError(
                f"{file}: task {task!r} is answered by {choice.path}, which is gone. Put it back, or delete this "
                "version so that the one before it is used"
            )
    return table
