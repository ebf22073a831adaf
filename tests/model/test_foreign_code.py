"""Code that comes with a base is neither run nor asked about."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from multitune.core.bases import BaseRef
from multitune.core.errors import ModelError
from multitune.data.tokenizer import load_tokenizer
from multitune.model.backbone import load_backbone
from multitune.model.gguf import base_config


@pytest.fixture
def foreign(base_folder: Path, tmp_path: Path) -> Path:
    """A base that names code of its own, which would leave a file."""
    folder = shutil.copytree(base_folder, tmp_path / "base")
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom transformers import LlamaConfig as Own, LlamaModel as Model\n"
    (folder / "own.py").write_text(code)
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}
    for name, fields in (
        ("config.json", {"model_type": "own", "auto_map": own}),
        ("tokenizer_config.json", {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}),
    ):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def test_no_load_of_a_base_runs_code_of_its_own(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: object) -> str:
        raise AssertionError("the user was asked")

    monkeypatch.setattr("builtins.input", asked)
    ref = BaseRef(str(foreign), str(foreign))
    for load in (lambda: load_backbone(ref, "cpu", "float32"), lambda: base_config(ref), lambda: load_tokenizer(ref)):
        with pytest.raises(ModelError):
            load()
    assert not (tmp_path / "ran").exists() and "own" not in sys.modules
