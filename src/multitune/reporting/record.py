"""All that a run's files say, as one document for programs."""

from pathlib import Path
from typing import Any

from multitune.config.load import config_text, plain_config
from multitune.config.text import read_yaml
from multitune.core.results.audit import Audit
from multitune.core.results.base import Document
from multitune.core.results.routing import RoutingVersion
from multitune.core.results.run import DataRecord, RunSummary, Selection, Versions
from multitune.core.results.scores import Scores
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import RunFolder
from multitune.core.text import without_passwords
from multitune.reporting.run_scores import read_run_scores
from multitune.reporting.runs import summarise


class RunRecord(Document):
    """A run: summary, run file, versions, data, audit, selection, scores and routing."""

    summary: RunSummary
    config: Any  # as the run file says it
    versions: Versions
    data: DataRecord
    selection: Selection
    scores: Scores
    routing: RoutingVersion | None
    evaluations: dict[str, Scores]
    audit: Audit | None = None  # None where none was made


def _config(file: Path) -> Any:
    plain_config(file)  # refuses what is none
    return read_yaml(without_passwords(config_text(file)), str(file))


def run_record(folder: RunFolder) -> RunRecord:
    """Everything in one.

    Raises:
        RunFolderError: the run was not evaluated, or is damaged.
    """
    return RunRecord(
        summary=summarise(folder.path),
        config=_config(folder.config),
        versions=Versions.read(folder.versions),
        data=DataRecord.read(folder.data),
        selection=Selection.read(folder.selection),
        scores=read_run_scores(folder),
        routing=read_version(folder),
        evaluations={name: Scores.read(folder.evaluation(name).scores) for name in folder.evaluations},
        audit=Audit.read_if_made(folder.audit),
    )
