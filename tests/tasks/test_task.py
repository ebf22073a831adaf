"""Tasks: rows to examples, outputs to values, values to a score, and what a bad row is told."""

import hashlib

import pytest

from multitune.config.schema import TaskConfig
from multitune.core.errors import TaskError
from multitune.core.records import Example
from multitune.tasks.task import Task

ROWS = [{"text": "up", "label": "bullish"}, {"text": "down", "label": "bearish"}, {"text": "flat", "label": "neutral"}]


def task(**fields: object) -> Task:
    base = {
        "name": "t",
        "data": {"train": "x"},
        "kind": "classify",
        "prompt": "Say: {{ text }}",
        "answer": "{{ label }}",
    }
    return Task(TaskConfig.model_validate(base | fields))


def fitted(**fields: object) -> tuple[Task, list[Example]]:
    made = task(**fields)
    examples = made.examples(ROWS)
    made.fit_labels(example.gold for example in examples)
    return made, examples


def test_a_row_becomes_a_prompt_and_an_answer() -> None:
    hashed = hashlib.sha256(b"Say: upbullish").hexdigest()[:16]
    assert task().examples(ROWS[:1]) == [Example("t", hashed, "Say: up", "bullish", "bullish")]


def test_the_same_row_twice_gets_two_ids() -> None:
    first, second, third = task().examples([ROWS[0]] * 3)
    assert (second.id, third.id) == (f"{first.id}-2", f"{first.id}-3")


def test_ids_stay_apart_when_one_looks_like_the_second_of_another() -> None:
    rows = [ROWS[0] | {"key": key} for key in ("a", "a-2", "a", "a")]
    assert len({example.id for example in task(id="key").examples(rows)}) == 4


def test_id_and_group_come_from_their_columns_as_text() -> None:
    (example,) = task(id="key", group="doc").examples([ROWS[0] | {"key": 7, "doc": 3}])
    assert (example.id, example.group) == ("7", "3")


@pytest.mark.parametrize(
    ("kind", "answer", "gold"),
    [
        ("generate", "Some text", "Some text"),
        ("number", "12.5%", 0.125),
        ("regress", "-3.5", -3.5),
        ("tag", "A B, ORG\nC, PER", (("A B", "ORG"), ("C", "PER"))),
        ("tag", "none", ()),
    ],
)
def test_gold_is_what_the_metric_compares(kind: str, answer: str, gold: object) -> None:
    (example,) = task(kind=kind).examples([{"text": "x", "label": answer}])
    assert example.gold == gold


@pytest.mark.parametrize(
    ("kind", "answer"), [("classify", "bullish"), ("generate", "Some text"), ("number", "1,5"), ("tag", "A, ORG")]
)
def test_the_gold_answer_said_back_scores_one(kind: str, answer: str) -> None:
    made = task(kind=kind)
    examples = made.examples([{"text": "x", "label": answer}])
    made.fit_labels(example.gold for example in examples)
    assert made.predict(examples[0], answer).score == 1


def test_labels_are_read_off_the_training_rows_in_order() -> None:
    assert fitted()[0].labels == ("bearish", "bullish", "neutral")


def test_labels_of_the_configuration_win() -> None:
    assert fitted(labels=["neutral", "bullish", "bearish", "other"])[0].labels[-1] == "other"


def test_labels_before_they_are_known_are_an_error() -> None:
    with pytest.raises(TaskError, match="not known yet"):
        assert task().labels


def test_a_task_without_labels_has_none() -> None:
    assert task(kind="generate").labels == ()


def test_a_label_outside_the_list_is_told_with_the_nearest() -> None:
    message = (
        r"task 't': row 1 has the label 'bullish'\. Did you mean 'bulish'\? All: bulish, bear\. Add it to `labels`"
    )
    with pytest.raises(TaskError, match=message):
        task(labels=["bulish", "bear"]).examples(ROWS)


def test_a_label_unseen_in_train_is_told_with_the_remedy() -> None:
    made, _ = fitted()
    with pytest.raises(TaskError, match=r"row 11 has the label 'sideways'\..*list all labels under `labels`"):
        made.examples([{"text": "x", "label": "sideways"}], first=10)


def test_examples_made_before_the_fit_are_checked_by_their_id() -> None:
    made = task(id="key")
    validation = made.examples([{"text": "x", "label": "sideways", "key": "k9"}])
    made.fit_labels(e.gold for e in made.examples([row | {"key": row["text"]} for row in ROWS]))
    with pytest.raises(TaskError, match="row with id 'k9' has the label 'sideways'"):
        made.check_labels(validation)


def test_a_missing_column_is_told_once_for_all_rows() -> None:
    with pytest.raises(TaskError, match=r"^task 't': answer: the rows have no column 'label'\. .*All: labels, text$"):
        task().examples([{"text": "x", "labels": "a"}] * 3)


def test_a_column_missing_from_one_row_is_told_with_its_number() -> None:
    with pytest.raises(TaskError, match=r"answer: 'label' is undefined.*\[row 2\]"):
        task().examples([ROWS[0], {"text": "x"}])


@pytest.mark.parametrize("setting", ["id", "group"])
def test_an_id_or_group_that_is_no_column_is_told(setting: str) -> None:
    with pytest.raises(TaskError, match=f"{setting} is 'labels', which is no column. Did you mean 'label'"):
        task(**{setting: "labels"}).examples(ROWS)


@pytest.mark.parametrize(
    ("row", "fields", "message"),
    [
        ({"text": "", "label": "a"}, {"prompt": "{{ text }}"}, "row 1 gives an empty prompt"),
        ({"text": "x", "label": None}, {}, "row 1 gives an empty answer"),
        ({"text": "x", "label": "many"}, {"kind": "number"}, "row 1 has the answer 'many', which is no number"),
        (
            {"text": "x", "label": "A, ORG\nB"},
            {"kind": "tag"},
            r"row 1 has the answer 'A, ORG\\nB'; each line must be `span, TYPE`",
        ),
        ({"text": "x", "label": " ", "key": 5}, {"id": "key"}, r"row 1 \(id '5'\) gives an empty answer"),
        ({"text": "x", "label": "a", "key": None}, {"id": "key"}, "row 1 has nothing in the column 'key'"),
    ],
)
def test_a_bad_row_is_told_with_its_number(row: dict, fields: dict, message: str) -> None:
    with pytest.raises(TaskError, match=f"task 't': {message}"):
        task(**fields).examples([row])


def test_no_rows_give_no_examples() -> None:
    assert task().examples([]) == []


def test_a_prediction_keeps_the_output_and_what_it_says() -> None:
    made, examples = fitted()
    prediction = made.predict(examples[0], " Bullish!\n", loss=0.5)
    assert (prediction.output, prediction.value, prediction.score, prediction.loss) == (
        " Bullish!\n",
        "bullish",
        1,
        0.5,
    )


def test_an_unreadable_output_is_wrong() -> None:
    made, examples = fitted()
    prediction = made.predict(examples[0], "who knows")
    assert (prediction.value, prediction.score) == (None, 0)


def test_a_classify_score_has_accuracy_and_macro_f1_besides() -> None:
    made, examples = fitted(metric="matthews")
    score = made.score([made.predict(example, "bullish") for example in examples])
    assert (score.metric, score.examples, score.extra) == (
        "matthews",
        3,
        {"accuracy": pytest.approx(1 / 3), "macro_f1": pytest.approx(1 / 6)},
    )


def test_nothing_to_score_is_an_error_and_not_zero() -> None:
    with pytest.raises(TaskError, match="no predictions to score"):
        task().score([])
