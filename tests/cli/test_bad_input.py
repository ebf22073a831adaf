"""Whatever a user gets wrong: exit code 2, one message that names place and remedy, no traceback, nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from multitune.cli import main
from multitune.config.load import load_config
from multitune.core.results.events import Event, StepEvent
from multitune.pipeline import run_experiment
from tests.conftest import unseal

Fields = dict[str, Any]
Spoil = Callable[[Fields, Path], None]


def rows_of(fields: Fields, folder: Path, task: int = 0) -> Path:
    """A copy of a task's rows that a test may spoil."""
    copy = folder / f"rows{task}.jsonl"
    shutil.copy(fields["tasks"][task]["data"], copy)
    fields["tasks"][task]["data"] = str(copy)
    return copy


def missing_file(fields: Fields, folder: Path) -> None:
    fields["tasks"][0]["data"] = str(folder / "nowhere.jsonl")


def missing_column(fields: Fields, folder: Path) -> None:
    fields["tasks"][0]["prompt"] = "say {{ txt }}"


def empty_task(fields: Fields, folder: Path) -> None:
    rows_of(fields, folder).write_text("")


def label_outside_the_list(fields: Fields, folder: Path) -> None:
    fields["tasks"][0]["labels"] = ["red", "green"]


def empty_answer(fields: Fields, folder: Path) -> None:
    fields["tasks"][1]["answer"] = "{{ '' }}"


def two_tasks_of_one_name(fields: Fields, folder: Path) -> None:
    fields["tasks"][1]["name"] = "colours"


def broken_template(fields: Fields, folder: Path) -> None:
    fields["tasks"][0]["prompt"] = "say {{ text"


def truncated_line(fields: Fields, folder: Path) -> None:
    file = rows_of(fields, folder)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:7], lines[7][:-9], *lines[8:]]))


def binary_file(fields: Fields, folder: Path) -> None:
    rows_of(fields, folder).write_bytes(b'{"text": "\0\1\2"}\n')


def wrong_encoding(fields: Fields, folder: Path) -> None:
    rows_of(fields, folder).write_bytes('{"text": "café", "label": "red"}\n'.encode("latin-1"))


def rows_of_a_hundred_thousand_characters(fields: Fields, folder: Path) -> None:
    rows = [{"text": f"w{i} " + "w1 " * 33_000, "label": "red"} for i in range(12)]
    rows_of(fields, folder).write_text("".join(json.dumps(row) + "\n" for row in rows))


def unknown_base(fields: Fields, folder: Path) -> None:
    fields["base"] = str(folder / "no-such-model")


def unknown_template(fields: Fields, folder: Path) -> None:
    fields["tasks"].append({"use": "gsm9k"})


def unknown_target(fields: Fields, folder: Path) -> None:
    fields["lora"] = {"targets": ["q_prj"]}


def broken_retention_set(fields: Fields, folder: Path) -> None:
    fields["retention"] = [{"use": "arithmetic", "prompt": "{{ sum }}"}]


FAULTS: dict[Spoil, str] = {
    missing_file: "nowhere.jsonl",
    missing_column: "'txt'",
    empty_task: "rows0.jsonl",
    label_outside_the_list: "'blue'",
    empty_answer: "task 'copy'",
    two_tasks_of_one_name: "two tasks are named 'colours'",
    broken_template: "task 'colours'",
    truncated_line: "line 8",
    binary_file: "is not text",
    wrong_encoding: "UTF-8",
    rows_of_a_hundred_thousand_characters: "train.max_length",
    unknown_base: "no-such-model",
    unknown_template: "Did you mean 'gsm8k'?",
    broken_retention_set: "task 'arithmetic': prompt",
    unknown_target: "Did you mean|q_proj",
}


def outcome(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Any, str]:
    """Exit code and stderr of the command line."""
    monkeypatch.setattr("sys.argv", ["multitune", *arguments])
    with pytest.raises(SystemExit) as left:
        main.run()
    return left.value.code, capsys.readouterr().err


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_fault_is_one_message_with_its_place(
    spoil: Spoil,
    run_fields: Fields,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = {**run_fields, "tasks": [dict(task) for task in run_fields["tasks"]], "output": str(tmp_path / "runs")}
    spoil(fields, tmp_path)
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(fields))
    code, said = outcome(["train", str(file)], monkeypatch, capsys)
    assert code == 2 and "multitune: " in said and "Traceback" not in said
    assert any(part in said for part in FAULTS[spoil].split("|")), said


def test_a_base_that_is_no_language_model_is_refused(
    run_fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import BertConfig, BertModel

    base = tmp_path / "bert"
    shutil.copytree(run_fields["base"], base)
    small = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=99)
    BertModel(small).save_pretrained(base)
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**run_fields, "base": str(base), "output": str(tmp_path / "runs")}))
    code, said = outcome(["train", str(file)], monkeypatch, capsys)
    assert code == 2 and "causal language model" in said


def test_an_adapter_of_another_base_is_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    unseal(Path(shutil.copytree(finished, run)))
    card = run / "adapters/shared/multitune.json"
    card.write_text(card.read_text().replace(json.loads(card.read_text())["fingerprint"], "0" * 16))
    code, said = outcome(["eval", str(run)], monkeypatch, capsys)
    assert code == 2 and "was trained on" in said


def test_a_damaged_checkpoint_says_what_to_do(
    run_fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    train = {**run_fields["train"], "validate_every": 1}
    file.write_text(yaml.safe_dump({**run_fields, "train": train, "output": str(tmp_path / "runs")}))

    def dies(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == 2:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run_experiment(load_config(file), observe=dies)
    (tmp_path / "runs/tiny/checkpoint/state.json").write_text("{")
    assert not (tmp_path / "runs/tiny/checkpoint-before").exists()
    code, said = outcome(["train", str(file), "--resume"], monkeypatch, capsys)
    assert code == 2 and "the checkpoint is damaged" in said and "--overwrite" in said


def test_nothing_is_written_for_a_run_that_cannot_start(
    run_fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**run_fields, "tasks": [dict(task) for task in run_fields["tasks"]], "output": str(tmp_path / "runs")}
    missing_column(fields, tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields))
    outcome(["train", str(tmp_path / "run.yaml")], monkeypatch, capsys)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_cannot_start_leaves_the_one_it_would_overwrite(
    run_fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**run_fields, "output": str(tmp_path / "runs")}
    (tmp_path / "runs/tiny").mkdir(parents=True)
    (tmp_path / "runs/tiny/config.yaml").write_text("a run")
    unknown_target(fields, tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields))
    code, _ = outcome(["train", str(tmp_path / "run.yaml"), "--overwrite"], monkeypatch, capsys)
    assert code == 2 and (tmp_path / "runs/tiny/config.yaml").read_text() == "a run"
