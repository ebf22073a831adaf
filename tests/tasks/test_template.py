"""Templates: what they render, and how they say what is wrong."""

from datetime import date
from decimal import Decimal

import pytest

from multitune.core.errors import TaskError
from multitune.tasks.filters import spans
from multitune.tasks.template import Template


def test_it_renders_columns_and_leaves_white_space() -> None:
    assert Template("  Tweet: {{ text }}\n", "p").render({"text": "up "}) == "  Tweet: up "


def test_a_block_leaves_no_line_of_its_own() -> None:
    source = "{% for q in history %}\n  Question: {{ q }}\n  {% endfor %}\nend"
    assert Template(source, "p").render({"history": ["a", "b"]}) == "  Question: a\n  Question: b\nend"


def test_text_is_not_escaped() -> None:
    assert Template("{{ text }}", "p").render({"text": "a < b & c"}) == "a < b & c"


def test_a_null_renders_as_nothing() -> None:
    assert Template("a{{ text }}b", "p").render({"text": None}) == "ab"


def test_braces_in_the_data_are_only_data() -> None:
    assert Template("{{ text }}", "p").render({"text": "{{ 1 + 1 }}"}) == "{{ 1 + 1 }}"


def test_a_column_with_a_space_is_reached_through_the_row() -> None:
    template = Template("{{ row['Tweet text'] }}", "p")
    template.check(["Tweet text"])
    assert template.render({"Tweet text": "up"}) == "up"


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(TaskError, match=r"task 'x': prompt, line 2: .*Correct the template"):
        Template("fine\n{{ text", "task 'x': prompt")


def test_an_unknown_filter_is_told_when_compiled() -> None:
    with pytest.raises(TaskError, match="No filter named 'louder'"):
        Template("{{ text | louder }}", "p")


def test_an_unknown_name_is_told_with_the_nearest_column_and_all_of_them() -> None:
    with pytest.raises(TaskError, match=r"no column 'txt'\. Did you mean 'text'\? All: label, text"):
        Template("{{ txt }}", "p").check(["text", "label"])


@pytest.mark.parametrize(
    "source",
    [
        "{{ text | default('') }}",
        "{{ label | default(text) }}",
        "{% if text is defined %}{{ text }}{% endif %}",
        "{{ text if text is defined else label }}",
        "{% for word in (text if text is defined else []) %}{{ word }}{% endfor %}",
        "{% set text = label %}{{ text }}",
        "{% for i in range(3) %}{{ i }}{% endfor %}",
    ],
)
def test_a_name_that_may_be_absent_is_no_fault(source: str) -> None:
    template = Template(source, "p")
    template.check(["label"])
    assert "text" not in template.needed


def test_a_name_used_beside_its_guard_is_needed() -> None:
    assert Template("{% if text is defined %}a{% endif %}{{ text }}", "p").needed == {"text"}


def test_a_row_without_the_column_is_told_with_its_columns() -> None:
    with pytest.raises(TaskError, match=r"'text' is undefined\. Columns here: label"):
        Template("{{ text }}", "p").render({"label": "a"})


@pytest.mark.parametrize(
    "source", ["{{ text.__class__.__mro__ }}", "{{ text.format.__globals__ }}", "{{ words.append(1) }}"]
)
def test_unsafe_access_is_refused(source: str) -> None:
    with pytest.raises(TaskError, match=r"unsafe|not safely callable"):
        Template(source, "p").render({"text": "a", "words": []})


def test_an_expression_that_fails_is_told_by_its_reason() -> None:
    with pytest.raises(TaskError, match=r"^p: ZeroDivisionError"):
        Template("{{ 1 / n }}", "p").render({"n": 0})


@pytest.mark.parametrize(
    ("tags", "lines"),
    [
        (["I-ORG", "I-ORG", "O", "I-PER"], "a b, ORG\nd, PER"),
        (["B-ORG", "B-ORG", "I-ORG", "O"], "a, ORG\nb c, ORG"),
        (["B-ORG", "E-ORG", "S-PER", "S-PER"], "a b, ORG\nc, PER\nd, PER"),
        (["ORG", "ORG", "PER", "O"], "a b, ORG\nc, PER"),
        (["I-ORG", "O", "I-ORG", "I-LOC"], "a, ORG\nc, ORG\nd, LOC"),
        (["O", "O", "O", "O"], "none"),
    ],
)
def test_spans_reads_every_usual_tag_scheme(tags: list[str], lines: str) -> None:
    assert Template("{{ tokens | spans(tags) }}", "p").render({"tokens": list("abcd"), "tags": tags}) == lines


def test_spans_wants_one_tag_per_token() -> None:
    with pytest.raises(TaskError, match="2 tokens but 1 tags"):
        spans(["a", "b"], ["O"])


def test_spans_wants_tags_as_text() -> None:
    with pytest.raises(TaskError, match="the tag 3 is no text"):
        spans(["a"], [3])


def test_a_key_comes_before_a_method_of_that_name() -> None:
    row = {"order": {"items": "2 kettles", "values": 3, "count": 0}}
    assert Template("{{ order.items }} {{ order.values }} {{ order.count }}", "p").render(row) == "2 kettles 3 0"
    assert (
        Template("{% for k, v in sizes.items() %}{{ k }}{{ v }}{% endfor %}", "p").render({"sizes": {"a": 1}}) == "a1"
    )


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ text.title }}", "prints the method 'title', which is no column"),
        ("{{ words }}", "the column 'words' holds a list, which is no text: ['a', 'b']"),
        ("{{ meta }}", "the column 'meta' holds a mapping with the keys shop, n, which is no text. Name one"),
        ("{{ raw }}", "the column 'raw' holds bytes"),
        ("{{ words | map('upper') }}", "holds generator, which is no text"),
        ("{{ [1, 2] }}", "it holds a list, which is no text"),
    ],
)
def test_a_value_that_is_no_text_is_refused(source: str, says: str) -> None:
    row = {"text": "a", "words": ["a", "b"], "meta": {"shop": "a", "n": 1}, "raw": b"a"}
    with pytest.raises(TaskError) as caught:
        Template(source, "task 'x': prompt").render(row)
    assert str(caught.value).startswith("task 'x': prompt: ") and says in str(caught.value)


@pytest.mark.parametrize("value", ["a", 1, 1.5, True, date(2026, 1, 2), Decimal("1.50")])
def test_plain_values_print_as_they_are(value: object) -> None:
    assert Template("{{ value }}", "p").render({"value": value}) == str(value)


def test_json_is_written_as_it_is_read() -> None:
    row = {"meta": {"größe": "a < b & c"}}
    assert Template("{{ meta | tojson }}", "p").render(row) == '{"größe": "a < b & c"}'


@pytest.mark.parametrize("nothing", [None, "", float("nan")])
def test_what_is_missing_renders_as_nothing(nothing: object) -> None:
    template = Template("Say {{ text }}{{ more }}", "p")
    assert template.render({"text": nothing, "more": "a"}) == "Say a"
    assert template.lacks({"text": nothing, "more": "a"}) == []
    assert template.lacks({"text": nothing, "more": None, "other": "a"}) == ["more", "text"]


def test_single_braces_that_name_a_column_are_told() -> None:
    with pytest.raises(TaskError, match=r"p: \{text\} shows no column\. Write it as \{\{ text \}\}"):
        Template("Good or bad? {text}", "p").check(["text", "label"])
    Template("a {set} of things", "p").check(["text"])
    Template("{text} is {{ label }}", "p").check(["text", "label"])
