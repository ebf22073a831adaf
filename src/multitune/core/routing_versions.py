"""The routing versions of a run: the last one is what holds."""

from pathlib import Path
from typing import Any

from multitune.core.errors import RouterError
from multitune.core.files import read_json
from multitune.core.run_folder import ROUTING_REPORT, ROUTING_TABLE, RunFolder


def read_version(folder: RunFolder) -> dict[str, Any]:
    """The last version of a run: its name, its table and its report."""
    version, table = read_table(folder)
    return {"version": version.name, "table": table, "report": read_json(version / ROUTING_REPORT)}


def read_table(folder: RunFolder) -> tuple[Path, dict[str, Any]]:
    """The last routing version of a run: its folder and its table, each adapter of which is there.

    Raises:
        RouterError: there is none, or its table names an adapter that is gone.
    """
    versions = folder.require().routing_versions
    if not versions:
        raise RouterError(f"{folder.path}: has no routing table yet. Make one: multitune select {folder.path}")
    table = read_json(versions[-1] / ROUTING_TABLE)
    for task, row in table["tasks"].items():
        if row["path"] and not (folder.path / row["path"]).is_dir():
            raise RouterError(
                f"{versions[-1] / ROUTING_TABLE}: task {task!r} is answered by {row['path']}, which is gone. Put it "
                f"back, or delete this version so that the one before it holds"
            )
    return versions[-1], table
