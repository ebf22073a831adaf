"""Data files of every shape become a run file that loads, and says why."""

from pathlib import Path
from typing import Any

import pytest

from multitune.core.errors import ConfigError
from multitune.data.taskdata import prepare_task
from multitune.planning import check_run
from multitune.proposal.bases import GIB, Hardware
from multitune.proposal.columns import Columns
from multitune.proposal.propose import epochs, propose
from tests.proposal.conftest import CPU, Propose, Rows, nobody, reasons, write_file

SHAPES: dict[str, tuple[Rows, str, str]] = {  # name -> (row, kind, metric)
    "labels": (lambda i: {"text": f"w{i} w{i % 7}", "label": ["red", "blue"][i % 2]}, "classify", "macro_f1"),
    "pairs": (lambda i: {"question": f"w{i} w1", "answer": f"w{i % 40} w{i % 9}"}, "generate", "rouge_l"),
    "alpaca": (
        lambda i: {"instruction": f"say w{i}", "input": "", "output": f"w{i} w{i % 5}"},
        "generate",
        "rouge_l",
    ),
    "chats": (
        lambda i: {
            "messages": [{"role": "user", "content": f"w{i}"}, {"role": "assistant", "content": f"w{i % 9} w2"}]
        },
        "generate",
        "rouge_l",
    ),
    "picks": (
        lambda i: {"question": f"w{i} w3", "choices": ["w1", "w2 w3"], "answer": i % 2},
        "choice",
        "accuracy",
    ),
    "scores": (lambda i: {"text": f"w{i} w4", "score": i / 10 + 0.05}, "regress", "pearson"),
    "tags": (lambda i: {"tokens": [f"w{i}", "w5"], "ner_tags": ["B-ORG", "O"]}, "tag", "entity_f1"),
    "tagged-by-sets": (
        lambda i: {"text": f"w{i} w8", "tags": ["a", "b"][: i % 3]},
        "labels",
        "micro_f1",
    ),
    "plain": (lambda i: {"text": f"w{i} w6 w7"}, "text", "token_likelihood"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_a_task_that_check_accepts(proposed: Propose, tmp_path: Path, shape: str) -> None:
    row, kind, metric = SHAPES[shape]
    config, _ = proposed(write_file(tmp_path / f"{shape}.jsonl", row))
    (task,) = config.tasks
    assert (task.name, task.kind, task.metric, task.is_complete) == (shape, kind, metric, True)
    report = check_run(config.model_copy(update={"audit": config.audit.model_copy(update={"mode": "off"})}))
    assert report.sets[0].rows["train"] > 0 and report.warnings == ()


def test_own_column_names_are_read_by_their_values(proposed: Propose, tmp_path: Path) -> None:
    row: Rows = lambda i: {"nr": i, "ticket": f"w{i} w{i % 7} w3", "team": ["red", "blue"][i % 2]}  # noqa: E731
    config, found = proposed(write_file(tmp_path / "mail.csv", row))
    (task,) = config.tasks
    assert (task.kind, task.answer, task.labels) == ("classify", "{{ team }}", ("blue", "red"))
    assert task.prompt.endswith("{{ ticket }}") and "one of: blue, red." in task.prompt
    assert reasons(found, "kind") == [
        "classify: reads ticket, answers team (by their values): 2 different short answers in the first 60 rows"
    ]


def test_a_column_that_numbers_the_rows_is_no_answer(proposed: Propose, tmp_path: Path) -> None:
    row: Rows = lambda i: {"nr": i, "mail": f"w{i} w3 w4", "reply": f"w{i % 50} w5"}  # noqa: E731
    config, _ = proposed(write_file(tmp_path / "mail.csv", row))
    assert (config.tasks[0].kind, config.tasks[0].answer) == ("generate", "{{ reply }}")


def test_numbers_that_a_table_holds_as_text_are_a_regression(proposed: Propose, tmp_path: Path) -> None:
    config, _ = proposed(write_file(tmp_path / "grades.csv", lambda i: {"essay": f"w{i} w3 w4", "grade": i / 7}))
    assert config.tasks[0].kind == "regress"


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_whole_numbers_that_are_kept_with_a_point_are_answered_without(
    proposed: Propose, tmp_path: Path, suffix: str
) -> None:
    row: Rows = lambda i: {"question": f"w{i} w3 w4", "answer": float(i * 7)}  # noqa: E731
    (task,) = proposed(write_file(tmp_path / f"sums{suffix}", row))[0].tasks
    assert (task.kind, task.metric, task.answer) == ("number", "numeric_match", "{{ answer | int }}")
    assert task.prompt == "Answer with one number.\n\n{{ question }}"
    assert next(iter(prepare_task(task, 17).examples["train"])).answer.isdecimal()


def test_marks_with_a_point_of_which_there_are_few_stay_a_regression(proposed: Propose, tmp_path: Path) -> None:
    row: Rows = lambda i: {"essay": f"w{i} w3 w4", "marks": float(i % 5)}  # noqa: E731
    assert proposed(write_file(tmp_path / "marks.jsonl", row))[0].tasks[0].kind == "regress"


def test_a_second_text_is_left_to_its_owner_and_named(proposed: Propose, tmp_path: Path) -> None:
    row: Rows = lambda i: {"claim": f"w{i} w3", "page": f"w{i} w4 w5 w6", "ruling": ["red", "blue"][i % 2]}  # noqa: E731
    config, found = proposed(write_file(tmp_path / "claims.jsonl", row))
    assert "{{ page }}" in (config.tasks[0].prompt or "") and "claim" not in (config.tasks[0].prompt or "")
    (warning,) = [line for line in found.warnings if "not read" in line]
    assert warning == "claims: claim: not read. If the answer depends on it, put {{ claim }} into the prompt"
    text = (tmp_path / "multitune.yaml").read_text("utf-8")
    assert f"# Warning: {warning}." in text.replace("\n#   ", " ")


def test_several_tasks_are_trained_together_and_alone(proposed: Propose, tmp_path: Path) -> None:
    files = [write_file(tmp_path / f"{name}.jsonl", SHAPES[name][0]) for name in ("labels", "pairs")]
    config, found = proposed(*files)
    assert config.adapters == ("shared", "per_task") and found.tasks == ("labels", "pairs")
    one, _ = proposed(files[0])
    assert one.adapters == "shared"


def test_rows_of_one_document_stay_in_one_split(proposed: Propose, tmp_path: Path) -> None:
    row: Rows = lambda i: {"text": f"w{i} w1", "label": "ab"[i % 2], "document_id": f"d{i // 4}"}  # noqa: E731
    config, found = proposed(write_file(tmp_path / "lines.jsonl", row))
    assert config.tasks[0].group == "document_id" and "one document stay" in reasons(found, "group")[0]


def test_many_rows_are_limited_on_a_cpu_alone(proposed: Propose, tmp_path: Path) -> None:
    row: Rows = lambda i: {"text": f"w{i % 40} w{i // 40} w2", "label": "ab"[i % 2]}  # noqa: E731
    file = write_file(tmp_path / "many.jsonl", row, rows=3000)
    assert proposed(file)[0].tasks[0].limit.train == 2000
    config, _ = proposed(file, hardware=Hardware(accelerator=True, memory_bytes=80 * GIB))
    assert config.tasks[0].limit.train is None and config.seeds == 3


def test_a_small_set_and_an_unrelated_one_are_warned_of(proposed: Propose, tmp_path: Path) -> None:
    files = [
        write_file(tmp_path / "near.jsonl", lambda i: {"text": f"w{i % 9} w{i} w1 w2", "label": "ab"[i % 2]}),
        write_file(tmp_path / "like.jsonl", lambda i: {"text": f"w{i % 8} w{i} w2 w1", "label": "ab"[i % 2]}),
        write_file(tmp_path / "far.jsonl", lambda i: {"text": f"v{i % 9} v{i % 5} v1 v3", "label": "xy"[i % 2]}),
    ]
    warnings = proposed(*files)[1].warnings
    alike = [line for line in warnings if "share few words" in line]
    assert [line.partition(":")[0] for line in alike] == ["far"]
    assert sum("test rows are too few to ship on" in line for line in warnings) == 3


def test_labels_that_a_template_would_act_on_stay_out_of_the_prompt(proposed: Propose, tmp_path: Path) -> None:
    labels = ["{{ 7 * 7 }}", "{% for %}"]
    config, _ = proposed(write_file(tmp_path / "h.jsonl", lambda i: {"text": f"w{i} w1", "label": labels[i % 2]}))
    assert config.tasks[0].prompt.startswith("Classify this text. Answer with its label alone.")
    assert config.tasks[0].labels == tuple(sorted(labels))


def test_column_names_and_labels_cannot_leave_their_comment(proposed: Propose, tmp_path: Path) -> None:
    name = "team\nseed: 99 #"
    row: Rows = lambda i: {"ticket": f"w{i} w{i % 7}", name: ["a\nbase: x\u2028seed: 1\x85- \x07", "b: c # d"][i % 2]}  # noqa: E731
    config, _ = proposed(write_file(tmp_path / "x.jsonl", row))
    assert config.seed == 17 and config.tasks[0].labels == ("a\nbase: x\u2028seed: 1\x85- \x07", "b: c # d")


def test_a_run_file_that_is_there_stays(proposed: Propose, tmp_path: Path, base_folder: Path) -> None:
    output = tmp_path / "mine.yaml"
    output.write_text("mine")
    with pytest.raises(ConfigError, match=r"mine\.yaml: exists\. Name another file, or give --overwrite"):
        propose([tmp_path], output, str(base_folder), CPU, columns=Columns({}, {}), ask=nobody)
    assert output.read_text() == "mine"


@pytest.mark.parametrize(("rows", "passes"), [(20, 10), (200, 8), (5000, 3)])
def test_few_rows_are_passed_over_more_often(rows: int, passes: int) -> None:
    assert epochs(rows) == passes


def test_the_file_says_why_beside_each_field(proposed: Propose, tmp_path: Path) -> None:
    proposed(write_file(tmp_path / "labels.jsonl", SHAPES["labels"][0]))
    text: Any = (tmp_path / "multitune.yaml").read_text("utf-8")
    for line in ("# labels blue, red:", "# metric macro_f1:", "# train.max_length 512:", "Qwen/Qwen2.5-0.5B-Instruct"):
        assert line in text
