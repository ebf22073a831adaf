"""A file of ours that was changed since it was written is refused; one without a seal is read as it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from multitune.core.errors import RunFolderError
from multitune.core.events import read_events
from multitune.core.files import json_lines, read_json, write_json
from multitune.core.predictions import read_predictions, write_predictions
from multitune.core.records import Prediction
from multitune.core.results.events import DamagedEvent, NoteEvent
from multitune.core.seals import (
    json_line,
    load_tensors,
    save_tensors,
    sealed,
    sealed_yaml,
    unsealed,
    unsealed_yaml,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ROW = Prediction("colours", "1", "red", "red", "blue", 0.25, 1.5)


def changed(path: Path, old: str, new: str) -> Path:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return path


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=4).filter(lambda value: "seal" not in value))
def test_a_sealed_object_comes_back_through_json_as_it_was(value: dict[str, Any]) -> None:
    assert unsealed(json.loads(json.dumps(sealed(value)))) == value


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_another_value_does_not_fit_the_seal(one: int, other: int) -> None:
    text = json.dumps(sealed({"score": one})).replace(f'"score": {one},', f'"score": {other},')
    try:
        fits = unsealed(json.loads(text)) == {"score": one}
    except ValueError:
        fits = False
    assert fits == (one == other)


def test_a_file_of_json_that_was_changed_is_refused_and_one_laid_out_otherwise_is_not(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    write_json(file, {"accuracy": 0.5, "of": {1: "a"}})
    file.write_text(json.dumps(json.loads(file.read_text()), indent=8))
    assert read_json(file) == {"accuracy": 0.5, "of": {"1": "a"}}
    with pytest.raises(RunFolderError, match=r"scores\.json: damaged \(it was changed since it was written\)"):
        read_json(changed(file, "0.5", "0.9"))


def test_a_file_of_before_there_were_seals_is_read(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"accuracy": 0.5}')
    assert read_json(tmp_path / "scores.json") == {"accuracy": 0.5}


def test_a_changed_line_counts_as_damaged(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(json_line({"id": "1"}) + json_line({"id": "2"}))
    assert list(json_lines(file)) == [{"id": "1"}, {"id": "2"}]
    assert list(json_lines(changed(file, '"id": "2"', '"id": "3"'))) == [{"id": "1"}, None]


def test_changed_predictions_are_refused_by_their_line(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.jsonl", [ROW, ROW])
    assert read_predictions(tmp_path / "p.jsonl") == [ROW, ROW]
    with pytest.raises(RunFolderError, match=r"p\.jsonl: line 1 is damaged \(it was changed"):
        read_predictions(changed(tmp_path / "p.jsonl", "0.25", "0.75"))


def test_a_changed_event_is_a_damaged_one(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json_line(NoteEvent(text="step 3").plain()))
    assert [type(event) for event in read_events(file)] == [NoteEvent]
    assert [type(event) for event in read_events(changed(file, "step 3", "step 4"))] == [DamagedEvent]


@pytest.mark.parametrize("kind", ["pt", "np"])
def test_every_changed_byte_of_tensors_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_tensors({"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.float16)}, file)
    assert np.array_equal(load_tensors(file, kind)["a"], [0.0, 1.0, 2.0])
    data = file.read_bytes()
    taken = list[int]()
    for place in range(len(data)):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            load_tensors(file, kind)
        except ValueError:
            continue
        taken.append(place)
    # The name of the seal alone may change: it then is no seal, and the tensors are what they were.
    assert set(taken) <= set(range(data.index(b"seal"), data.index(b"seal") + 4))


def test_tensors_without_a_seal_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert torch.equal(load_tensors(tmp_path / "a.safetensors")["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        (lambda text: text, True),
        (lambda text: text.replace("seed: 17", "seed: 18"), False),
        (lambda text: text.partition("\n")[2].replace("17", "18"), True),
        (lambda text: text[:-9], False),
        (lambda text: text.replace("# seal: ", "# seal: 0"), False),
    ],
    ids=["as it was", "another seed", "another seed, and no seal", "cut", "another seal"],
)
def test_yaml_is_sealed_by_its_first_line(change: Callable[[str], str], fits: bool) -> None:
    text = change(sealed_yaml("name: run\nseed: 17\n"))
    try:
        assert unsealed_yaml(text).startswith("name: run\nseed: 1") and fits
    except ValueError:
        assert not fits
