"""The studies that studies/ records: run one, or go on with it, and write its findings beside its file."""

import json
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks.finance8 import local_sources
from multitune.cli.study import show_findings
from multitune.cli.watch import Watch
from multitune.config.load import dump_config, load_config
from multitune.config.schema import RunConfig
from multitune.config.study import StudyConfig, load_study
from multitune.core.files import write_json
from multitune.core.versions import versions
from multitune.study.study import run_study

STUDIES = Path(__file__).parent.parent / "studies"


@contextmanager
def recorded_study(name: str) -> Generator[tuple[StudyConfig, RunConfig]]:
    """A study of studies/; DATA names local copies of its sets, RUNS where its arms are kept."""
    place = STUDIES / name
    with tempfile.TemporaryDirectory() as folder:
        run_file = place / "run.yaml"
        if data := os.environ.get("DATA"):
            config = load_config(run_file, local_sources(run_file, Path(data), Path(folder)))
            run_file = Path(folder) / "run.yaml"
            run_file.write_text(dump_config(config), "utf-8")
        places = [f"run={json.dumps(str(run_file))}", f"output={os.environ.get('RUNS', '../../runs/studies')}"]
        yield load_study(place / "study.yaml", places)


def main() -> None:
    """Run the study that NAME names."""
    name = os.environ["NAME"]
    with recorded_study(name) as (study, run), Watch(Console()) as watch:
        found = run_study(study, run, observe=watch)
    show_findings(found, Path(study.output) / study.name, Console(width=120))
    command = f"make bench PART=studies NAME={name} DATA=folder"
    write_json(STUDIES / name / "findings.json", {"command": command, "machine": versions().plain(), **found.plain()})


if __name__ == "__main__":
    main()
