"""What a run file says of the audit: in a word or in full, with the accepted findings beside the run file."""

from pathlib import Path
from typing import Any

import pytest

from multitune.config.audit import ACCEPTED, AuditConfig
from multitune.config.load import config_schema, dump_config, load_config, parse_config
from multitune.core.errors import ConfigError

TASK = {"name": "a", "data": "rows.jsonl", "kind": "generate", "prompt": "{{ a }}", "answer": "{{ b }}"}


def audit(folder: Path, *overrides: str, **fields: Any) -> AuditConfig:
    return parse_config({"tasks": [TASK], **fields}, folder, overrides).audit


def test_a_run_that_says_nothing_warns(tmp_path: Path) -> None:
    assert audit(tmp_path) == AuditConfig() and AuditConfig().mode == "warn" and AuditConfig().rows == 2000


@pytest.mark.parametrize(("word", "mode"), [("off", "off"), ("warn", "warn"), ("strict", "strict"), (False, "off")])
def test_a_word_is_the_mode(tmp_path: Path, word: object, mode: str) -> None:
    assert audit(tmp_path, audit=word).mode == mode


def test_a_word_in_a_file_is_read_as_a_word(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"audit: off\ntasks: [{TASK}]\n", "utf-8")
    assert load_config(tmp_path / "run.yaml").audit.mode == "off"


def test_a_part_can_be_set_behind_a_word(tmp_path: Path) -> None:
    found = audit(tmp_path, "audit.rows=5", "audit.thresholds.quality.empty.share=0.5", audit="strict")
    assert (found.mode, found.rows, found.thresholds) == ("strict", 5, {"quality.empty.share": 0.5})


def test_accepted_findings_beside_the_run_file_are_found(tmp_path: Path) -> None:
    assert audit(tmp_path).accept is None
    (tmp_path / ACCEPTED).write_text("[]")
    assert audit(tmp_path).accept == str(tmp_path / ACCEPTED)
    assert audit(tmp_path, audit={"accept": "other.yaml"}).accept == str(tmp_path / "other.yaml")


def test_a_run_that_is_written_out_keeps_its_audit(tmp_path: Path) -> None:
    (tmp_path / ACCEPTED).write_text("[]")
    config = parse_config({"tasks": [TASK], "audit": {"mode": "strict", "skip": ["quality.empty"]}}, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.yaml").write_text(dump_config(config), "utf-8")
    assert load_config(elsewhere / "config.yaml") == config


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("strct", r"audit\.mode is 'strct'\. Did you mean 'strict'\? All: off, warn, strict"),
        (True, r"audit is true; it must be a mapping of fields"),
        ({"row": 5}, r"audit\.row is not a field\. Did you mean 'rows'\?"),
        ({"rows": 0}, r"audit\.rows is 0"),
        ({"thresholds": {"a.b.c": -1}}, r"audit\.thresholds\.a\.b\.c is -1"),
        ({"skip": "quality.empty"}, r"audit\.skip is 'quality\.empty'; it must be a list"),
        ({"accept": 7}, r"audit\.accept is 7; it must be text"),
    ],
)
def test_a_fault_names_place_value_and_remedy(tmp_path: Path, value: object, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        audit(tmp_path, audit=value)


def test_editors_are_offered_the_words_and_the_section() -> None:
    word, section = config_schema()["properties"]["audit"]["anyOf"]
    assert word["enum"] == ["off", "warn", "strict"] and section["$ref"].endswith("AuditConfig")
