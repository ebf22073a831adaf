"""The routing versions of a run: the last one is what holds."""

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
    table = RoutingTable.read(path / ROUTING_TABLE)
    if (path / ROUTING_CHANGE).is_file():
        change = TaskChange.read(path / ROUTING_CHANGE)
        return RoutingVersion(version=path.name, table=table, change=change)
    value = read_json(path / ROUTING_REPORT)
    if isinstance(value, dict) and "change" in value:  # written before a change had a file of its own
        change = TaskChange.parse(value, str(path / ROUTING_REPORT))
        return RoutingVersion(version=path.name, table=table, change=change)
    return RoutingVersion(version=path.name, table=table, report=RouterReport.parse(value, str(path / ROUTING_REPORT)))


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
        if choice.path and not (folder.path / choice.path).is_dir():
            raise RouterError(
                f"{file}: task {task!r} is answered by {choice.path}, which is gone. Put it back, or delete this "
                "version so that the one before it holds"
            )
    return table
