"""Every verb of the command line as a function; a run may be given as an object, or by its folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitune.config.study import load_study
from multitune.core.events import Observe, unwatched
from multitune.core.results.audit import Audit
from multitune.core.results.comparison import ModelComparison, RunComparison
from multitune.core.results.gate import Gate
from multitune.core.results.routing import RoutingVersion, TaskChange
from multitune.core.results.run import CheckReport
from multitune.core.results.scores import Scores
from multitune.core.results.study import Findings, TrialsReport
from multitune.run import Config, Run, read_config

if TYPE_CHECKING:
    from multitune.evaluation.external import RemoteOptions


def train(
    config: Config,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    overwrite: bool = False,
    observe: Observe = unwatched,
) -> Run:
    """Train and evaluate; with several tasks also choose what each ships with, and fit the router.

    Args:
        config: a RunConfig, what a run file says, or the path of one.
        overrides: as of `--set`, such as `train.epochs=1`.
        resume: go on with a run that was stopped.
        overwrite: start over in a folder that holds a run.
        observe: gets every event of the run.

    Raises:
        InputError: config or data do not fit; nothing was written.
        TrainingError, StorageError, Interrupted: what was saved is intact, and `resume` goes on.

    >>> run = multitune.train("run.yaml", ["name=other", "adapters=shared"])
    >>> run.path.name, run.adapters
    ('other', ('shared',))
    """
    from multitune.pipeline import run_experiment

    finished = run_experiment(read_config(config, overrides), resume, observe, overwrite)
    return Run(finished.folder.path, finished.backbone)


def check(
    config: Config, overrides: Sequence[str] = (), progress: Callable[[str, int, int], None] | None = None
) -> CheckReport:
    """What a run would do, without loading a weight: data, mixture, steps, memory and time.

    >>> report = multitune.check("run.yaml")
    >>> [(one.name, one.rows["train"]) for one in report.sets][:2]
    [('colours', 32), ('copy', 28)]
    """
    from multitune.planning import check_run

    return check_run(read_config(config, overrides), progress)


def run_audit(
    config: Config,
    overrides: Sequence[str] = (),
    *,
    rows: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Audit:
    """What is wrong with the data of a run: each set alone, and all of them together as they will be drawn.

    Args:
        config: a RunConfig, what a run file says, or the path of one.
        overrides: as of `--set`, such as `audit.skip=[quality.empty]`.
        rows: most rows of each set that are looked at; all when None.
        progress: is told what is done, how many rows of it, and of how many.

    Raises:
        InputError: config or data do not fit.

    >>> found = multitune.run_audit("run.yaml")
    >>> [one.key for one in found.blocking], [one.name for one in found.sets]
    ([], ['colours', 'copy', 'chat'])
    """
    from multitune.training.audit import audit_rows

    return audit_rows(read_config(config, overrides), progress or (lambda what, done, of: None), rows=rows)


def evaluate(
    run: Run | Path | str, *, split: str | None = None, limit: int | None = None, name: str | None = None
) -> Scores:
    """Score a finished run again; on other rows than its own as an evaluation beside the run's.

    >>> scores = multitune.evaluate("runs/tiny", split="validation")
    >>> scores.split, [row.task for row in scores.transfer["shared"].tasks]
    ('validation', ['colours', 'copy'])
    """
    return _opened(run).evaluate(split=split, limit=limit, name=name)


def compare(
    run: Run | Path | str,
    against: str,
    *,
    adapter: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    remote: "RemoteOptions | None" = None,
) -> ModelComparison:
    """Compare a finished run with another model, on the rows that it was scored on.

    >>> found = multitune.compare("runs/tiny", "local:base", limit=4)
    >>> [row.task for row in found.parsing["strict"].tasks]
    ['colours', 'copy']
    """
    return _opened(run).compare(against, adapter=adapter, split=split, limit=limit, remote=remote)


def compare_predictions(
    paths: Sequence[Path | str],
    *,
    metrics: Mapping[str, str] | None = None,
    run_file: Path | str | None = None,
    **how: Any,
) -> RunComparison:
    """Compare answers of any origin on the same rows: runs, folders of TASK.jsonl, or files with id, output and gold.

    Args:
        paths: two or more; the first is the reference.
        metrics: task -> metric, "" for all others; of tasks that no run among the paths knows.
        run_file: or a run file that names them.
        how: as of `reporting.compare_predictions.compare_predictions`.

    >>> found = multitune.compare_predictions(["runs/tiny", "runs/tiny"])
    >>> {name: task.runs[1].verdict for name, task in found.tasks.items()}
    {'colours': 'cannot tell', 'copy': 'cannot tell'}
    """
    from multitune.reporting.compare_predictions import Scoring
    from multitune.reporting.compare_predictions import compare_predictions as compare_all

    scoring = Scoring(metrics or {}, Path(run_file) if run_file else None)
    return compare_all(paths, scoring=scoring, **how)


def gate(old: Run | Path | str, new: Run | Path | str, **how: Any) -> Gate:
    """Whether a new run or model is worse than an old one beyond a margin; `how` as of `reporting.gate.gate`.

    >>> found = multitune.gate("runs/tiny", "runs/tiny", margin=0.05)
    >>> found.verdict, found.exit_code
    ('passes', 0)
    """
    from multitune.reporting.gate import gate as compare_both

    return compare_both(*(side.path if isinstance(side, Run) else side for side in (old, new)), **how)


def select(run: Run | Path | str, overrides: Sequence[str] = ()) -> RoutingVersion:
    """Choose which adapter each task ships with, by validation, and fit the router that finds it by content.

    >>> multitune.select("runs/tiny", ["router.kind=softmax"]).version
    'v0002'
    """
    return _opened(run).select(overrides)


def add(run: Run | Path | str, config: Config, *, alone: bool = False, overwrite: bool = False) -> TaskChange:
    """Train one adapter for a new task and route to it; nothing that was there before changes.

    >>> change = multitune.add("runs/tiny", "joins.yaml")
    >>> change.added, change.files_changed, change.logits_changed
    ('echo', (), ())
    """
    return _opened(run).add(config, alone=alone, overwrite=overwrite)


def run_study(file: Path | str, overrides: Sequence[str] = (), observe: Observe = unwatched) -> Findings:
    """Find out which tasks belong together, at a part of the cost of training every combination.

    >>> findings = multitune.run_study("study.yaml")
    >>> sorted(task for group in findings.recommended.groups for task in group)
    ['colours', 'copy']
    """
    from multitune.study.study import run_study as run

    return run(*load_study(file, overrides), observe=observe)


def tune(
    config: Config, overrides: Sequence[str] = (), *, trials: int, observe: Observe = unwatched, **how: Any
) -> TrialsReport:
    """Search learning rate, rank, passes and mixture, judged on validation rows alone; `how` as of `TuneOptions`.

    >>> report = multitune.tune("run.yaml", trials=2)
    >>> len(report.trials)
    2
    """
    from multitune.tuning.tune import TuneOptions
    from multitune.tuning.tune import tune as search

    return search(read_config(config, overrides), TuneOptions(trials, observe=observe, **how))


def _opened(run: Run | Path | str) -> Run:
    return run if isinstance(run, Run) else Run(run)
