"""`multitune audit`, and the audit before training: a planted fault is shown, stops a strict run, can be accepted."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from multitune.cli import main
from multitune.cli.main import app
from multitune.config.load import load_config
from multitune.core.errors import AuditError
from multitune.core.results.audit import Audit
from multitune.core.results.events import Event, NoteEvent, PhaseEvent, StepEvent
from multitune.pipeline import run_experiment
from multitune.planning import check_run

BLANK = "\u200b"  # a character that cannot be seen
KEY = "quality.empty:copy"


@pytest.fixture
def planted(run_fields: dict[str, Any], tmp_path: Path) -> Path:
    """A run file whose task `copy` has three rows without a visible answer."""
    return written(run_fields, tmp_path, blank=(3, 4, 5))


@pytest.fixture
def clean(run_fields: dict[str, Any], tmp_path: Path) -> Path:
    """The same without them."""
    return written(run_fields, tmp_path)


def written(run_fields: dict[str, Any], folder: Path, blank: tuple[int, ...] = ()) -> Path:
    """A run file beside its data: answers differ, and none stands in its prompt."""
    rows = [{"text": f"w{i} w{(7 * i + 3) % 60}", "out": str(i * i % 7)} for i in range(40)]
    (folder / "data").mkdir()
    for name, left_out in (("copies", blank), ("chat", ())):
        lines = [json.dumps({**row, "out": BLANK if i in left_out else row["out"]}) for i, row in enumerate(rows)]
        (folder / "data" / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
    copy = {**run_fields["tasks"][1], "data": "data/copies.jsonl", "answer": "{{ out }}"}
    chat = {**run_fields["general"][0], "data": "data/chat.jsonl", "answer": "{{ out }}"}
    fields = {**run_fields, "tasks": [run_fields["tasks"][0], copy], "general": [chat], "adapters": "shared"}
    (folder / "run.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    return folder / "run.yaml"


def accept(file: Path, *keys: str) -> None:
    entries = [{"finding": key, "reason": "blank on purpose"} for key in keys]
    (file.parent / "audit-accepted.yaml").write_text(yaml.safe_dump(entries), "utf-8")


def run(*arguments: object) -> tuple[int, str]:
    """Exit code, and all that was printed."""
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.output


def outcome(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Exit code and stderr of the command line, errors included."""
    monkeypatch.setattr("sys.argv", ["multitune", *arguments])
    with pytest.raises(SystemExit) as left:
        main.run()
    return left.value.code, capsys.readouterr().err


def test_a_finding_is_shown_with_its_rows_and_what_to_do(planted: Path) -> None:
    code, printed = run("audit", planted)
    assert code == 0 and "high (1)" in printed
    assert f"{KEY}: 3 of 40 rows show nothing" in printed and "copy, train row" in printed
    assert (
        "is accepted in" in printed
        and f"{planted.parent / 'audit-accepted.yaml'}, with a reason:\n- finding: {KEY}" in printed
    )
    copies = f"multitune audit {planted} --fix DIR, which writes cleaned copies"
    assert printed.endswith(f"\nnext: {copies}; or multitune train {planted} as is\n")


def test_clean_data_is_left_in_peace(clean: Path) -> None:
    code, printed = run("audit", clean, "--strict")
    assert code == 0 and "120 rows of 3 sets" in printed and "no finding open" in printed
    assert f"next: multitune train {clean}" in printed


@pytest.mark.parametrize("strict", [["--strict"], ["--set", "audit=strict"], ["--set", "audit.mode=strict"]])
def test_strict_mode_ends_with_one_and_says_why(planted: Path, strict: list[str]) -> None:
    code, printed = run("audit", planted, *strict)
    assert code == 1 and f"exit code 1 because of {KEY}\n" in printed
    assert printed.endswith(f"next: multitune audit {planted} --fix DIR, which writes cleaned copies\n")


def test_json_holds_all_of_it(planted: Path) -> None:
    code, printed = run("audit", planted, "--strict", "--json")
    value = json.loads(printed)
    assert (code, value["exit_code"]) == (1, 1)
    assert [one["key"] for one in value["findings"]] == [KEY]
    assert Audit.parse(value, "printed").blocking[0].key == KEY


def test_an_accepted_finding_passes_in_strict_mode_and_keeps_its_reason(planted: Path) -> None:
    accept(planted, KEY)
    code, printed = run("audit", planted, "--strict")
    assert code == 0 and f"accepted: {KEY}: blank on purpose" in printed


def test_an_accepted_finding_that_is_gone_is_named(planted: Path) -> None:
    accept(planted, KEY, "quality.empty:colours")
    _, printed = run("audit", planted)
    assert "accepted, but no longer found: quality.empty:colours" in printed


def test_a_sample_looks_at_no_more_rows_than_asked_for(planted: Path) -> None:
    _, printed = run("audit", planted, "--rows", "10", "--json")
    value = json.loads(printed)
    assert value["sampled"] and all(sum(one["rows"].values()) <= 12 for one in value["sets"])


def test_the_sets_of_every_role_are_audited(planted: Path) -> None:
    _, printed = run("audit", planted, "--json", "--set", "retention=[{use: arithmetic, limit: 30}]")
    assert [(one["name"], one["role"]) for one in json.loads(printed)["sets"]] == [
        ("colours", "task"),
        ("copy", "task"),
        ("chat", "general"),
        ("arithmetic", "retention"),
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            ["--set", "audit.skip=[quality.emty]"],
            "audit.skip: 'quality.emty' is not a check. Did you mean 'quality.em",
        ),
        (["--set", "audit.thresholds={quality.empty.shar: 1}"], "Did you mean 'quality.empty.share'?"),
        (["--set", "audit=stric"], "audit.mode is 'stric'. Did you mean 'strict'?"),
        (["--set", "audit.accept=nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--fix", "data"], "--fix data: is not empty"),
        (["--fix", "run.yaml"], "--fix run.yaml: is no folder"),
        (["--fix", "copy", "--rows", "5"], "--rows 5: a cleaned copy holds all rows"),
        (["--fix", "data/inside", "--set", "tasks.copy.data=data"], "--fix data/inside: lies in"),
        (["--fix", "data/inside", "--set", "tasks.copy.data=data/*.jsonl"], "--fix data/inside: lies in"),
    ],
)
def test_a_fault_of_the_user_is_one_message(
    planted: Path,
    arguments: list[str],
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(planted.parent)
    code, said = outcome(["audit", "run.yaml", *arguments], monkeypatch, capsys)
    assert code == 2 and fault in said and "Traceback" not in said
    assert sorted(path.name for path in planted.parent.iterdir()) == ["data", "run.yaml"]


def test_an_acceptance_without_a_reason_is_refused(
    planted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (planted.parent / "audit-accepted.yaml").write_text(f"- finding: {KEY}\n", "utf-8")
    for command in ("audit", "train", "check"):
        code, said = outcome([command, str(planted)], monkeypatch, capsys)
        assert code == 2 and "[0].reason is missing" in said and not (planted.parent / "runs").exists()


def test_a_strict_run_stops_before_training_and_writes_nothing(
    planted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = outcome(["train", str(planted), "--set", "audit=strict"], monkeypatch, capsys)
    assert code == 1 and "nothing was trained" in said and "3 of 40 rows show nothing" in said
    assert not (planted.parent / "runs").exists()


def test_a_strict_run_leaves_the_one_it_would_overwrite(planted: Path) -> None:
    (planted.parent / "runs/tiny").mkdir(parents=True)
    (planted.parent / "runs/tiny/config.yaml").write_text("a run")
    with pytest.raises(AuditError):
        run_experiment(load_config(planted, ["audit=strict"]), overwrite=True)
    assert (planted.parent / "runs/tiny/config.yaml").read_text() == "a run"


def test_a_run_that_warns_says_so_and_trains(planted: Path) -> None:
    events: list[Event] = []
    folder = run_experiment(load_config(planted), observe=events.append).folder
    phases = [event.name for event in events if isinstance(event, PhaseEvent)]
    assert phases[:4] == ["prepare", "audit", "load", "train"]
    notes = [event.text for event in events if isinstance(event, NoteEvent)]
    assert any(note.startswith("audit of all 120 rows in ") for note in notes)
    assert any("3 of 40 rows show nothing" in note for note in notes) and any("multitune audit" in n for n in notes)
    assert [one.key for one in Audit.read(folder.audit).findings] == [KEY] and not folder.foreign


def test_a_strict_run_passes_what_was_accepted(planted: Path) -> None:
    accept(planted, KEY)
    folder = run_experiment(load_config(planted, ["audit=strict"])).folder
    (found,) = Audit.read(folder.audit).findings
    assert found.accepted == "blank on purpose"


def test_a_run_without_an_audit_has_none(planted: Path) -> None:
    folder = run_experiment(load_config(planted, ["audit=off"])).folder
    assert not folder.audit.exists()
    code, printed = run("runs", "export", folder.path, "--as", "card")
    assert code == 0 and "The data was not audited." in printed


def test_a_resumed_run_is_not_audited_again_even_where_it_became_strict(planted: Path) -> None:
    def dies(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == 2:
            raise RuntimeError("power cut")

    few = ["train.validate_every=1"]
    with pytest.raises(RuntimeError, match="power cut"):
        run_experiment(load_config(planted, few), observe=dies)
    before = (planted.parent / "runs/tiny/audit.json").read_bytes()
    phases: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, PhaseEvent):
            phases.append(event.name)

    folder = run_experiment(load_config(planted, [*few, "audit=strict"]), resume=True, observe=note).folder
    assert "audit" not in phases and folder.audit.read_bytes() == before and folder.scores.is_file()


def test_check_shows_the_audit(planted: Path) -> None:
    report = check_run(load_config(planted))
    assert report.audit is not None and [one.key for one in report.audit.blocking] == [KEY]
    assert check_run(load_config(planted, ["audit=off"])).audit is None
    code, printed = run("check", planted)
    assert code == 0 and "1 finding of severity high open" in printed


def test_the_shares_that_checks_see_are_those_of_the_run(planted: Path) -> None:
    from multitune.training.audit import read_audited

    config = load_config(planted)
    shares = read_audited(config).mixture.shares
    drawn = {one.name: one.shares for one in check_run(config).adapters[0].sets}
    assert [{name: moment[place] for name, moment in drawn.items()} for place in range(3)] == [
        pytest.approx(share) for share in shares
    ]


def test_a_finished_run_shows_its_audit_wherever_it_is_exported(finished: Path, tmp_path: Path) -> None:
    found = Audit.read(finished / "audit.json").findings  # answers that are to be copied from their prompts
    assert [(one.key, one.severity) for one in found] == [
        ("quality.answer_shown:chat", "low"),
        ("quality.answer_shown:copy", "low"),
    ]
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    for form in ("table", "markdown", "card"):
        code, printed = run("runs", "export", copy, "--as", form)
        assert code == 0 and "120 rows of 3 sets" in printed, form
    assert json.loads(run("runs", "export", copy, "--as", "json")[1])["audit"]["sampled"] is False
