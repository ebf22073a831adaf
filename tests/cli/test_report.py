"""`report` writes a page or says in one line why not; `train` ends with one, and no fault of it spoils the run."""

import shutil
from pathlib import Path

import pytest

from multitune.cli.output import write_own_report
from multitune.core.files import read_json
from multitune.core.run_folder import RunFolder
from tests.cli.test_main import invoke, multitune


def test_train_writes_a_page_and_says_where(finished: Path) -> None:
    printed = (finished.parent.parent / "printed.txt").read_text("utf-8")
    assert f"report: {finished / 'report.html'}" in printed.splitlines()
    text = (finished / "report.html").read_text("utf-8")
    rows = read_json(RunFolder(finished).scores)["transfer"]["shared"]["tasks"]
    assert all(f"{row['together']:.3f}" in text for row in rows) and "Not everything is there" not in text


def test_a_page_follows_when_the_run_is_scored_again(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shown = invoke("eval", run, "--limit", 3).output
    assert f"report: {run / 'report.html'}" in shown.splitlines()
    assert (run / "report.html").read_text("utf-8") != (finished / "report.html").read_text("utf-8")


def test_a_page_may_stand_anywhere(finished: Path, tmp_path: Path) -> None:
    target = tmp_path / "pages" / "one.html"
    assert invoke("--quiet", "report", finished, "-o", target).output == f"report: {target}\n"
    assert target.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    "settings",
    [
        ("adapters=shared",),
        ("adapters=per_task",),
        ("adapters=mixture",),
        ("adapters=shared", "method=full"),
        ("train.validate_every=1", "train.patience=1", "train.epochs=3"),
    ],
    ids=" ".join,
)
def test_every_kind_of_run_has_a_page_that_misses_nothing(run_file: Path, settings: tuple[str, ...]) -> None:
    options = [part for setting in settings for part in ("--set", setting)]
    assert invoke("train", run_file, *options).exit_code == 0
    folder = run_file.parent / "runs" / "tiny"
    text = (folder / "report.html").read_text("utf-8")
    for name, table in read_json(RunFolder(folder).scores)["transfer"].items():
        assert name in text and all(f"{row['together']:.3f}" in text for row in table["tasks"])
    assert "Not everything is there" not in text and "Won and lost" in text and "How it learned" in text


def test_a_folder_as_output_is_refused(finished: Path, tmp_path: Path) -> None:
    done = multitune("report", finished, "-o", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "is a folder" in done.stderr


def test_what_was_asked_is_kept_with_what_was_said(finished: Path) -> None:
    folder = RunFolder(finished)
    for task in ("colours", "copy"):
        asked, said = folder.prompts(task, "test"), folder.predictions("base", task, "test")
        assert len(asked.read_text("utf-8").splitlines()) == len(said.read_text("utf-8").splitlines()) > 0


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = multitune("report", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"multitune: {tmp_path}: not a run folder")


def test_a_report_that_cannot_be_written_is_one_note(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    write_own_report(run, as_json=False)
    out = capsys.readouterr().out
    assert out.startswith("note: all is done, but the report could not be written: ") and out.count("\n") == 1
