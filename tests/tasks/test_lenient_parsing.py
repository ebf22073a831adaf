"""The lenient reading: what an output means, whatever form a chatty model gives it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.config.source import SourceConfig
from multitune.config.task import TaskConfig
from multitune.core.records import Example
from multitune.tasks.lenient_parsing import (
    LenientReader,
    lenient_label,
    lenient_number,
    lenient_spans,
    lenient_text,
)
from multitune.tasks.output_parsing import read_label
from multitune.tasks.task import Task

MOODS = ("bearish", "bullish", "neutral")
INTENTS = ("card arrival", "card arrival delay", "refund not shown", "entailment", "not entailment", "A")
TYPES = ("PER", "ORG", "LOC", "MISC")
PAIR = (("Acme Corp.", "ORG"), ("Jane Roe", "PER"))


@pytest.mark.parametrize(
    "text",
    [
        "bullish",
        "**Bullish**",
        '"bullish."',
        "The answer is bullish.",
        "Sentiment: `Bullish`",
        "The sentiment of this tweet is **bullish**, because profits rose.",
        "```\nbullish\n```",
        "<think>bearish? neutral? no</think>\nbullish",
        "It is bullish, not bearish.",
        "This is neither bearish nor neutral: bullish",
        "Bearish news and neutral news were weighed.\n\nAnswer: bullish",
        r"\\boxed{bullish}".replace("\\\\", "\\"),
        "# Answer\nbullish",
        "I think the tweet sounds bullish overall!",
    ],
)
def test_a_label_is_found_in_the_talk_around_it(text: str) -> None:
    assert lenient_label(text, MOODS) == "bullish"


@pytest.mark.parametrize(
    "text", ["", "no idea", "bullish or bearish", "It could be neutral or bullish.", "It is not bullish.", "bull-ish"]
)
def test_a_text_that_names_no_label_or_several_is_unreadable(text: str) -> None:
    assert lenient_label(text, MOODS) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("This is about a card_arrival delay.", "card arrival delay"),
        ("Intent: Card Arrival", "card arrival"),
        ("The relation would be not entailment here", "not entailment"),
        ("I choose (A).", "A"),
        ("a good question", None),
        ("The customer's refund is not shown", None),
        ("Answer: refund_not_shown (their money is missing)", "refund not shown"),
    ],
)
def test_a_longer_label_is_not_taken_for_the_one_inside_it(text: str, label: str | None) -> None:
    assert lenient_label(text, INTENTS) == label


@given(st.text(), st.sampled_from([MOODS, INTENTS]))
def test_what_the_strict_reading_reads_the_lenient_one_reads_alike(text: str, labels: tuple[str, ...]) -> None:
    strict = read_label(text, labels)
    assert strict is None or lenient_label(text, labels) == strict


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("**42**", 42),
        (r"So we get $\boxed{1{,}234}$ apples out of 5000.", 1234),
        ("The answer is 42. It took 3 steps.", 3),
        ("The answer is $1.5 million\n\nNote 3 explains it", 1.5e6),
        (r"Answer: 12.5\%", 0.125),
        ("1. First 3 + 4\n2. Then 7 * 2 = 14", 14),
        ("Reason 9.\n#### 18\nAnother 5", 18),
        ("<think>It might be 3</think> 4", 4),
        ("`-7`", -7),
        ("no number", None),
    ],
)
def test_a_number_is_the_one_that_the_text_ends_on(text: str, number: float | None) -> None:
    assert lenient_number(text) == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    "text",
    [
        "Acme Corp., ORG\nJane Roe, PER",
        "- Acme Corp., ORG\n- Jane Roe, PER",
        "1. Acme Corp. (ORG)\n2. Jane Roe (PER)",
        "* **Acme Corp.**: Organization\n* **Jane Roe**: Person",
        'Here are the entities:\n\n- "Acme Corp." - ORG\n- "Jane Roe" - PER',
        "ORG: Acme Corp.\nPER: Jane Roe\nLOC: none",
        "Acme Corp. (ORG), Jane Roe (PER)",
        "Acme Corp., ORG, Jane Roe, PER",
        "Acme Corp., ORG; Jane Roe, PER",
        "| Name | Type |\n|---|---|\n| Acme Corp. | ORG |\n| Jane Roe | PER |",
        '```json\n[{"name": "Acme Corp.", "type": "ORG"}, {"name": "Jane Roe", "type": "PERSON"}]\n```',
        '[["Acme Corp.", "ORG"], ["Jane Roe", "PER"]]',
        '{"ORG": ["Acme Corp."], "PER": ["Jane Roe"]}',
        '{"Acme Corp.": "ORG", "Jane Roe": "PER"}',
        "**Organizations:**\n- Acme Corp.\n\n**Persons:**\n- Jane Roe",
        "Acme Corp. → ORG\nJane Roe → PER",
    ],
)
def test_entities_are_read_from_lists_of_any_style(text: str) -> None:
    assert lenient_spans(text, TYPES) == PAIR


@pytest.mark.parametrize("text", ["none", "None.", "There are no named entities in this sentence.", "[]", "ORG: none"])
def test_a_text_that_says_so_holds_no_entities(text: str) -> None:
    assert lenient_spans(text, TYPES) == ()


@pytest.mark.parametrize("text", ["", "I cannot help with that", "Acme Corp."])
def test_a_text_without_entities_that_does_not_say_so_is_unreadable(text: str) -> None:
    assert lenient_spans(text, TYPES) is None


@pytest.mark.parametrize(
    "text", ["Paris", "The answer is Paris.", '"Paris"', "**Paris**", "Answer: Paris!", "```\nParis\n```"]
)
def test_a_text_loses_what_only_dresses_it(text: str) -> None:
    assert lenient_text(text) == "Paris"


@given(st.text())
def test_any_text_can_be_read_without_failing(text: str) -> None:
    assert lenient_label(text, MOODS) in (*MOODS, None)
    assert isinstance(lenient_number(text), float | None)
    assert isinstance(lenient_spans(text, TYPES), tuple | None)
    assert isinstance(lenient_text(text), str | None)


def task(kind: str, metric: str | None = None) -> Task:
    fields = {"name": "one", "data": SourceConfig(train="rows"), "prompt": "p", "answer": "{{ a }}", "kind": kind}
    return Task(
        TaskConfig.model_validate({**fields, "metric": metric, "labels": MOODS if kind == "classify" else None})
    )


@pytest.mark.parametrize(
    ("kind", "metric", "gold", "output", "before", "after"),
    [
        ("classify", None, "bullish", "The tweet sounds bullish overall", 0, 1),
        ("number", None, 1234.0, r"\boxed{1{,}234}", 0, 1),
        ("tag", None, PAIR, "- Acme Corp. (ORG)\n- Jane Roe (PER)", 0, 1),
        ("generate", "exact_match", "Paris.", "The answer is **Paris**", 0, 1),
        ("generate", "exact_match", "Paris.", "Rome", 0, 0),
    ],
)
def test_predictions_are_read_and_scored_again(
    kind: str, metric: str | None, gold: Any, output: str, before: float, after: float
) -> None:
    one = task(kind, metric)
    strict = one.predict(Example("one", "row", "p", str(gold), gold), output)
    (lenient,) = LenientReader(one, [PAIR] if kind == "tag" else []).reread([strict])
    assert (strict.score, lenient.score, lenient.output) == (before, after, output)


@given(st.lists(st.tuples(st.text(st.characters(categories=["L", "N", "Zs"]), min_size=1), st.sampled_from(TYPES))))
def test_entities_in_the_form_that_training_taught_keep_their_score(spans: list[tuple[str, str]]) -> None:
    written = "\n".join(f"{name} , {kind}" for name, kind in spans) or "none"
    one = task("tag")
    gold = one.read(written)
    if gold is not None:
        strict = one.predict(Example("one", "row", "p", written, gold), written)
        (lenient,) = LenientReader(one, [[("x", kind) for kind in TYPES]]).reread([strict])
        assert strict.score == lenient.score == 1.0
