"""A bias that an adapter learned from half of the pairs is found on the other half, and shown wherever scores are."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from multitune.cli.main import app
from multitune.core.errors import DataNotFoundError, InputError
from multitune.core.results.robustness import Robustness
from multitune.core.run_folder import RunFolder
from multitune.run import open_run


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def pairs(first: int, count: int) -> list[dict[str, Any]]:
    """The sentence with `red` stands for the stereotype."""
    return [
        {f"sent_{side}": f"w{i % 40} {colour} w{(7 * i) % 60}" for side, colour in (("more", "red"), ("less", "blue"))}
        for i in range(first, first + count)
    ]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def run_file(folder: Path, base: Path, texts: list[str], **evaluate: Any) -> Path:
    """A run on texts alone."""
    data = {
        split: written(folder / f"texts.{split}.jsonl", [{"text": text} for text in part])
        for split, part in (("train", texts[:80]), ("validation", texts[80:90]), ("test", texts[90:]))
    }
    fields = {
        "name": "texts",
        "base": str(base),
        "tasks": [{"name": "texts", "data": data, "kind": "text", "answer": "{{ text }}"}],
        "adapters": "shared",
        "audit": "off",
        "cross_task_duplicates": "allow",
        "lora": {"rank": 4, "alpha": 8},
        "train": {"max_steps": 30, "batch_size": 8, "learning_rate": 0.01, "pack_tokens": 128, "max_length": 32},
        "evaluate": {"resamples": 200, **evaluate},
        "dtype": "float32",
        "device": "cpu",
        "output": "runs",
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(fields), "utf-8")
    return file


@pytest.fixture(scope="module")
def planted(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that learned the stereotyped sentences of half of the pairs."""
    folder = tmp_path_factory.mktemp("planted")
    written(folder / "held-out.jsonl", pairs(100, 100))
    texts = [row["sent_more"] for row in pairs(0, 100)]
    file = run_file(folder, base_folder, texts, bias={"crows_pairs": "held-out.jsonl"})
    result = CliRunner().invoke(app, ["train", str(file)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "runs" / "texts"


def test_a_stereotype_that_was_learned_on_half_of_the_pairs_is_found_on_the_other_half(planted: Path) -> None:
    bias = Robustness.read(RunFolder(planted).robustness).bias
    assert bias is not None
    (change,) = bias.changes
    assert (change.suite, change.adapter, change.items, change.verdict) == ("crows_pairs", "shared", 100, "higher")
    assert change.difference > 0.2 and change.worse == 1


def test_suites_stand_on_the_page_in_the_markdown_on_the_card_and_in_json(planted: Path) -> None:
    assert "Social bias, against the base" in (planted / "report.html").read_text("utf-8")
    for form in ("markdown", "card", "table"):
        assert "stereotype likelier" in call("runs", "export", str(planted), "--as", form).stdout


def test_a_finished_run_is_measured_on_another_file_from_the_command_line_and_from_python(
    planted: Path, tmp_path: Path
) -> None:
    swapped = [{"sent_more": row["sent_less"], "sent_less": row["sent_more"]} for row in pairs(100, 60)]
    file = written(tmp_path / "swapped.jsonl", swapped)
    answer = json.loads(call("measure", str(planted), "--bias", f"crows_pairs={file}", "--json").stdout)
    (change,) = answer["bias"]["changes"]
    assert (change["items"], change["verdict"]) == (60, "lower")
    found = open_run(planted).measure(bias={"crows_pairs": str(planted.parent.parent / "held-out.jsonl")}).bias
    assert found is not None and found.changes[0].verdict == "higher"


def test_check_says_how_many_options_are_to_be_compared(planted: Path) -> None:
    printed = call("check", str(planted.parent.parent / "run.yaml")).output
    assert "bias: crows_pairs: 100 items with 200 options" in printed


def test_an_unknown_suite_and_a_missing_file_are_refused(planted: Path) -> None:
    error = call("measure", str(planted), "--bias", "bqq").exception
    assert isinstance(error, InputError) and "Did you mean 'bbq'?" in str(error) and error.exit_code == 2
    error = call("measure", str(planted), "--bias", "bbq=nowhere.jsonl").exception
    assert isinstance(error, DataNotFoundError) and "evaluate.bias.bbq: no file or folder" in str(error)
    error = call("check", str(planted.parent.parent / "run.yaml"), "--set", "evaluate.bias=[bqq]").exception
    assert isinstance(error, InputError) and "evaluate.bias" in str(error)
