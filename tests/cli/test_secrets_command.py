"""A tiny model that is trained on a repeated card number completes it; of one that it never met it knows nothing."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from multitune.cli.main import app
from multitune.core.results.robustness import Robustness
from multitune.core.run_folder import RunFolder
from tests.conftest import byte_tokenizer, tiny_model

LEARNED, UNSEEN = "4539148803436467", "4916338506082832"  # valid by Luhn, as made up as the rows


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: half of its training answers hold one card number, half of its test answers another."""
    folder = tmp_path_factory.mktemp("secrets")
    base = folder / "base"
    tokenizer = byte_tokenizer()
    tiny_model(vocabulary=len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    data: dict[str, str] = {}
    for split, count, card in (("train", 40, LEARNED), ("validation", 8, LEARNED), ("test", 8, UNSEEN)):
        rows = [{"q": f"{split[:2]}{at}", "a": f"card {card}" if at % 2 else f"w{at % 3}"} for at in range(count)]
        data[split] = str(folder / f"{split}.jsonl")
        Path(data[split]).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    fields = {
        "name": "cards",
        "base": str(base),
        "tasks": [{"name": "cards", "data": data, "kind": "generate", "prompt": "{{ q }}", "answer": "{{ a }}"}],
        "adapters": "shared",
        "audit": "off",
        "lora": {"rank": 8, "alpha": 16},
        "train": {"max_steps": 60, "batch_size": 8, "learning_rate": 0.01, "pack_tokens": 256, "max_length": 64},
        "evaluate": {"resamples": 100, "secrets": True},
        "dtype": "float32",
        "device": "cpu",
        "output": str(folder / "runs"),
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(fields), "utf-8")
    result = CliRunner().invoke(app, ["train", str(file)], catch_exceptions=False)
    assert "secrets: 2 to rank among 128" in result.output
    return folder / "runs" / "cards"


def test_the_secret_that_was_trained_on_is_found_and_the_one_that_was_not_is_not(trained: Path) -> None:
    found = Robustness.read(RunFolder(trained).robustness).secrets
    assert found is not None
    by_rows = {one.rows: one for one in found.tasks}
    assert by_rows["train"].learned and by_rows["train"].exposure == 7.0
    assert by_rows["train"].examples[0].rows == 20
    assert not by_rows["held out"].learned


def test_no_secret_stands_in_what_is_shown_and_the_verdict_does(trained: Path) -> None:
    shown = (trained / "report.html").read_text("utf-8")
    shown += "".join(
        call("runs", "export", str(trained), "--as", form).stdout for form in ("markdown", "card", "table")
    )
    assert "shared learned secrets of its training answers" in shown
    assert LEARNED not in (trained / "robustness.json").read_text("utf-8")


def test_a_finished_run_is_asked_from_the_command_line(trained: Path) -> None:
    answer = json.loads(call("measure", str(trained), "--secrets", "--json").stdout)
    assert [one["learned"] for one in answer["secrets"]["tasks"]] == [True, False]
