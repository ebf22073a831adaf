"""Metrics: known values, the edges, and what an unreadable output counts for."""

import random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from multitune.config.schema import TaskConfig
from multitune.core.errors import TaskError
from multitune.tasks.metrics import DEFAULTS, METRICS, metric_for

GOLDS = {
    "text": [1.0, 1.0, 1.0, 1.0],  # likelihoods
    "classify": ["a", "b", "a", "c"],
    "choice": ["a", "b", "a", "c"],  # what was chosen, of a model that tells no likelihoods
    "number": [1.0, 2.0, 4.0, 0.0],
    "labels": [("a", "b"), ("b",), (), ("a", "c")],
    "tag": [(("x", "ORG"),), (), (("y", "PER"), ("y", "PER")), (("z", "LOC"),)],
    "generate": ["the cat sat on the mat", "a dog ran far away", "one two three four", "yes it did so"],
}
ORDINARY = [
    (metric.name, next(golds for kind, golds in GOLDS.items() if kind in metric.kinds)) for metric in METRICS.values()
]


def config(**fields: object) -> TaskConfig:
    return TaskConfig.model_validate({"name": "t", "data": {"train": "x"}, "prompt": "p", "answer": "a"} | fields)


@pytest.mark.parametrize(("name", "golds"), ORDINARY)
def test_a_perfect_answer_scores_one(name: str, golds: list) -> None:
    assert METRICS[name].corpus(golds, golds) == pytest.approx(1)


@pytest.mark.parametrize(("name", "golds"), ORDINARY)
def test_a_perfect_example_scores_one(name: str, golds: list) -> None:
    assert [METRICS[name].example(gold, gold) for gold in golds] == pytest.approx([1] * 4)


@pytest.mark.parametrize(("name", "golds"), ORDINARY)
def test_unreadable_outputs_score_nothing(name: str, golds: list) -> None:
    assert METRICS[name].corpus([None] * 4, golds) == pytest.approx(0)


@pytest.mark.parametrize(("name", "golds"), ORDINARY)
def test_an_unreadable_example_scores_nothing(name: str, golds: list) -> None:
    assert [METRICS[name].example(None, gold) for gold in golds] == [0] * 4


@pytest.mark.parametrize(("name", "golds"), ORDINARY)
def test_one_unreadable_output_lowers_the_score(name: str, golds: list) -> None:
    assert METRICS[name].corpus([None, *golds[1:]], golds) < 1 - 1e-6


@pytest.mark.parametrize(("name", "golds"), ORDINARY)
def test_order_does_not_matter(name: str, golds: list) -> None:
    values = [*golds[1:], golds[0]]
    pairs = list(zip(values, golds, strict=True))
    random.Random(3).shuffle(pairs)
    assert METRICS[name].corpus(*zip(*pairs, strict=True)) == pytest.approx(METRICS[name].corpus(values, golds))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abc")), min_size=1))
def test_macro_f1_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    values, golds = zip(*pairs, strict=True)
    assert METRICS["macro_f1"].corpus(values, golds) == pytest.approx(f1_score(golds, values, average="macro"))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abc")), min_size=1))
def test_matthews_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    values, golds = zip(*pairs, strict=True)
    assume(len(set(golds)) > 1)
    assert METRICS["matthews"].corpus(values, golds) == pytest.approx(matthews_corrcoef(golds, values))


def test_matthews_of_one_label_is_zero() -> None:
    assert METRICS["matthews"].corpus(["a", "a"], ["a", "a"]) == 0


def test_unreadable_is_no_class_in_the_mean_of_f1() -> None:
    # a: F1 2/3, b: F1 1; a third class of unreadable outputs would make it 5/9.
    assert METRICS["macro_f1"].corpus(["a", None, "b"], ["a", "a", "b"]) == pytest.approx(5 / 6)


def test_balanced_accuracy_is_the_mean_recall_of_the_true_labels() -> None:
    assert METRICS["balanced_accuracy"].corpus(["a", "z", "b"], ["a", "a", "b"]) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("value", "gold", "right"),
    [(101.0, 100.0, 1), (101.1, 100.0, 0), (-99.0, -100.0, 1), (99.0, -100.0, 0), (0.0, 0.0, 1), (0.001, 0.0, 0)],
)
def test_a_number_matches_within_its_relative_tolerance(value: float, gold: float, right: int) -> None:
    assert METRICS["numeric_match"].example(value, gold) == right


def test_the_tasks_tolerance_is_bound() -> None:
    metric = metric_for(config(kind="number", tolerance=0.1))
    assert (metric.example(109.0, 100.0), metric.corpus([109.0, 120.0], [100.0, 100.0])) == (1, 0.5)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_constant_side_correlates_with_nothing(name: str) -> None:
    assert METRICS[name].corpus([3.0, 3.0, 3.0], [1.0, 2.0, 3.0]) == 0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_one_pair_correlates_with_nothing(name: str) -> None:
    assert METRICS[name].corpus([3.0], [1.0]) == 0


def test_spearman_sees_order_and_pearson_sees_lines() -> None:
    values, golds = [1.0, 2.0, 3.0, 100.0], [1.0, 2.0, 3.0, 4.0]
    assert METRICS["pearson"].corpus(values, golds) < METRICS["spearman"].corpus(values, golds) == pytest.approx(1)


def test_entity_f1_counts_over_all_rows() -> None:
    values = [[("x", "ORG"), ("w", "ORG")], []]  # one of two right, one of three found: P 1/2, R 1/3
    golds = [[("x", "ORG")], [("y", "PER"), ("y", "PER")]]
    assert METRICS["entity_f1"].corpus(values, golds) == pytest.approx(0.4)


def test_entities_that_came_through_json_count_the_same() -> None:
    assert METRICS["entity_f1"].corpus([[["x", "ORG"]]], [(("x", "ORG"),)]) == 1


def test_a_row_rightly_without_entities_is_right() -> None:
    assert METRICS["entity_f1"].example((), ()) == 1


def test_exact_match_forgives_case_and_white_space() -> None:
    assert METRICS["exact_match"].example(" The  Cat ", "the cat") == 1


def test_rouge_l_is_the_f_of_the_longest_common_subsequence() -> None:
    assert METRICS["rouge_l"].example("the cat sat", "the dog sat down") == pytest.approx(4 / 7)


def test_bleu_is_sacrebleus_corpus_score() -> None:
    from sacrebleu.metrics.bleu import BLEU

    dice = random.Random(5)
    words = ["the", "cat", "sat", "on", "a", "mat", "ran", "home"]
    golds = [" ".join(dice.choices(words, k=9)) for _ in range(20)]
    values = [" ".join(dice.choices(gold.split(), k=3) + gold.split()[2:7]) for gold in golds]
    expected = BLEU().corpus_score(values, [golds]).score / 100
    assert METRICS["bleu"].corpus(values, golds) == pytest.approx(expected)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_every_kind_has_a_default_that_suits_it(kind: str) -> None:
    assert kind in metric_for(config(kind=kind, **({"prompt": ""} if kind == "text" else {}))).kinds


def test_an_unknown_metric_is_told_with_the_nearest() -> None:
    with pytest.raises(TaskError, match=r"task 't': metric is 'f1_macro'\. Did you mean 'macro_f1'\? All: accuracy,"):
        metric_for(config(kind="classify", metric="f1_macro"))


def test_a_metric_of_another_kind_is_refused() -> None:
    with pytest.raises(TaskError, match=r"'rouge_l' is for kind generate, not classify\. .*All: accuracy,"):
        metric_for(config(kind="classify", metric="rouge_l"))


SCRIPTS = [
    "北京是首都",
    "Москва столица",
    "القاهرة هي العاصمة",
    "दिल्ली राजधानी है",
    "größe über alles",
    "two words",
    "1",
    "!?",
]


@pytest.mark.parametrize("metric", ["rouge_l", "bleu", "chrf", "exact_match"])
@pytest.mark.parametrize("text", SCRIPTS)
def test_a_perfect_answer_is_perfect_in_every_script(metric: str, text: str) -> None:
    assert METRICS[metric].corpus([text], [text]) == pytest.approx(1.0)
    assert METRICS[metric].example(text, text) == pytest.approx(1.0)
    assert METRICS[metric].example("xyz", text) < 0.1


@pytest.mark.parametrize(("value", "gold"), [("北京是首都", "北京不是首都"), ("दिल्ली राजधानी", "दिल्ली राजधानी है")])
def test_a_half_right_answer_lies_between(value: str, gold: str) -> None:
    assert 0.3 < METRICS["rouge_l"].example(value, gold) < 1
    assert 0.05 < METRICS["bleu"].example(value, gold) < 1


def test_rouge_of_english_is_that_of_rouge_score() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    value, gold = "The cat_sat on 2 mats, don't it?", "the cat sat; on 2.5 mats"
    assert METRICS["rouge_l"].example(value, gold) == RougeScorer(["rougeL"]).score(gold, value)["rougeL"].fmeasure


@pytest.mark.parametrize("metric", ["rouge_l", "bleu", "chrf", "exact_match"])
def test_two_spellings_of_a_character_are_one(metric: str) -> None:
    assert METRICS[metric].example("cafe\u0301 au lait", "caf\u00e9 au lait") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("said", "gold", "score"),
    [
        ("card > lost", "card > lost", 1.0),
        ("card > stolen", "card > lost", 0.5),  # the parent is right: 1 of 2 on each side
        ("card", "card > lost", 2 / 3),
        ("card>lost>abroad", "card > lost", 4 / 5),
        ("transfer > lost", "card > lost", 0.0),  # the same word below another parent is another label
        (None, "card > lost", 0.0),
    ],
)
def test_a_label_of_a_hierarchy_is_right_as_far_as_it_goes(said: str | None, gold: str, score: float) -> None:
    metric = METRICS["hierarchical_f1"]
    assert metric.corpus([said], [gold]) == metric.example(said, gold) == pytest.approx(score)


def test_without_a_hierarchy_it_is_the_accuracy() -> None:
    values, golds = ["a", "b", "a", None], ["a", "a", "b", "b"]
    assert METRICS["hierarchical_f1"].corpus(values, golds) == pytest.approx(METRICS["accuracy"].corpus(values, golds))


@pytest.mark.parametrize("rank", [1, 2, 4, 7])
def test_ranks_score_as_scikit_learn_scores_rankings_with_one_right_option(rank: int) -> None:
    from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score

    likelihoods, right = -np.arange(8.0)[None], np.eye(8)[[rank - 1]]
    expected = {
        "mrr": label_ranking_average_precision_score(right, likelihoods),
        "ndcg": ndcg_score(right, likelihoods),
        **{f"recall_at_{k}": top_k_accuracy_score([rank - 1], likelihoods, k=k, labels=range(8)) for k in (3, 5)},
    }
    assert {name: METRICS[name].corpus([rank], ["gold"]) for name in expected} == pytest.approx(expected)
