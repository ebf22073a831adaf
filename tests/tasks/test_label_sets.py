"""Several labels per row: how they are written, read back, and scored."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score
from sklearn.preprocessing import MultiLabelBinarizer

from multitune.config.schema import TaskConfig
from multitune.core.errors import TaskError
from multitune.core.records import Example
from multitune.tasks.lenient_parsing import LenientReader
from multitune.tasks.metrics import METRICS
from multitune.tasks.task import Task

SETS = st.sets(st.sampled_from("abcd")).map(lambda one: tuple(sorted(one)))


def task(answer: str = "{{ tags | labels }}", **fields: Any) -> Task:
    given = {"name": "t", "data": {"train": "x"}, "kind": "labels", "prompt": "say {{ text }}", "answer": answer}
    return Task(TaskConfig.model_validate(given | fields))


def examples(tags: list[Any], answer: str = "{{ tags | labels }}", **fields: Any) -> list[Example]:
    return task(answer, **fields).examples([{"text": f"w{i}", "tags": one} for i, one in enumerate(tags)])


@pytest.mark.parametrize(
    ("cell", "reads"),
    [
        (["b", "a", "b"], "{{ tags | labels }}"),
        ("b; a", '{{ tags | labels(";") }}'),
        ("b;a;", '{{ tags | labels(";") }}'),
        ("b, a", '{{ tags | labels(",") }}'),
        ('["b", "a"]', "{{ tags | labels }}"),  # JSON in a cell
        ("['b', 'a']", "{{ tags | labels }}"),  # a list of Python, as pandas writes it
        ({"a": 1, "b": True, "c": 0}, "{{ tags | labels }}"),
        ([1, 0], '{{ tags | labels("", ["a", "b"]) }}'),
        ("b\na", "{{ tags }}"),
    ],
)
def test_however_a_row_writes_its_labels_the_answer_is_one_per_line_in_order(cell: Any, reads: str) -> None:
    (example,) = examples([cell], reads)
    assert (example.answer, example.gold) == ("a\nb", ("a", "b"))


def test_a_row_without_labels_answers_none() -> None:
    assert [(one.answer, one.gold) for one in examples([[], "[]"])] == [("none", ())] * 2


@pytest.mark.parametrize("cell", [None, "", float("nan")])
def test_a_cell_with_nothing_is_refused_unless_the_template_says_that_it_means_no_label(cell: Any) -> None:
    with pytest.raises(TaskError, match=r"row 1|nothing in tags"):
        examples([cell])


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("['a' 'b']", "no list as JSON or Python writes it"),  # numpy's, which Python would read as 'ab'
        ("[a, b]", "no list as JSON or Python writes it"),
        ([["a"]], "is no label"),
        ({"a": "yes"}, "where 0 or 1 says whether it applies"),
        (["none", "a"], "stands beside others"),
    ],
)
def test_what_is_no_set_of_labels_is_told_with_its_row(cell: Any, says: str) -> None:
    with pytest.raises(TaskError, match=says) as caught:
        examples([cell])
    assert "row 1" in str(caught.value)


def test_the_label_set_is_that_of_all_rows_and_a_label_outside_of_it_is_refused() -> None:
    made = task()
    made.fit_labels(one.answer for one in examples([["b"], ["a", "c"], []]))
    assert made.labels == ("a", "b", "c")
    with pytest.raises(TaskError, match="has the label 'd'"):
        made.check_labels(examples([["a", "d"]]))
    with pytest.raises(TaskError, match="has the label 'b'"):
        examples([["a", "b"]], labels=["a"])


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("b\na", ("a", "b")),
        ("A\n a ", ("a",)),
        ("None.", ()),
        ("a, b", None),  # one line that is no label
        ("a\nzebra", None),
        ("", None),
    ],
)
def test_an_output_is_a_label_per_line_or_cannot_be_read(output: str, value: Any) -> None:
    assert task(labels=["a", "b", "new york"]).read(output) == value


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("- **a**\n- New York", ("a", "new york")),
        ("The labels are: new york, b", ("b", "new york")),
        ("There are none.", ()),
        ("I cannot say", None),
    ],
)
def test_lenient_parsing_finds_the_labels_that_a_text_names(output: str, value: Any) -> None:
    assert LenientReader(task(labels=["a", "b", "new york"]), []).read(output) == value


@given(st.lists(st.tuples(SETS, SETS), min_size=1))
def test_scores_of_sets_are_scikit_learns(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    values, golds = zip(*pairs, strict=True)
    labels = sorted({label for side in (values, golds) for one in side for label in one})
    true, predicted = (MultiLabelBinarizer(classes=labels).fit_transform(side) for side in (golds, values))
    if len(labels) < 2:  # which scikit-learn does not take for sets
        f1 = f1_score(true[:, 0], predicted[:, 0]) if labels else 1
        assert METRICS["micro_f1"].corpus(values, golds) == pytest.approx(f1)
        assert not labels or METRICS["macro_f1"].corpus(values, golds) == pytest.approx(f1)
        return
    scored = {name: METRICS[name].corpus(values, golds) for name in ("micro_f1", "macro_f1", "jaccard", "accuracy")}
    assert scored == pytest.approx(
        {
            "micro_f1": f1_score(true, predicted, average="micro", zero_division=1),
            "macro_f1": f1_score(true, predicted, average="macro"),
            "jaccard": jaccard_score(true, predicted, average="samples", zero_division=1),
            "accuracy": float(np.all(true == predicted, axis=1).mean()),
        }
    )
    for name in ("micro_f1", "macro_f1"):
        statistics = METRICS[name].statistics
        assert statistics and statistics(values, golds).score == pytest.approx(scored[name])


def test_a_set_read_back_from_json_scores_as_before() -> None:
    made = task(labels=["a", "b"])
    (example,) = made.examples([{"text": "w1", "tags": ["a", "b"]}])
    predictions = [made.predict(example, "b\na"), made.predict(example, "a")]
    score = made.score(predictions)
    assert (score.metric, set(score.extra)) == ("micro_f1", {"accuracy", "micro_f1", "macro_f1", "jaccard"})
    assert score.value == pytest.approx(2 * 3 / 7) and score.extra["accuracy"] == 0.5
    for name in score.extra:
        metric = METRICS[name]
        assert metric.corpus([["a", "b"], ["a"]], [["a", "b"]] * 2) == pytest.approx(score.extra[name])
