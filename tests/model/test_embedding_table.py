"""The embeddings of a base read without its layers are those of the whole base, under its fingerprint."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multitune.core.bases import BaseRef
from multitune.core.errors import ModelError
from multitune.model import embedding_table
from multitune.model.backbone import load_backbone
from multitune.model.device import Dtype
from multitune.model.embedding_table import EmbeddingTable, load_embedding_table


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_table_read_alone_is_that_of_the_whole_base(
    base_folder: Path, dtype: Dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = BaseRef("tiny", str(base_folder))
    whole = EmbeddingTable.of(load_backbone(ref, "cpu", dtype))
    monkeypatch.setattr(embedding_table, "load_backbone", None)  # not needed
    alone = load_embedding_table(ref, "cpu", dtype)
    assert alone.fingerprint == whole.fingerprint
    assert alone.weight.dtype == whole.weight.dtype and torch.equal(alone.weight, whole.weight)


def test_a_base_of_other_names_is_loaded_whole_and_says_the_same(base_folder: Path, tmp_path: Path) -> None:
    for file in base_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(base_folder / "model.safetensors")
    save_file({name.removeprefix("model."): one for name, one in tensors.items()}, tmp_path / "model.safetensors")
    whole = EmbeddingTable.of(load_backbone(BaseRef("tiny", str(tmp_path)), "cpu", "float32"))
    alone = load_embedding_table(BaseRef("tiny", str(tmp_path)), "cpu", "float32")
    assert alone.fingerprint == whole.fingerprint and torch.equal(alone.weight, whole.weight)


def test_no_base_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load_embedding_table(BaseRef("nothing", str(tmp_path)), "cpu", "float32")
