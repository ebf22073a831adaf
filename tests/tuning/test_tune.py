"""A search: judged on validation alone, the same whether it was stopped or not, and never stopped by one bad trial."""

import json
import math
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.errors import InputError, Interrupted, RunFolderError, StorageError, TrainingError
from multitune.core.locks import only_one
from multitune.core.results.events import Event as RunEvent
from multitune.core.run_folder import TuneFolder
from multitune.core.seals import sealed_yaml, unsealed_yaml
from multitune.training.job import train_run
from multitune.training.progress import ValidationTrack
from multitune.tuning import tune as tune_module
from multitune.tuning.journal import open_study
from multitune.tuning.tune import TuneOptions, tune, tune_folder

Configure = Callable[..., RunConfig]
RANGES = ("train.epochs=0.5,1", "lora.rank=2,4")
Event = dict[str, Any]


class Collected(list[Event]):
    """A watcher that keeps what it sees, and may break off at some event."""

    def __init__(
        self, stop: Callable[[Event], bool] = lambda event: False, error: type[BaseException] = OSError
    ) -> None:
        self._stop, self._error = stop, error

    def __call__(self, event: RunEvent) -> None:
        self.append(event.plain())
        if self._stop(self[-1]):
            raise self._error

    def steps(self) -> int:
        return sum(event["kind"] == "step" for event in self)


def searched(config: RunConfig, trials: int, **changes: Any) -> dict[str, Any]:
    """The report, as trials.json holds it."""
    return tune(config, TuneOptions(trials, **{"ranges": RANGES, **changes})).plain()


def values(report: dict[str, Any]) -> list[tuple[str, dict[str, float], float | None]]:
    return [(row["state"], row["values"], row["value"]) for row in report["trials"]]


def test_a_search_ends_with_the_best_settings_as_a_run_file(configure: Configure) -> None:
    config = configure()
    report = searched(config, 5)
    ended = [row for row in report["trials"] if row["state"] == "complete"]
    best = load_config(report["best_file"])
    chosen = next(row for row in ended if row["number"] == report["best"])
    assert len(report["trials"]) == 5 and chosen["value"] == min(row["value"] for row in ended)
    assert best.train.learning_rate == chosen["values"]["train.learning_rate"]
    assert best.lora.rank == chosen["values"]["lora.rank"] and best.lora.alpha == 2 * best.lora.rank
    assert (best.tasks, best.adapters, best.name) == (config.tasks, config.adapters, "small.best")
    assert report["command"] == f"multitune train {report['best_file']}"


def test_the_first_trial_is_the_run_file_as_it_stands(configure: Configure) -> None:
    config = configure(train={"epochs": 0.75, "learning_rate": 3e-4}, lora={"rank": 4})
    (row,) = searched(config, 1)["trials"]
    own = {"train.learning_rate": 3e-4, "lora.rank": 4, "train.epochs": 0.75, "mixture.anneal_end": 0.2}
    assert row["values"] == own


def test_a_trial_is_judged_by_its_best_validation_relative_to_the_start(configure: Configure) -> None:
    config, watch = configure(), Collected()
    (row,) = searched(config, 1, observe=watch)["trials"]
    track = ValidationTrack.of(("colours", "shapes"), {"colours": 1, "shapes": 1})
    for event in watch:
        if event["kind"] == "validation":
            track.note(event["step"], {task: shown["loss"] for task, shown in event["tasks"].items()})
    assert row["value"] == track.best["mean"].value < 1


def test_trials_train_one_adapter_and_answer_no_test_row(configure: Configure, tmp_path: Path) -> None:
    """The same search over other test rows proposes the same and finds the same, to the bit."""
    config, watch = configure(), Collected()
    before = searched(config, 4, observe=watch)
    assert {name for event in watch if event["kind"] == "step" for name in event["adapters"]} == {"shared"}
    for name in ("colours", "shapes"):
        rows = [{"text": f"w{i} w{i}", "said": "w7"} for i in range(6)]
        (tmp_path / f"{name}.test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert values(searched(config, 4, overwrite=True)) == values(before)
    assert not list(tune_folder(config).path.rglob("*test*"))


def test_the_metric_may_judge_as_well(configure: Configure) -> None:
    watch = Collected()
    report = searched(configure(), 2, objective="metric", observe=watch)
    metrics = [
        sum(shown["metric"] for shown in event["tasks"].values()) / 2
        for event in watch
        if event["kind"] == "validation" and event["step"]
    ]
    assert all(row["value"] in metrics for row in report["trials"])
    chosen = next(row for row in report["trials"] if row["number"] == report["best"])
    assert chosen["value"] == max(row["value"] for row in report["trials"])


def test_a_search_that_goes_on_repeats_nothing_and_ends_as_one_that_never_stopped(configure: Configure) -> None:
    whole = searched(configure(name="whole"), 6)
    config, watch = configure(name="parts"), Collected()
    searched(config, 3)
    assert values(searched(config, 6, observe=watch)) == values(whole)
    started = [event["text"] for event in watch if event["kind"] == "note" and event["text"].startswith("trial ")]
    assert [text.split(":")[0] for text in started] == ["trial 3", "trial 4", "trial 5"]
    again = Collected()
    assert values(searched(config, 6, observe=again)) == values(whole) and not again.steps()


@pytest.mark.parametrize("step", [1, 4])
def test_a_search_that_broke_off_within_a_trial_goes_on_from_its_checkpoint(step: int, configure: Configure) -> None:
    whole_watch = Collected()
    whole = searched(configure(name="whole"), 2, observe=whole_watch)
    config, began = configure(name="broken"), []

    def second_trial(event: Event) -> bool:
        began.extend([event["text"]] if event.get("text", "").startswith("trial 1:") else [])
        return bool(began) and event["kind"] == "step" and event["step"] == step

    first, rest = Collected(second_trial), Collected()
    with pytest.raises(OSError):
        searched(config, 2, observe=first)
    assert values(searched(config, 2, observe=rest)) == values(whole)
    repeated = first.steps() + rest.steps() - whole_watch.steps()
    assert 0 < rest.steps() < whole_watch.steps() and repeated <= 2


def test_a_search_that_is_killed_goes_on(configure: Configure) -> None:
    """`kill -9` in the middle of a trial, by the trial itself."""
    whole = searched(configure(name="whole"), 3)
    config = configure(name="killed")
    code = f"""
import os, signal
from pathlib import Path
from multitune.config.load import load_config
from multitune.tuning.tune import TuneOptions, tune
def observe(event):
    global trial
    text = getattr(event, "text", "")
    trial = text if text.startswith("trial ") else globals().get("trial", "")
    if trial.startswith("trial 1:") and event.kind == "step" and event.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
tune(load_config("config.yaml"), TuneOptions(3, ranges={RANGES!r}, observe=observe))
"""
    from multitune.config.load import dump_config

    folder = Path(config.output).parent
    (folder / "config.yaml").write_text(dump_config(config))
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert values(searched(config, 3)) == values(whole)


@pytest.mark.parametrize("proposed", [1, 3])
def test_a_search_that_was_killed_between_two_settings_proposes_the_same(proposed: int, configure: Configure) -> None:
    config = configure()
    whole = searched(config, 2)
    folder = tune_folder(config)
    lines = folder.journal.read_text("utf-8").splitlines(keepends=True)
    notes = [json.loads(line) for line in lines]
    settings = [n for n, note in enumerate(notes) if "param_name" in note and note["trial_id"] == 1]
    assert len(settings) > proposed
    folder.journal.write_text("".join(lines[: settings[proposed]]), "utf-8")
    shutil.rmtree(folder.trial(1).path)
    assert values(searched(config, 2)) == values(whole)


def test_a_trial_that_was_trained_but_not_recorded_is_not_trained_again(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*arguments: Any, **options: Any) -> None:
        train_run(*arguments, **options)
        raise OSError

    whole, config, rest = searched(configure(name="whole"), 1), configure(), Collected()
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(tune_module, "train_run", dies)
        searched(config, 1)
    assert values(searched(config, 1, observe=rest)) == values(whole)
    assert rest.steps() == 0


def test_half_a_line_in_the_journal_is_left_out(configure: Configure) -> None:
    config = configure()
    before = searched(config, 2)
    with tune_folder(config).journal.open("ab") as file:
        file.write(b'{"op_code": 4, "work')
    assert values(searched(config, 3))[:2] == values(before)


@pytest.mark.parametrize("harm", ["value", "other", "folder", "pipe"])
def test_a_damaged_journal_is_refused_by_name(harm: str, configure: Configure) -> None:
    config = configure()
    folder = tune_folder(config)
    before = searched(config, 1)
    text = folder.journal.read_text()
    folder.journal.unlink()
    if harm == "folder":
        folder.journal.mkdir()
    elif harm == "pipe":
        os.mkfifo(folder.journal)
    else:
        value = str(values(before)[0][2])
        assert value in text
        folder.journal.write_text(text.replace(value, "0.5") if harm == "value" else "{}\n")
    with pytest.raises(RunFolderError, match=r"journal\.log: damaged .*start over with --overwrite"):
        searched(config, 2)


def test_changed_settings_of_a_search_are_refused(configure: Configure) -> None:
    config = configure()
    searched(config, 1)
    file = tune_folder(config).config
    file.write_text(file.read_text().replace("seed: 17", "seed: 18"))
    with pytest.raises(RunFolderError, match=r"config\.yaml: it was changed since it was written"):
        searched(config, 2)


def test_a_journal_that_cannot_be_written_is_one_clear_error(configure: Configure) -> None:
    config = configure()
    searched(config, 1)
    folder = tune_folder(config)
    study = open_study(folder, "loss", {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (folder.journal.stat().st_size, hard))
    try:
        with pytest.raises(StorageError, match=r"journal\.log: could not be written"):
            study.ask()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(configure: Configure) -> None:
    config = configure()
    seen = Collected(lambda event: event["kind"] == "step" and seen.steps() == 2, TrainingErrorOfStepTwo)
    report = searched(config, 3, observe=seen)
    assert [row["state"] for row in report["trials"]] == ["failed", "complete", "complete"]
    assert report["trials"][0]["note"] == "not a number" and report["best"] in (1, 2)


class TrainingErrorOfStepTwo(TrainingError):
    def __init__(self) -> None:
        super().__init__("not a number")


def test_a_search_of_failures_says_what_the_last_one_was(configure: Configure) -> None:
    config = configure(train={"max_grad_norm": 1e30})
    with pytest.raises(TrainingError, match=r"no trial came to its end\. The last one: step"):
        searched(config, 2, ranges=("train.epochs=1", "train.learning_rate=1e30,1e31", "lora.rank=2"))
    report = json.loads(tune_folder(config).report.read_text("utf-8"))
    assert {row["state"] for row in report["trials"]} == {"failed"} and not tune_folder(config).best.exists()


def test_hopeless_trials_are_cut_short(configure: Configure) -> None:
    """Once three have ended, one that learns nothing is behind their median at its first validation."""
    config = configure(train={"max_steps": 8})
    searched(config, 3, ranges=("train.learning_rate=0.003,0.005", "lora.rank=4", "mixture.anneal_end=0.2"))
    folder = tune_folder(config)
    tame = "train.learning_rate=1e-9,2e-9"
    # The journal stays; only what is searched from here on is another range.
    text = unsealed_yaml(folder.config.read_text("utf-8")).replace("0.003 to 0.005", "1e-09 to 2e-09")
    folder.config.write_text(sealed_yaml(text), "utf-8")
    watch = Collected()
    report = searched(config, 4, ranges=(tame, "lora.rank=4", "mixture.anneal_end=0.2"), observe=watch)
    assert report["trials"][3]["state"] == "pruned" and watch.steps() == 2


def test_a_whole_model_is_searched_without_a_rank(configure: Configure) -> None:
    report = searched(configure(method="full"), 2, ranges=("train.epochs=0.5,1",))
    assert [row["state"] for row in report["trials"]] == ["complete", "complete"]
    assert set(report["trials"][0]["values"]) == {"train.learning_rate", "train.epochs", "mixture.anneal_end"}


def test_a_search_keeps_no_weights(configure: Configure) -> None:
    config = configure()
    searched(config, 2)
    assert {path.name for path in tune_folder(config).trial(0).path.iterdir()} >= {"events.jsonl", "config.yaml"}
    assert not list(tune_folder(config).path.rglob("*.safetensors"))


def test_when_the_time_is_up_the_trial_waits_for_the_next_call(configure: Configure) -> None:
    whole = searched(configure(name="whole"), 2)
    config = configure(name="timed")
    assert searched(config, 2, minutes=0.0)["trials"] == []
    seen = Collected()
    # A clock that shows a second per step: the time is up at the fourth.
    report = searched(config, 2, minutes=4 / 60, observe=seen, clock=lambda: float(seen.steps()))
    assert report["best"] is None and seen.steps() == 4
    assert [row["state"] for row in report["trials"]] == ["unfinished"]
    assert values(searched(config, 2, minutes=60)) == values(whole)


def test_a_search_of_other_settings_or_ranges_is_refused_unless_started_over(configure: Configure) -> None:
    searched(configure(), 1)
    for changed in ({"config": configure(seed=3)}, {"ranges": ("train.epochs=0.5,2",)}, {"objective": "metric"}):
        arguments: dict[str, Any] = {"config": configure(), **changed}
        with pytest.raises(RunFolderError, match="other settings, ranges or rows"):
            searched(arguments.pop("config"), 2, **arguments)
    assert len(searched(configure(seed=3), 1, overwrite=True)["trials"]) == 1


def test_a_search_over_other_rows_is_refused_but_test_rows_may_change(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    before = searched(config, 1)
    for split in ("test", "validation"):
        file = tmp_path / f"colours.{split}.jsonl"
        file.write_text(file.read_text("utf-8").replace("w0", "w77"), "utf-8")
        if split == "test":
            assert values(searched(config, 1)) == values(before)
    with pytest.raises(RunFolderError, match="or rows"):
        searched(config, 1)


def test_a_fault_of_the_users_leaves_nothing_behind(configure: Configure, tmp_path: Path) -> None:
    file = tmp_path / "colours.train.jsonl"
    whole = file.read_text("utf-8")
    file.write_text('{"other": 1}\n', "utf-8")
    config = configure()
    with pytest.raises(InputError, match="colours"):
        searched(config, 1)
    assert not tune_folder(config).config.exists()
    file.write_text(whole, "utf-8")
    assert len(searched(config, 1)["trials"]) == 1


def test_one_process_at_a_time(configure: Configure) -> None:
    with only_one(tune_folder(configure()).lock), pytest.raises(RunFolderError, match="another process is at work"):
        searched(configure(), 1)
    assert len(searched(configure(), 1)["trials"]) == 1


def test_ctrl_c_says_how_to_go_on(configure: Configure) -> None:
    import os
    import signal

    def interrupting(event: Event) -> bool:
        if event["kind"] == "step":
            os.kill(os.getpid(), signal.SIGINT)
        return False

    config = configure()
    with pytest.raises(Interrupted, match=r"small\.tune: stopped; the same command goes on"):
        searched(config, 2, observe=Collected(interrupting))
    whole = searched(configure(name="whole"), 2)
    assert values(searched(config, 2)) == values(whole)


def test_importance_is_told_once_enough_trials_ended(configure: Configure) -> None:
    config = configure(train={"max_steps": 3})
    ranges = ("lora.rank=2,4",)
    assert searched(config, 2, ranges=ranges)["importance"] is None
    report = searched(config, 9, ranges=ranges)
    shares = report["importance"]
    assert set(shares) == set(report["trials"][0]["values"]) and math.isclose(sum(shares.values()), 1.0)


def test_a_folder_is_whole_after_a_copy(configure: Configure, tmp_path: Path) -> None:
    """Nothing in it but `best.yaml`'s command depends on where it lies."""
    config = configure()
    before = searched(config, 2)
    folder = tune_folder(config)
    moved = TuneFolder(Path(shutil.move(folder.path, tmp_path / "elsewhere")))
    shutil.copytree(moved.path, folder.path)
    assert values(searched(config, 2)) == values(before)
