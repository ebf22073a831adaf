"""Every adapter meets the same rows, and what it said, scored and compared, is in the run folder."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multitune.config.load import parse_config
from multitune.core.bases import BASE
from multitune.core.errors import MultituneError, RunFolderError
from multitune.core.files import read_json
from multitune.core.predictions import read_predictions, write_predictions
from multitune.core.records import Prediction
from multitune.core.results.scores import Scores, SubjectScore, TaskScores
from multitune.core.run_folder import RunFolder
from multitune.data.task_input import TaskInput
from multitune.evaluation.scores import degenerate, evaluate_run
from multitune.evaluation.stats import BootstrapPlan
from multitune.evaluation.transfer import Arms, compare
from multitune.inference.likelihood import row_losses
from multitune.inference.local import LocalModel
from multitune.inference.predict import Subject, longest_answer, predict_task
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.reporting.sentences import score_warnings
from multitune.training.prepare import PreparedRun, prepare_run

ROWS = {"train": 24, "validation": 10, "test": 14}
TASKS: dict[str, dict[str, Any]] = {
    "moods": {"kind": "classify", "labels": ["w1", "w2", "w3"]},
    "topics": {"kind": "classify", "labels": [f"w{i}" for i in range(10, 22)]},
    "sums": {"kind": "number"},
    "names": {"kind": "tag"},
    "replay": {"kind": "generate", "share": 0.2},
    "known": {"kind": "classify", "labels": ["w1", "w2", "w3"]},
    "talk": {"kind": "generate"},
}
Prepare = Callable[..., PreparedRun]


def answer(kind: str, labels: list[str], i: int) -> str:
    if kind == "classify":
        return labels[i % len(labels)]
    return {"number": str(i % 10), "tag": f"w{i} , ORG\nw{i + 1} , ORG", "generate": f"w{i} w{i + 2}"}[kind]


def write_rows(folder: Path, name: str, kind: str, labels: list[str]) -> dict[str, str]:
    rng = np.random.default_rng(len(name))
    for split, count in ROWS.items():
        rows = [
            {"text": " ".join(f"w{w}" for w in rng.integers(0, 78, 6)), "said": answer(kind, labels, i)}
            for i in range(count)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.{split}.jsonl").write_text(text)
    return {split: f"{name}.{split}.jsonl" for split in ROWS}


@pytest.fixture(scope="session")
def prepare(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """A run over the tiny base, prepared from files."""
    folder = tmp_path_factory.mktemp("data")
    tasks = {
        name: {
            "name": name,
            "prompt": "w0 {{ text }}",
            "answer": "{{ said }}",
            "data": write_rows(folder, name, extra["kind"], extra.get("labels", [])),
            **extra,
        }
        for name, extra in TASKS.items()
    }

    def prepared(**changes: Any) -> PreparedRun:
        raw = {
            "base": str(base_folder),
            "tasks": [tasks[name] for name in ("moods", "topics", "sums", "names")],
            "general": [tasks["replay"]],
            "retention": [tasks["known"], tasks["talk"]],
            "train": {"pack_tokens": 64, "max_length": 64},
            "evaluate": {"resamples": 100},
            "adapters": ["shared", "per_task"],
            "dtype": "float32",
            "device": "cpu",
            **changes,
        }
        return prepare_run(parse_config(raw, folder))

    return prepared


@pytest.fixture(scope="session")
def run(prepare: Prepare) -> PreparedRun:
    return prepare()


def subjects_of(run: PreparedRun) -> list[Subject]:
    """The base, and each adapter of the run with random weights."""
    bank = AdapterBank(load_backbone(run.ref, "cpu", "float32"))
    for seed, plan in enumerate(run.plans):
        adapter = bank.create(plan.spec.name, 4, 8.0, "all", seed)
        adapter.weights.copy_(torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(seed)) * 0.3)
        adapter.publish()
    return [Subject(name, LocalModel(bank, name, run.chat, run.config)) for name in (BASE, *bank.names)]


def models_of(run: PreparedRun) -> dict[str, LocalModel]:
    return {subject.name: subject.model for subject in subjects_of(run)}


def predicted(run: PreparedRun, name: str, item: TaskInput, limit: int | None = None) -> list[Prediction]:
    return predict_task(models_of(run)[name], item, "test", seed=run.config.seed, limit=limit)


@pytest.fixture(scope="session")
def evaluated(
    run: PreparedRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, dict[str, Any], list[Any]]:
    """(run folder, what evaluate_run returned, the events) of a run with one shared and four single-task adapters."""
    folder, events = RunFolder(tmp_path_factory.mktemp("run")), []
    return folder, evaluate_run(folder, run, subjects_of(run), events.append).plain(), events


def test_the_base_answers_all_tasks_and_an_adapter_those_of_its_own(evaluated: Any) -> None:
    _, scores, _ = evaluated
    tasks = ["moods", "topics", "sums", "names"]
    assert {task: list(record["scores"]) for task, record in scores["tasks"].items()} == {
        task: ["base", "shared", task] for task in tasks
    }


def test_predictions_on_disk_give_the_scores_in_the_table(run: PreparedRun, evaluated: Any) -> None:
    folder, scores, _ = evaluated
    for name, record in (scores["tasks"] | scores["retention"]).items():
        for subject, shown in record["scores"].items():
            predictions = read_predictions(folder.predictions(subject, name, "test"))
            assert run.sets[name].data.task.score(predictions).value == shown["score"]


def test_what_is_returned_is_what_the_folder_holds(evaluated: Any) -> None:
    folder, scores, _ = evaluated
    assert read_json(folder.scores) == scores


def test_each_pair_of_adapter_and_task_is_observed_once(evaluated: Any) -> None:
    _, scores, events = evaluated
    seen = {(event.adapter, event.task): (event.metric, event.score) for event in events}
    assert len(seen) == len(events) == 12 + 4
    assert seen == {
        (subject, task): (record["metric"], shown["score"])
        for task, record in (scores["tasks"] | scores["retention"]).items()
        for subject, shown in record["scores"].items()
    }


def test_a_shared_adapter_is_compared_with_the_ones_that_learned_alone(evaluated: Any) -> None:
    _, scores, _ = evaluated
    assert list(scores["transfer"]) == ["shared"]
    for row in scores["transfer"]["shared"]["tasks"]:
        shown = scores["tasks"][row["task"]]["scores"]
        assert (row["against"], row["reference"]) == ("alone", row["task"])
        assert row["together"] == shown["shared"]["score"]
        assert row["alone"] == shown[row["task"]]["score"]
        assert row["base"] == shown["base"]["score"]


def test_a_task_that_none_learned_alone_is_compared_with_the_base(prepare: Prepare, tmp_path: Path) -> None:
    pair = [{"name": "both", "tasks": ["moods", "topics"]}, {"name": "one", "tasks": ["topics"]}]
    run = prepare(adapters=pair, evaluate={"resamples": 100, "limit": 6})
    scores = evaluate_run(RunFolder(tmp_path), run, subjects_of(run), lambda event: None).plain()
    rows = {row["task"]: row for row in scores["transfer"]["both"]["tasks"]}
    assert (rows["moods"]["against"], rows["moods"]["reference"], rows["moods"]["alone"]) == ("base", "base", None)
    assert rows["moods"]["difference"] == pytest.approx(rows["moods"]["together"] - rows["moods"]["base"])
    assert (rows["topics"]["against"], rows["topics"]["reference"]) == ("alone", "one")


def test_without_a_shared_adapter_each_one_is_compared_with_the_base(prepare: Prepare, tmp_path: Path) -> None:
    run = prepare(adapters="per_task", evaluate={"resamples": 100, "limit": 4})
    scores = evaluate_run(RunFolder(tmp_path), run, subjects_of(run), lambda event: None).plain()
    against = {name: [row["against"] for row in table["tasks"]] for name, table in scores["transfer"].items()}
    assert against == {name: ["base"] for name in ("moods", "topics", "sums", "names")}


def test_an_adapter_that_changes_nothing_neither_helps_nor_hurts(prepare: Prepare, tmp_path: Path) -> None:
    run = prepare(adapters="shared", evaluate={"resamples": 100, "limit": 6})
    subjects = subjects_of(run)
    subjects[1].model.bank["shared"].weights.zero_()
    subjects[1].model.bank["shared"].publish()
    table = evaluate_run(RunFolder(tmp_path), run, subjects, lambda event: None).plain()["transfer"]["shared"]
    assert {(row["difference"], row["verdict"]) for row in table["tasks"]} == {(0.0, "cannot tell")}
    assert table["summary"]["mean_points"] == 0.0


def test_general_sets_show_the_loss_before_and_after(run: PreparedRun, evaluated: Any) -> None:
    _, scores, _ = evaluated
    bank, tokens = models_of(run)["base"].bank, run.tasks["replay"].tokens["test"]
    expected = {name: row_losses(bank, name, list(tokens), 64).mean().item() for name in ("base", "shared")}
    assert scores["general"]["replay"]["loss"] == pytest.approx(expected)
    assert scores["general"]["replay"]["examples"] == ROWS["test"]


def test_retention_sets_are_answered_by_the_base_and_compared_adapters(run: PreparedRun, evaluated: Any) -> None:
    _, scores, _ = evaluated
    for name, record in scores["retention"].items():
        item = run.retention[name]
        for subject in ("base", "shared"):
            predictions = predicted(run, subject, item)
            assert record["scores"][subject]["score"] == item.data.task.score(predictions).value
            assert record["scores"][subject]["loss"] == pytest.approx(np.mean([p.loss for p in predictions]))
        assert (list(record["scores"]), record["examples"]) == (["base", "shared"], ROWS["test"])


def test_the_change_of_a_retention_set_is_that_of_a_transfer_table(run: PreparedRun, evaluated: Any) -> None:
    folder, scores, _ = evaluated
    before, after = (read_predictions(folder.predictions(subject, "known", "test")) for subject in ("base", "shared"))
    plan = BootstrapPlan(100, 0.95, run.config.seed)
    (row,) = compare({"known": Arms(before, after)}, {"known": run.retention["known"].data.task.metric}, plan).tasks
    change = {"difference": row.difference, "low": row.low, "high": row.high, "p": row.p}
    assert scores["retention"]["known"]["change"] == {"shared": change}


def test_without_a_shared_adapter_each_one_answers_the_retention_sets(prepare: Prepare, tmp_path: Path) -> None:
    run = prepare(adapters="per_task", evaluate={"resamples": 100, "limit": 3})
    record = evaluate_run(RunFolder(tmp_path), run, subjects_of(run), lambda event: None).plain()["retention"]["talk"]
    assert (list(record["change"]), record["examples"]) == (["moods", "topics", "sums", "names"], 3)


def test_a_fully_trained_backbone_is_a_subject_of_its_own(prepare: Prepare, tmp_path: Path) -> None:
    run = prepare(adapters="shared", evaluate={"resamples": 100, "limit": 5})
    base = AdapterBank(load_backbone(run.ref, "cpu", "float32"))
    tuned = AdapterBank(load_backbone(run.ref, "cpu", "float32"))
    with torch.no_grad():
        tuned.backbone.model.lm_head.weight.mul_(-1)
    banks = {BASE: base, "shared": tuned}
    subjects = [Subject(name, LocalModel(bank, BASE, run.chat, run.config)) for name, bank in banks.items()]
    losses = evaluate_run(RunFolder(tmp_path), run, subjects, lambda event: None).plain()["general"]["replay"]["loss"]
    assert abs(losses["shared"] - losses["base"]) > 0.1


def test_all_adapters_meet_the_same_rows_under_a_limit(run: PreparedRun) -> None:
    ids = {
        adapter: [p.id for p in predicted(run, adapter, run.tasks["moods"], limit=5)]
        for adapter in ("base", "shared", "moods")
    }
    in_split = [example.id for example in run.tasks["moods"].data.examples["test"]]
    assert ids["base"] == ids["shared"] == ids["moods"]
    assert len(ids["base"]) == 5
    assert ids["base"] == [one for one in in_split if one in ids["base"]]


def test_a_larger_limit_keeps_the_rows_of_a_smaller_one(run: PreparedRun) -> None:
    few, more = ({p.id for p in predicted(run, BASE, run.tasks["moods"], limit)} for limit in (4, 9))
    assert few < more


def test_rows_too_long_for_the_run_are_left_out(run: PreparedRun) -> None:
    item = run.tasks["moods"]
    shorter = replace(item.tokens["test"], kept=item.tokens["test"].kept[:3], offsets=item.tokens["test"].offsets[:7])
    cut = replace(item, tokens={**item.tokens, "test": shorter})
    predictions = predicted(run, BASE, cut)
    assert [p.id for p in predictions] == [example.id for example in item.data.examples["test"][:3]]


@pytest.mark.parametrize("task", ["moods", "topics", "sums"])
def test_the_loss_of_a_prediction_is_that_of_the_gold_answer(run: PreparedRun, task: str) -> None:
    model, item = models_of(run)["shared"], run.tasks[task]
    predictions = predict_task(model, item, "test", seed=run.config.seed)
    expected = row_losses(model.bank, "shared", list(item.tokens["test"]), 64)
    np.testing.assert_allclose([p.loss for p in predictions], expected, rtol=1e-4)


def test_a_classify_task_is_always_answered_with_one_of_its_labels(run: PreparedRun) -> None:
    item = run.tasks["topics"]
    predictions = predicted(run, "shared", item)
    assert {p.output for p in predictions} <= set(item.data.task.labels)
    assert all(p.value == p.output for p in predictions)


def test_a_likelihood_is_the_sum_over_the_tokens_of_an_answer(run: PreparedRun) -> None:
    model, item = models_of(run)["shared"], run.tasks["topics"]
    rows = [item.data.examples["test"][place] for place in item.tokens["test"].kept]
    found = model.loglikelihood(rows)
    assert found.tokens.tolist() == [len(row.answer) for row in item.tokens["test"]]
    np.testing.assert_array_equal(found.loss, -found.nats / found.tokens)
    np.testing.assert_array_equal(found.loss, row_losses(model.bank, "shared", list(item.tokens["test"]), 64))


def test_an_answer_may_be_twice_as_long_as_the_longest_seen(run: PreparedRun) -> None:
    item = run.tasks["names"]
    assert longest_answer(item) == 2 * 8  # twice `w , ORG`, a line break and the closing token


def test_a_task_may_say_how_long_its_answers_get(run: PreparedRun) -> None:
    config = run.tasks["names"].data.task.config.model_copy(update={"max_new_tokens": 3})
    item = run.tasks["names"]
    task = type(item.data.task)(config)
    assert longest_answer(replace(item, data=replace(item.data, task=task))) == 3


def test_damaged_weights_are_told_with_adapter_and_task(run: PreparedRun) -> None:
    model = models_of(run)["shared"]
    model.bank["shared"].weights.fill_(float("nan"))
    model.bank["shared"].publish()
    for task in ("moods", "sums"):
        with pytest.raises(MultituneError, match=f"task '{task}', adapter 'shared': its outputs are not finite"):
            predict_task(model, run.tasks[task], "test", seed=run.config.seed)


def test_predictions_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    predictions = [
        Prediction("names", "a", "Acme, ORG", (("Acme", "ORG"),), (("Acme", "ORG"), ("Zoë", "PER")), 2 / 3, 0.1),
        Prediction("names", "b", "\u2028 line\r\n", None, (), 0.0, None),
        Prediction("sums", "c", "1.5", 1.5, 2.0, 0.0, 3.25),
    ]
    write_predictions(tmp_path / "some.jsonl", predictions)
    assert read_predictions(tmp_path / "some.jsonl") == predictions


def test_a_damaged_line_of_predictions_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    write_predictions(path, [Prediction("sums", "c", "1.5", 1.5, 2.0, 0.0)] * 2)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(RunFolderError, match=r"some.jsonl: line 2 is damaged .* Evaluate the run again"):
        read_predictions(path)


def test_missing_predictions_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"some.jsonl: missing"):
        read_predictions(tmp_path / "some.jsonl")


@pytest.mark.parametrize(
    ("outputs", "golds", "fault"),
    [
        (["neutral"] * 95 + ["up"] * 5, ["up", "down"] * 50, "answers 'neutral' to 95 of 100 rows"),
        ([""] * 20 + ["up"] * 80, ["up", "down"] * 50, "20 of 100 answers are empty"),
        (["neutral"] * 95 + ["up"] * 5, ["neutral"] * 95 + ["up"] * 5, ""),  # the right answers are as one-sided
        (["up", "down"] * 50, ["up", "down"] * 50, ""),
        (["up"], ["down"], ""),
    ],
)
def test_answers_that_are_all_alike_are_flagged(outputs: list[str], golds: list[str], fault: str) -> None:
    assert degenerate([Prediction("t", "", o, o, g, 0.0) for o, g in zip(outputs, golds, strict=True)]) == fault


def test_answers_that_do_not_end_are_flagged() -> None:
    ended, cut = (Prediction("t", "", "so it goes on", None, "up", 0.0, cut=cut) for cut in (False, True))
    others = [Prediction("t", "", str(n), None, "up", 0.0) for n in range(79)]
    assert degenerate([*[cut] * 11, *others]) == "11 of 90 answers had not ended at the limit of their length"
    assert degenerate([*[ended] * 11, *others]) == ""


def test_an_adapter_that_answers_all_alike_is_named_and_the_base_is_not() -> None:
    one = SubjectScore(score=0.2, examples=100, loss=1.0, degenerate="answers 'neutral' to 95 of 100 rows")
    tasks = {"tweets": TaskScores(kind="classify", metric="macro_f1", scores={"base": one, "shared": one})}
    scores = Scores(split="test", confidence=0.95, resamples=100, tasks=tasks, transfer={})
    assert scores.warnings == ["shared on tweets: answers 'neutral' to 95 of 100 rows"]


def test_rows_that_training_shows_are_told_with_the_scores_on_the_others(prepare: Prepare, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    files = write_rows(folder, "moods", "classify", ["w1", "w2", "w3"])
    passages = [" ".join(f"w{(7 * i + 11 * j) % 78}" for j in range(16)) for i in range(14)]
    tested = [json.dumps({"text": text, "said": f"w{i % 3 + 1}"}) for i, text in enumerate(passages)]
    (folder / files["test"]).write_text("\n".join(tested))
    with (folder / files["train"]).open("a") as train:  # a longer text around the passage is another row
        train.writelines(json.dumps({"text": f"w5 {text} w6", "said": "w1"}) + "\n" for text in passages[:4])
    task = {"name": "moods", "prompt": "w0 {{ text }}", "answer": "{{ said }}", "kind": "classify"}
    run = prepare(tasks=[{**task, "data": {split: str(folder / file) for split, file in files.items()}}])
    scores = evaluate_run(RunFolder(tmp_path / "run"), run, subjects_of(run), lambda event: None)
    found = scores.tasks["moods"]
    assert (found.overlapping, scores.retention["known"].overlapping) == (4, 0)
    hidden = {one.id for one in run.tasks["moods"].data.examples["test"][:4]}
    for subject, shown_score in found.scores.items():
        answers = read_predictions(RunFolder(tmp_path / "run").predictions(subject, "moods", "test"))
        clean = [answer for answer in answers if answer.id not in hidden]
        assert len(clean) == 10
        assert shown_score.clean == run.tasks["moods"].data.task.score(clean).value
    (line,) = [line for line in score_warnings(scores) if "overlap" in line]
    assert line.startswith("4 of 14 test rows of moods overlap with training rows; on the other 10: base 0.")
