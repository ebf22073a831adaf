"""YAML in and out: numbers, words, and one clear message for each way a file can be broken."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.config.text import read_text, read_yaml, write_yaml
from multitune.core.errors import ConfigError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-5", 1e-5), ("2E4", 2e4), ("1.e-3", 1e-3), ("-.5e1", -5.0), ("1.5e+3", 1500.0), ("3", 3), ("2.0e-4", 2e-4)],
)
def test_a_number_in_any_notation_is_a_number(text: str, value: float) -> None:
    read = read_yaml(text, "here")
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "'1e-5'", "e5", "1e", "v1e5", "truely"])
def test_a_word_stays_a_word(text: str) -> None:
    assert read_yaml(text, "here") == text.strip("'")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("null", None), ("", None)])
def test_true_false_and_null_are_what_they_say(text: str, value: bool | None) -> None:
    assert read_yaml(text, "here") is value


@given(PLAIN)
def test_what_is_written_reads_back_the_same(value: Any) -> None:
    assert read_yaml(write_yaml(value), "here") == value


@pytest.mark.parametrize(
    "text", ["1e5", "12e4567", "yes", "true", "0x1f", "1:30", "2024-01-01", "~", "a: b", "x\n\ny\n"]
)
def test_a_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    assert read_yaml(write_yaml([text]), "here") == [text]


def test_an_alias_gives_values_of_its_own() -> None:
    read = read_yaml("a: &x {n: [1]}\nb: *x\n", "here")
    assert read["a"] == read["b"] and read["a"]["n"] is not read["b"]["n"]


def test_a_merge_key_may_be_overridden() -> None:
    assert read_yaml("a: &x {n: 1, m: 2}\nb: {<<: *x, n: 3}\n", "here")["b"] == {"n": 3, "m": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"run.yaml line 3, column 1: the key 'a' is given twice, first on line 1. Remove one"),
        ("a:\n  - {b: 1, b: 2}\n", r"run.yaml line 2, column 12: the key 'b' is given twice"),
        (
            "a: b: c\n",
            r"run.yaml line 1, column 5: mapping values are not allowed here. .*quote a text that holds ': '",
        ),
        ("a: 1\nprompt: {{ x }}\n", r"run.yaml line 2, column 10: found unhashable key. .*starts with \{"),
        ("a:\n\tb: 1\n", r"run.yaml line 2, column 1: .* Indent with spaces"),
        ("a: [1\n", r"run.yaml line 2, column 1: "),
        ("a: 1\n---\nb: 2\n", r"run.yaml line 2, column 1: but found another document"),
        ("a: !!python/name:os.system x\n", r"run.yaml line 1, column 4: could not determine a constructor"),
        ("a: 1\nb: \x01\n", r"run.yaml line 2: a control character. Remove it"),
        ("a: 2024-13-45\n", r"run.yaml: month must be in 1..12. Quote"),
        ("[" * 5000, r"run.yaml: nested too deeply"),
        ("&a [*a]", r"run.yaml: nested too deeply, or an alias within itself"),
    ],
)
def test_bad_yaml_is_named_with_its_line_and_a_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_yaml(text, "run.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: \xe9\n", r"run.yaml line 2: byte 0xe9 is not UTF-8. Save it as UTF-8"),
        ("a: 1".encode("utf-16"), r"run.yaml: text in UTF-16. Save it as UTF-8"),
        (b"GGUF\0\x01", r"run.yaml: a binary file. Give the path of a YAML file"),
    ],
)
def test_a_file_that_is_no_utf8_text_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        read_text(tmp_path / "run.yaml")


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_text(tmp_path / "run.yaml") == "a: 1"


def test_a_missing_file_is_told_with_the_nearest_that_exists(tmp_path: Path) -> None:
    (tmp_path / "finance.yaml").touch()
    with pytest.raises(ConfigError, match=r"no such file. Did you mean 'finance.yaml'"):
        read_text(tmp_path / "finanse.yaml")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file. Check the path"):
        read_text(tmp_path / "nowhere" / "run.yaml")


def test_a_folder_is_not_a_run_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Is a directory.*Give the path of a YAML file"):
        read_text(tmp_path)


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029"])
def test_a_rare_line_break_survives_yaml(mark: str) -> None:
    assert read_yaml(write_yaml({"prompt": f"a{mark}b\nc{mark}"}), "place") == {"prompt": f"a{mark}b\nc{mark}"}
