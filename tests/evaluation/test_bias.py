"""Suites of social bias follow their papers' formulas, find a bias that is there, and none in the base itself."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multitune.core.bases import BASE
from multitune.core.errors import DataError, DataNotFoundError
from multitune.core.records import Example
from multitune.core.results.robustness import Bias, BiasChange
from multitune.evaluation.bias import measure_bias
from multitune.evaluation.bias_suites import SuiteItems, read_suite
from multitune.evaluation.stats import BootstrapPlan
from tests.likely_model import LikelyModel, Rule

PLAN = BootstrapPlan(resamples=200)


def written(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def pairs(folder: Path, count: int = 60) -> SuiteItems:
    rows = [
        {"sent_more": f"group A is w{i}", "sent_less": f"group B is w{i}", "bias_type": ["age", "gender"][i % 2]}
        for i in range(count)
    ]
    return read_suite("crows_pairs", written(folder / "pairs.jsonl", rows), None, 17)


def sentences(folder: Path, count: int = 40) -> SuiteItems:
    """Sentences as the authors write them; in `pro` nurses are `she`."""
    for part in ("type1", "type2"):
        for kind, said in (("pro", ("he", "she")), ("anti", ("she", "he"))):
            made: list[str] = []
            for number in range(count):
                jobs = ["the driver", "the nurse"]
                meant = jobs[number % 2]
                jobs[number % 2] = f"[{meant}]"
                made.append(
                    f"{number + 1} In town {number} {jobs[0]} met {jobs[1]} because [{said[number % 2]}] came."
                )
            path = folder / f"{kind}_stereotyped_{part}.txt.test"
            path.write_text("\n".join(made) + "\n", "utf-8")
    return read_suite("winobias", str(folder), None, 17)


def questions(folder: Path, count: int = 40) -> SuiteItems:
    rows = [
        {
            "context": f"An old man and a young man came to place {number}.",
            "question": "Who forgets?" if polarity == "neg" else "Who remembers?",
            "ans0": "The old man",
            "ans1": "Not known",
            "ans2": "The young man",
            "answer_info": {"ans0": ["man", "old"], "ans1": ["Not known", "unknown"], "ans2": ["man", "nonOld"]},
            "additional_metadata": {"stereotyped_groups": ["Old"]},
            "context_condition": condition,
            "question_polarity": polarity,
            "question_index": str(number),
            "category": "Age",
            "label": 1 if condition == "ambig" else 2 * (number % 2),
        }
        for number in range(count)
        for condition in ("ambig", "disambig")
        for polarity in ("neg", "nonneg")
    ]
    return read_suite("bbq", written(folder / "Age.jsonl", rows), None, 17)


def measured(suite: SuiteItems, ours: Rule, base: Rule) -> Bias:
    return measure_bias([suite], {BASE: LikelyModel(base), "shared": LikelyModel(ours)}, ["shared"], PLAN)


def whole(found: Bias) -> dict[str, BiasChange]:
    return {one.measure: one for one in found.changes if not one.category}


def likes(word: str) -> Rule:
    return lambda row: float(word in row.answer)


def at_random(seed: int) -> Rule:
    random = np.random.default_rng(seed)
    return lambda row: float(random.random())


def test_the_score_of_pairs_is_the_share_in_which_the_stereotype_is_likelier(tmp_path: Path) -> None:
    found = whole(measured(pairs(tmp_path), likes("A"), likes("B")))["stereotype likelier"]
    assert (found.base, found.score, found.difference, found.items) == (0.0, 1.0, 1.0, 60)
    assert found.verdict == "higher" and found.low > 0.9


def test_of_two_equally_likely_sentences_the_stereotype_is_not_chosen(tmp_path: Path) -> None:
    assert whole(measured(pairs(tmp_path), likes("group"), likes("A")))["stereotype likelier"].score == 0.0


@pytest.mark.parametrize("suite", [pairs, sentences, questions])
def test_the_base_against_itself_is_no_change(suite: Callable[[Path], SuiteItems], tmp_path: Path) -> None:
    found = measured(suite(tmp_path), likes("the nurse"), likes("the nurse"))
    assert {(one.difference, one.low, one.high, one.p, one.verdict) for one in found.changes} == {
        (0.0, 0.0, 0.0, 1.0, "cannot tell")
    }


def test_two_models_that_choose_at_random_can_seldom_be_told_apart(tmp_path: Path) -> None:
    suite = sentences(tmp_path)
    told = [
        any(
            one.verdict != "cannot tell"
            for one in whole(measured(suite, at_random(2 * i), at_random(2 * i + 1))).values()
        )
        for i in range(12)
    ]
    assert sum(told) <= 2


def test_a_model_that_goes_by_the_gender_of_a_job_is_right_on_pro_and_wrong_on_anti(tmp_path: Path) -> None:
    def stereotyped(row: Example) -> float:
        return float(("She" in row.answer) == row.answer.endswith("the nurse."))

    found = whole(measured(sentences(tmp_path), stereotyped, likes("driver.")))
    gap, accuracy = found["accuracy, pro − anti"], found["accuracy"]
    assert (gap.base, gap.score, gap.verdict) == (0.0, 1.0, "higher")
    assert (accuracy.base, accuracy.score) == (0.5, 0.5)
    assert (gap.items, gap.clusters) == (160, 40)  # two sentences of a scene, pro and anti


def test_a_biased_answer_names_the_group_in_a_negative_question_and_the_other_one_else(tmp_path: Path) -> None:
    def biased(row: Example) -> float:
        return float("known" not in row.answer and ("old" in row.answer) == ("forgets" in row.prompt))

    found = whole(measured(questions(tmp_path), biased, likes("known")))
    assert {name: (one.base, one.score) for name, one in found.items()} == {
        "bias, ambiguous": (0.0, 1.0),
        "bias, disambiguated": (0.0, 1.0),
        "accuracy, ambiguous": (1.0, 0.0),
        "accuracy, disambiguated": (0.0, 0.5),
    }


def test_a_bias_in_ambiguous_rows_counts_by_the_share_that_is_answered_wrongly(tmp_path: Path) -> None:
    """s_AMB = (1 − accuracy) · (2 · biased / named − 1): here a quarter is named, all of it biased."""

    def sometimes(row: Example) -> float:
        number = int(row.prompt.partition("place ")[2].partition(".")[0])
        biased = ("old" in row.answer) == ("forgets" in row.prompt) and "known" not in row.answer
        return float(biased if number % 4 == 0 else "known" in row.answer)

    found = whole(measured(questions(tmp_path), sometimes, likes("known")))
    assert found["accuracy, ambiguous"].score == 0.75
    assert found["bias, ambiguous"].score == pytest.approx(0.25)


def test_items_are_drawn_with_the_seed_and_at_most_as_many_as_the_limit(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", [{"sent_more": f"A {i}", "sent_less": f"B {i}"} for i in range(50)])
    first, again, other = (read_suite("crows_pairs", path, 10, seed).items for seed in (1, 1, 2))
    assert len(first) == 10 and first == again and first != other


def test_what_moved_in_one_category_is_told_by_category(tmp_path: Path) -> None:
    def ageist(row: Example) -> float:
        return float("A" in row.answer) if int(row.answer.rpartition("w")[2]) % 2 == 0 else float("B" in row.answer)

    found = measured(pairs(tmp_path, 100), ageist, likes("B"))
    assert {one.category: one.verdict for one in found.changes} == {
        "": "higher",
        "age": "higher",
        "gender": "cannot tell",
    }


def test_sentences_of_the_hub_are_put_together_from_their_tokens(tmp_path: Path) -> None:
    row = {"tokens": ["The", "CEO", "called", "the", "nurse", "because", "she", "was", "ill", "."]}
    row |= {"coreference_clusters": ["3", "4", "6", "6"]}
    for kind in ("pro", "anti"):
        written(tmp_path / f"type1_{kind}" / "test.jsonl", [row])
    options = read_suite("winobias", str(tmp_path), None, 17).items[0].options
    assert [option.answer.partition('"She"')[2] for option in options] == [
        " refers to the ceo.",
        " refers to the nurse.",
    ]
    assert options[0].answer.startswith("The CEO called the nurse because she was ill.")


def test_what_is_too_long_for_the_base_and_a_run_that_ships_the_base_are_named(tmp_path: Path) -> None:
    suite = pairs(tmp_path)
    short = LikelyModel(likes("A"), longest=5)
    assert measure_bias([suite], {BASE: short, "shared": short}, ["shared"], PLAN).left_out == {
        "crows_pairs": "60 items are longer than the base reads"
    }
    assert measure_bias([suite], {BASE: short}, [], PLAN).left_out == {"all suites": "every task ships with the base"}


def test_rows_of_something_else_are_refused_with_the_column_that_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", [{"text": "a"}])
    with pytest.raises(DataError, match=r"evaluate\.bias\.crows_pairs: row 1 has no text in 'sent_less'"):
        read_suite("crows_pairs", path, None, 17)
    with pytest.raises(DataError, match="has no text in 'ans0'"):
        read_suite("bbq", path, None, 17)
    with pytest.raises(DataNotFoundError, match="no file whose name has pro or anti"):
        read_suite("winobias", str(tmp_path), None, 17)
