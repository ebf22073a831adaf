"""Whatever stands in a file that others wrote: it is read, or refused with one error of ours, and never falls over."""

import gzip
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.made_runs import made_run
from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.bases import BaseRef
from multitune.core.errors import InputError
from multitune.core.files import write_text
from multitune.core.predictions import read_predictions, write_predictions
from multitune.core.records import Prediction
from multitune.core.run_folder import RunFolder
from multitune.core.seals import sealed_yaml
from multitune.data.formats import read_rows
from multitune.model.backbone import wrap_model
from multitune.model.bank import AdapterBank
from multitune.model.files import CARD, CONFIG, WEIGHTS, read_card, read_config, read_pairs, save_adapter
from multitune.reporting.record import run_record
from multitune.tasks.template import Template
from multitune.training.checkpoint import Checkpoint, TrainingState, load_checkpoint, save_checkpoint
from tests.conftest import randomise, tiny_model

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


@dataclass(frozen=True)
class Change:
    """What happens to the bytes of a file."""

    start: float  # as a share of them
    length: int
    instead: bytes

    def of(self, data: bytes) -> bytes:
        at = int(self.start * len(data))
        return data[:at] + self.instead + data[at + self.length :]


CHANGES = st.builds(
    Change,
    st.floats(0, 1),
    st.integers(0, 8) | st.just(1 << 30),
    st.binary(max_size=4) | st.sampled_from([b"{}", b"[]", b"null", b"0", b"9", b'"a"', b"\n", b"-"]),
)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run whose files are all sealed."""
    folder = made_run(tmp_path_factory.mktemp("fuzz") / "demo", rows=6, steps=6)
    write_text(folder.config, sealed_yaml(folder.config.read_text("utf-8")))
    return folder


@FILES
@given(data=st.data(), change=CHANGES)
def test_a_changed_file_of_a_run_is_refused_by_name_or_makes_no_difference(
    data: st.DataObject, change: Change, whole_run: RunFolder
) -> None:
    parts = [whole_run.config, whole_run.versions, whole_run.data, whole_run.selection, whole_run.scores]
    file = data.draw(st.sampled_from([*parts, *sorted(whole_run.routing_versions[-1].iterdir())]))
    before = run_record(whole_run).model_copy(update={"summary": None})
    content = file.read_bytes()
    try:
        file.write_bytes(change.of(content))
        after = run_record(whole_run).model_copy(update={"summary": None})
    except InputError as error:
        assert str(file) in str(error)
    else:
        assert after == before
    finally:
        file.write_bytes(content)


@FILES
@given(change=CHANGES)
def test_a_changed_line_of_predictions_is_refused_by_name_or_makes_no_difference(
    change: Change, tmp_path: Path
) -> None:
    rows = [Prediction("t", str(number), "red", "red", ("a", "b"), 0.5, 1.25) for number in range(3)]
    file = tmp_path / "t.test.jsonl"
    write_predictions(file, rows)
    file.write_bytes(change.of(file.read_bytes()))
    try:
        found = read_predictions(file)
    except InputError as error:
        assert str(file) in str(error)
    else:  # whole lines may be gone: those that are there are as they were
        assert all(row in rows for row in found)


@FILES
@given(name=st.sampled_from(["state.json", "state.safetensors", "sha256.json"]), change=CHANGES)
def test_a_changed_checkpoint_is_refused_or_makes_no_difference(name: str, change: Change, tmp_path: Path) -> None:
    state = TrainingState(step=3, events=0, base_losses={"t": [1.0, 2.0]}, learners={})
    save_checkpoint(tmp_path / "c", Checkpoint(state, {"shared/0.weights": torch.arange(6.0)}))
    file = tmp_path / "c" / name
    file.write_bytes(change.of(file.read_bytes()))
    try:
        found = load_checkpoint(tmp_path / "c")
    except InputError as error:
        assert str(tmp_path / "c") in str(error)
    else:
        assert found is not None and found.state == state
        assert torch.equal(found.tensors["shared/0.weights"], torch.arange(6.0))


@pytest.fixture(scope="module")
def adapter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bank, folder = AdapterBank(wrap_model(tiny_model(), BaseRef("tiny", "tiny"))), tmp_path_factory.mktemp("adapter")
    randomise(bank.create("one", 2, 4.0, "all", 0), 0)
    save_adapter(bank["one"], folder / "one", bank, {"tasks": ["t"]})
    return folder / "one"


@FILES
@given(name=st.sampled_from([CONFIG, WEIGHTS, CARD]), change=CHANGES)
def test_a_changed_adapter_is_refused_by_name_or_adds_the_same(
    name: str, change: Change, adapter_folder: Path
) -> None:
    before, card = read_pairs(adapter_folder), read_card(adapter_folder)
    file = adapter_folder / name
    content = file.read_bytes()
    try:
        file.write_bytes(change.of(content))
        after, found = read_pairs(adapter_folder), read_card(adapter_folder)
    except InputError as error:
        assert str(adapter_folder) in str(error)
    else:
        assert found == card and after.keys() == before.keys()
        for module, pair in after.items():
            one = before[module]
            assert torch.equal(pair.a, one.a) and torch.equal(pair.b, one.b) and pair.scale == one.scale
    finally:
        file.write_bytes(content)
