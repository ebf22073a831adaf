"""Whatever stands in a file that others wrote: it is read, or refused with one error of ours, and never falls over."""

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.errors import InputError
from multitune.data.formats import read_rows
from multitune.model.files import CONFIG, read_config
from multitune.tasks.template import Template

FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes its file anew
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
FIELDS = sorted(RunConfig.model_fields)
TASK = {"name": "t", "data": "t.jsonl", "prompt": "{{ a }}", "answer": "{{ b }}", "kind": "generate"}


@FILES
@given(field=st.sampled_from(FIELDS), value=VALUES, inner=st.sampled_from(["name", "data", "labels", "metric", "use"]))
def test_a_run_file_of_any_values_is_read_or_refused(field: str, value: Any, inner: str, tmp_path: Path) -> None:
    fields = {"base": "some/base", "tasks": [{**TASK, inner: value}], field: value}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(fields, allow_unicode=False), "utf-8")
    try:
        found = load_config(file)
    except InputError as error:
        assert str(file) in str(error) or "run.yaml" in str(error)
    else:
        assert isinstance(found, RunConfig)


@FILES
@given(data=st.binary(max_size=200))
@example(data=b"\xff\xfe\x00")
def test_a_run_file_of_any_bytes_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(data)
    with pytest.raises(InputError):
        load_config(file)


@FILES
@given(
    data=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()) | st.text().map(str.encode),
    name=st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.tsv", "x.parquet", "x.jsonl.gz", "x.csv.gz"]),
)
def test_a_data_file_of_any_bytes_is_rows_or_refused(data: bytes, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") and data[:1] != b"\0" else data)
    rows: list[Any] = []
    with suppress(InputError):
        rows = list(read_rows(file, "task 't'"))
    assert all(isinstance(row, dict) for row in rows)


@given(
    source=st.lists(st.sampled_from(["{{", "}}", "{%", "%}", " a ", "for ", "in ", "|", "[", "]", "(", ")", "'", "."]))
    .map("".join)
    .filter(bool)
    | st.text(),
    value=VALUES,
)
def test_a_template_of_any_text_is_rendered_or_refused(source: str, value: Any) -> None:
    text = ""
    with suppress(InputError):
        text = Template(source, "task 't': prompt").render({"a": value})
    assert isinstance(text, str)


@FILES
@given(
    changes=st.dictionaries(
        st.sampled_from(["peft_type", "r", "lora_alpha", "alpha_pattern", "bias", "use_rslora", "rank_pattern"]),
        VALUES,
        max_size=3,
    )
)
def test_settings_of_an_adapter_of_any_values_are_read_or_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, **changes}
    (tmp_path / CONFIG).write_text(json.dumps(settings), "utf-8")
    found: dict[str, Any] = {}
    with suppress(InputError):
        found = read_config(tmp_path)
    assert isinstance(found, dict)
