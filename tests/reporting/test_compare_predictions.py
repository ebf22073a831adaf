"""Files of predictions are compared by the statistics of a run, whatever wrote them; others are refused."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from multitune.core.errors import DataError, DataNotFoundError, InputError, RunFolderError
from multitune.core.records import Prediction
from multitune.evaluation.stats import BootstrapPlan
from multitune.evaluation.transfer import Arms, compare
from multitune.reporting.compare_predictions import Scoring, compare_predictions
from multitune.tasks.metrics import METRICS

COUNT = 80
LABELS = ("bearish", "bullish", "neutral")
Save = Callable[[str, Sequence[dict[str, Any]]], Path]
MACRO, ACCURACY = Scoring({"": "macro_f1"}), Scoring({"": "accuracy"})


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def rows(name: str, content: Sequence[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
        return path

    return rows


def answers(right: float, seed: int, *, gold: bool = True) -> list[dict[str, Any]]:
    """Rows of a three-label task, of which a share is right."""
    dice, golds = random.Random(seed), random.Random(1)
    found: list[dict[str, Any]] = []
    for row in range(COUNT):
        label = golds.choice(LABELS)
        output = label if dice.random() < right else dice.choice([one for one in LABELS if one != label])
        found.append({"id": row, "output": output, **({"gold": label} if gold else {})})
    return found


def predictions(rows: Sequence[dict[str, Any]]) -> list[Prediction]:
    return [
        Prediction("a", str(row["id"]), row["output"], row["output"], row["gold"], float(row["output"] == row["gold"]))
        for row in rows
    ]


def test_numbers_and_verdict_are_those_of_a_transfer_table(save: Save) -> None:
    one, other = answers(0.4, 2), answers(0.9, 3)
    found = compare_predictions([save("a.jsonl", one), save("b.jsonl", other)], scoring=MACRO)
    (row,) = compare(
        {"a": Arms(predictions(one), predictions(other))}, {"a": METRICS["macro_f1"]}, BootstrapPlan()
    ).tasks
    second = found.tasks["a"].runs[1]
    assert second.difference is not None
    assert (second.difference.difference, second.difference.low, second.p_holm, second.verdict) == (
        row.difference,
        row.low,
        row.p_holm,
        row.verdict,
    )
    assert second.verdict == "ahead in this run" and found.tasks["a"].examples == COUNT


def test_a_gold_answer_may_stand_on_either_side(save: Save) -> None:
    first, second = save("a.jsonl", answers(0.4, 2)), save("b.jsonl", answers(0.9, 3, gold=False))
    there, back = (compare_predictions(sides, scoring=ACCURACY) for sides in ([first, second], [second, first]))
    assert [run.score for run in there.tasks["a"].runs] == [run.score for run in reversed(back.tasks["b"].runs)]


def test_rows_without_an_id_are_known_by_their_prompt(save: Save) -> None:
    made = [
        [{"prompt": f"p{row['id']}", "predict": row["output"], "label": row["gold"]} for row in answers(right, seed)]
        for right, seed in ((0.5, 2), (0.5, 3))
    ]
    turned = compare_predictions([save("a.jsonl", made[0]), save("b.jsonl", made[1][::-1])], scoring=ACCURACY)
    straight = compare_predictions([save("a.jsonl", made[0]), save("b.jsonl", made[1])], scoring=ACCURACY)
    assert turned.tasks == straight.tasks


def test_folders_are_compared_task_by_task_with_p_adjusted_over_them(save: Save, tmp_path: Path) -> None:
    for name, right in (("one", 0.4), ("two", 0.7)):
        save(f"{name}/labels.test.jsonl", answers(right, 2))
        numbers = [{"id": i, "output": f"it is {i}", "gold": i if i % 3 else i + 9} for i in range(COUNT)]
        save(f"{name}/numbers.jsonl", numbers)
    save("one/alone.jsonl", answers(0.5, 2))
    scoring = Scoring({"": "accuracy", "numbers": "numeric_match"})
    found = compare_predictions([tmp_path / "one", tmp_path / "two"], scoring=scoring)
    assert list(found.tasks) == ["labels", "numbers"] and found.left_out == ("alone",)
    numbers = found.tasks["numbers"]
    assert [round(run.score, 3) for run in numbers.runs] == [0.662, 0.662] and numbers.runs[1].p_holm == 1.0
    single = compare_predictions([tmp_path / "one", tmp_path / "two"], tasks=["labels"], scoring=scoring)
    p, alone = found.tasks["labels"].runs[1].p_holm, single.tasks["labels"].runs[1].p_holm
    assert p is not None and alone is not None and p == pytest.approx(2 * alone)


def test_a_run_file_says_how_its_tasks_are_scored(save: Save, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "tasks: [{name: a, kind: classify, data: x.jsonl, prompt: p, answer: a, metric: matthews}]\n"
    )
    paths = [save("a.jsonl", answers(0.4, 2)), save("b.jsonl", answers(0.5, 3))]
    assert compare_predictions(paths, scoring=Scoring(run_file=tmp_path / "run.yaml")).tasks["a"].metric == "matthews"


def test_entities_and_texts_have_metrics_too(save: Save) -> None:
    entities = [{"id": i, "output": f"w{i}, ORG", "gold": [[f"w{i}", "ORG"]]} for i in range(9)]
    path = save("a.jsonl", entities)
    assert compare_predictions([path, path], scoring=Scoring({"": "entity_f1"})).tasks["a"].runs[0].score == 1.0
    path = save("b.jsonl", [{"id": i, "response": f"the cat {i}", "reference": f"the cat {i}"} for i in range(9)])
    assert compare_predictions([path, path], scoring=Scoring({"": "rouge_l"})).tasks["b"].runs[0].score == 1.0


@pytest.mark.parametrize(
    ("other", "scoring", "error", "fault"),
    [
        (answers(0.5, 3)[:70], ACCURACY, RunFolderError, r"answered different rows, .*a \(80 given and 70 given rows"),
        (
            [{"id": 0, "gold": "bearish"}],
            ACCURACY,
            DataError,
            r"row 1 has no output. Name it `output`; found: id, gold",
        ),
        (
            [{"id": "x", "output": "bearish"}],
            ACCURACY,
            DataError,
            r"row 1 \(id 'x'\) has no `gold`, and no other side",
        ),
        (answers(0.5, 3), Scoring(), InputError, r"nothing says how 'a' is scored. Give --metric a=NAME"),
        (answers(0.5, 3), Scoring({"": "acc"}), InputError, r"--metric a=acc: Did you mean 'accuracy'\?"),
        (answers(0.5, 3), Scoring({"": "pearson"}), DataError, "has the gold '.*', no answer of kind number"),
    ],
)
def test_what_does_not_compare_is_refused(
    save: Save, other: list[dict[str, Any]], scoring: Scoring, error: type[Exception], fault: str
) -> None:
    with pytest.raises(error, match=fault):
        compare_predictions([save("a.jsonl", answers(0.5, 2)), save("b.jsonl", other)], scoring=scoring)


def test_one_side_or_none_in_common_is_refused(save: Save, tmp_path: Path) -> None:
    one = save("one/a.jsonl", answers(0.5, 2)).parent
    other = save("other/b.jsonl", answers(0.5, 2)).parent
    with pytest.raises(InputError, match="needs two runs or folders"):
        compare_predictions([one])
    with pytest.raises(InputError, match=r"no task in common \(.*one: a; .*other: b\)"):
        compare_predictions([one, other], scoring=ACCURACY)
    with pytest.raises(DataNotFoundError, match=r"nowhere: no such file or folder"):
        compare_predictions([one, tmp_path / "nowhere"])
