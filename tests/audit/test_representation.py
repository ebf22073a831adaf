"""Rates of mentions in sets and in the mixture, and the skew of one set or of several."""

import pytest

from multitune.audit.representation import CHECKS
from tests.audit.audited_sets import audit_set, audited, example_rows, findings, measures

(CHECK,) = CHECKS


def rows(text: str, times: int, answer: str = "yes") -> list[dict[str, str]]:
    return [{"text": text, "answer": answer}] * times


def test_a_rate_is_per_thousand_words_with_an_interval_that_holds_it() -> None:
    one = audit_set("a", rows("the old man sat down here and slept", 20), kind="generate")
    found = measures(CHECK.find(audited(CHECK, one)))
    men = found["a", "gender: men"]
    assert men.value == pytest.approx(1000 / 9)  # nine words with the answer
    assert men.interval is not None and men.interval[0] < men.value < men.interval[1]


def test_mentions_are_counted_with_and_without_those_that_may_mean_something_else() -> None:
    one = audit_set("a", [*rows("a short position here", 10), *rows("a short man came", 10)])
    found = measures(CHECK.find(audited(CHECK, one)))
    assert found["a", "body type, of people"].value == pytest.approx(100)
    assert found["a", "body type, in any sense"].value == pytest.approx(200)


def test_what_the_template_says_is_no_mention() -> None:
    one = audit_set("a", rows("it rains", 20), prompt="Does this man mean it? {{ text }}")
    assert ("a", "gender: men") not in measures(CHECK.find(audited(CHECK, one)))


def test_the_mixture_weighs_sets_as_they_are_drawn() -> None:
    sets = audit_set("a", rows("he was here now", 20)), audit_set("b", rows("it was here now", 20))
    shares = [{"a": 0.5, "b": 0.5}, {"a": 0.25, "b": 0.75}, {"a": 0.0, "b": 1.0}]
    found = measures(CHECK.find(audited(CHECK, *sets, shares=shares)))
    values = [found["mixture", f"gender: men, {moment}"].value for moment in ("start", "middle", "end")]
    assert values == pytest.approx([100, 50, 0])


def test_a_skew_of_one_set_is_low_and_of_two_is_medium() -> None:
    skewed = [*rows("he said so", 60), *rows("she said so", 4)]
    alone = findings(CHECK, audit_set("a", skewed), audit_set("c", rows("she and he", 50)))
    assert [(one.sets, one.severity, one.subject) for one in alone] == [(("a",), "low", "men")]
    both = findings(CHECK, audit_set("a", skewed), audit_set("b", skewed))
    assert [(one.sets, one.severity) for one in both][-1] == (("a", "b"), "medium")


def test_a_few_mentions_prove_no_skew() -> None:
    assert findings(CHECK, audit_set("a", [*rows("he said so", 4), *rows("she said so", 1)])) == []


def test_the_sets_of_the_team_example_are_left_in_peace() -> None:
    cards = audit_set("cards", example_rows("team/data/cards/train.jsonl", text="text", answer="intent"))
    analysis = audit_set("analysis", example_rows("team/data/analysis/train.jsonl", text="text", answer="needs"))
    assert findings(CHECK, cards, analysis) == []
