"""quality.label_errors: labels that the other rows of a set speak against, and none where all agree."""

import random

import numpy as np
import pytest

from multitune.audit.label_errors import CHECKS, LEAST_TEXTS, agreement, suspects
from tests.audit.made import Pairs, findings, made, measures

(CHECK,) = CHECKS
WORDS = {
    "gain": ["profit", "rose", "record", "strong", "beat", "growth"],
    "loss": ["debt", "fell", "weak", "missed", "lawsuit", "cut"],
}


def rows(number: int, seed: int = 3) -> list[tuple[str, str]]:
    """Texts of four words that belong to their label, among words that belong to none."""
    draw = random.Random(seed)
    label = ("gain", "loss")
    return [
        (f"{' '.join(draw.choices(WORDS[label[at % 2]], k=4))} in quarter {at} for {draw.random():.6f}", label[at % 2])
        for at in range(number)
    ]


def flipped(pairs: Pairs, places: set[int]) -> list[tuple[str, str]]:
    other = {"gain": "loss", "loss": "gain"}
    return [(text, other[label] if at in places else label) for at, (text, label) in enumerate(pairs)]


def test_labels_that_words_agree_with_are_left_in_peace() -> None:
    assert findings(CHECK, made(train=rows(300), test=rows(60, seed=4))) == []
    assert measures(CHECK, made(train=rows(300))) == {"accuracy of a linear model of words": 1.0}


def test_wrong_labels_are_found_and_counted_where_they_are_held_out() -> None:
    train, test = flipped(rows(300), {10, 20, 30}), flipped(rows(60, seed=4), {5})
    (found,) = findings(CHECK, made(train=train, test=test))
    assert {(one.split, one.row) for one in found.examples} == {
        ("train", "train10"),
        ("train", "train20"),
        ("train", "train30"),
        ("test", "test5"),
    }
    assert (found.rows, found.of, found.severity) == (4, 360, "low")
    assert "4 of 360 texts, 1 of them held out" in found.message
    assert all(one.text.startswith(("gain, or loss? ", "loss, or gain? ")) for one in found.examples)


def test_many_wrong_labels_are_more_severe() -> None:
    (found,) = findings(CHECK, made(train=flipped(rows(300), set(range(0, 300, 6)))))
    assert (found.rows, found.severity) == (46, "medium")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_labels_that_no_word_tells_give_no_finding(share: float) -> None:
    draw = random.Random(1)
    pairs = [(text, "gain" if draw.random() < share else "loss") for text, _ in rows(400)]
    assert findings(CHECK, made(train=pairs)) == []
    assert findings(CHECK, made(train=pairs), agreed=-1.0) != []  # it is sure of much, and wrong in half of it


def test_copies_of_a_wrong_row_do_not_hide_it() -> None:
    pairs = flipped(rows(300), {10})
    (found,) = findings(CHECK, made(train=[*pairs, *[(pairs[10][0].upper(), pairs[10][1])] * 20]))
    assert [one.row for one in found.examples] == ["train10"]
    assert found.of == 300


def test_few_texts_single_labels_and_other_kinds_are_not_judged() -> None:
    few = flipped(rows(LEAST_TEXTS - 1), {10})
    one_label = [(text, "gain") for text, _ in rows(300)]
    assert measures(CHECK, made(train=few)) == {}
    assert measures(CHECK, made(train=one_label)) == {}
    assert measures(CHECK, made(kind="generate", train=flipped(rows(300), {10}))) == {}


def test_a_label_too_rare_to_be_learned_is_left_to_the_check_of_labels() -> None:
    (found,) = findings(CHECK, made(train=[*flipped(rows(300), {10}), ("profit rose strong", "rare")]))
    assert (found.rows, found.of) == (1, 300)


def test_texts_of_signs_alone_are_judged_too() -> None:
    pairs = [(f"{'+' if at % 2 else '-'} {at}", "up" if at % 2 else "down") for at in range(200)]
    assert measures(CHECK, made(train=pairs)) == {"accuracy of a linear model of words": 1.0}


def test_texts_of_many_labels_are_named_where_their_own_is_the_least_likely() -> None:
    labels = np.repeat(np.arange(20), 10)
    likely = np.full((200, 20), 0.03)  # of 20 labels, none is likely by much
    likely[np.arange(200), labels] = 0.43
    wrong = {7: 3, 55: 12}  # place -> the label that the text belongs to
    for place, label in wrong.items():
        likely[place] = 0.03
        likely[place, label] = 0.43
    assert suspects(likely, labels, 0.8, 0.3) == [7, 55]
    assert suspects(likely, labels, 0.8, 0.95) == []  # nine in ten of those labels' texts are taken to have them


def test_agreement_is_counted_from_chance_on() -> None:
    by_chance = np.array([[81, 9], [9, 1]])
    np.testing.assert_allclose(agreement(by_chance), [0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(agreement(np.diag([90, 10])), [1.0, 1.0])
    assert agreement(np.array([[90, 10], [0, 100]])).tolist() == pytest.approx(
        [9 / 11, 9 / 11]
    )  # 1 the other way round
