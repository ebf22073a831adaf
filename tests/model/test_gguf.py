"""Laws of GGUF bases: unpacked once, ordinary afterwards, and damaged files are told by their name."""

from pathlib import Path

import pytest
import torch

from multitune.core.bases import BaseRef, resolve_base
from multitune.core.errors import ModelError, StorageError
from multitune.core.paths import cache_folder
from multitune.model import gguf
from multitune.model.backbone import Backbone, load_backbone


@pytest.fixture(scope="module")
def real() -> Backbone:
    """The built-in model, unpacked into the tests' own cache."""
    return load_backbone(resolve_base("smollm2-135m"), "cpu", "float32")


@pytest.fixture
def damaged(tmp_path: Path):
    ref = resolve_base("smollm2-135m")
    head = (Path(ref.location) / ref.gguf).read_bytes()[:200_000]

    def write(content: bytes | int) -> BaseRef:
        (tmp_path / "broken.gguf").write_bytes(head[:content] if isinstance(content, int) else content)
        return BaseRef("broken.gguf", str(tmp_path), "broken.gguf")

    return write


def test_the_real_model_shares_prefixes(real):
    assert real.shares_prefixes, real.note


def test_the_real_model_knows_english(real):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real.ref.location, **real.ref.load_options)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        word = real.model(input_ids=ids, use_cache=False).logits[0, -1].argmax()
    assert tokenizer.decode([int(word)]).strip() == "Paris"


def test_nothing_says_quantized_any_more(real):
    (folder,) = (cache_folder() / "bases").iterdir()
    assert "quantization" not in (folder / "config.json").read_text()
    assert not hasattr(real.model.config, "quantization_config")


def test_the_second_load_comes_from_the_cache(real, monkeypatch):
    monkeypatch.setattr(gguf, "_load", lambda ref: pytest.fail("unpacked again"))
    assert Path(gguf.dequantized_folder(real.ref)).is_dir()


def test_the_fingerprint_is_the_same_in_bfloat16(real):
    assert load_backbone(real.ref, "cpu", "bfloat16").fingerprint == real.fingerprint


@pytest.mark.parametrize("content", [b"", b"x" * 1000, 100, 200_000], ids=["empty", "no GGUF", "header cut", "cut"])
def test_a_damaged_file_is_told_by_its_name(damaged, content):
    with pytest.raises(ModelError, match=r"broken\.gguf cannot be read as GGUF"):
        load_backbone(damaged(content), "cpu", "float32")


def test_a_damaged_file_leaves_nothing_in_the_cache(damaged, tmp_path, monkeypatch):
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError):
        gguf.dequantized_folder(damaged(100))
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_told_by_its_name(tiny, damaged, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(gguf, "_load", lambda ref: tiny("llama3"))
    with pytest.raises(StorageError, match="MULTITUNE_CACHE"):
        gguf.dequantized_folder(damaged(100))


def test_a_failed_write_leaves_no_part_behind(tiny, damaged, tmp_path, monkeypatch):
    model = tiny("llama3")

    def full(folder: str) -> None:
        Path(folder, "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf, "_load", lambda ref: model)
    monkeypatch.setattr(model, "save_pretrained", full)
    with pytest.raises(StorageError, match="No space left"):
        gguf.dequantized_folder(damaged(100))
    assert list((tmp_path / "cache" / "bases").iterdir()) == []
