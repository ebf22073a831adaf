"""Input without bounds ends in one clear error: configs, data files, templates, adapters and answers of a server."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from multitune.config.text import read_text, read_yaml
from multitune.core import untrusted
from multitune.core.errors import AdapterError, ConfigError, DataError, ModelError, TaskError
from multitune.data.formats import read_rows
from multitune.data.tokenizer import ChatFormat
from multitune.model.bank import AdapterBank
from multitune.model.files import read_pairs, save_adapter
from multitune.tasks.template import Template
from tests.conftest import word_tokenizer

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
CONFIGS = {
    "aliases": ALIASES,
    "keys": "".join(f"k{i}: 1\n" for i in range(30_000)),
    "digits": f"seed: {'9' * 200_000}",
    "hexadecimal digits": f"seed: 0x{'f' * 200_000}",
    "base sixty": f"seed: {'1' + ':59' * 20_000}",
    "brackets": "[" * 5_000,
    "an alias within itself": "a: &a [*a]",
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_without_bounds_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTITUNE_MAX_CONFIG_VALUES", "20000")
    with pytest.raises(ConfigError, match=r"^run\.yaml") as caught:
        read_yaml(CONFIGS[kind], "run.yaml")
    assert len(str(caught.value)) < 500


def test_a_config_that_is_no_file_or_too_large_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (5 << 20))
    for path in (tmp_path / "run.yaml", tmp_path / "large.yaml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_text(path)


def gzip_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(4):
            file.write(b'{"text": "a"}\n' * 75_000)


def parquet_bomb(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.nulls(4_000_000, pyarrow.int8())}), path)


def long_line(path: Path) -> None:
    path.write_text(json.dumps({"text": "a" * 2_000_000}))


BOMBS: dict[str, Callable[[Path], None]] = {
    "rows.jsonl.gz": gzip_bomb,
    "rows.parquet": parquet_bomb,
    "line.jsonl": long_line,
    "pipe.csv": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_data_file_without_bounds_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTITUNE_MAX_ROW_BYTES", "1000000")
    monkeypatch.setenv("MULTITUNE_MAX_EXPANSION", "10")
    monkeypatch.setattr(untrusted, "GROWS_FREELY", 1 << 20)
    BOMBS[name](tmp_path / name)
    with pytest.raises(DataError, match=r"more than|not a file"):
        for _ in read_rows(tmp_path / name, "task 't'"):
            pass


TEMPLATES = {
    "loop": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "brackets": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    "lists": "{{ " + "[" * 5_000 + "]" * 5_000 + " }}",
    "product": "{{ 'x' * 10000000000 }}",
    "product of a list": "{{ [1] * 10000000000 }}",
    "power": "{{ 9 ** 999999999 }}",
    "recursion": "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    "length": "{% for a in range(90000) %}{{ text }}{% endfor %}",
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_template_without_bounds_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTITUNE_MAX_RENDER_SECONDS", "1")
    monkeypatch.setenv("MULTITUNE_MAX_RENDER_CHARACTERS", "1000000")
    with pytest.raises(TaskError, match="task 't': prompt"):
        Template(TEMPLATES[kind], "task 't': prompt").render({"text": "some words of a row"})


@pytest.mark.parametrize("kind", ["loop", "brackets"])
def test_a_chat_template_without_bounds_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTITUNE_MAX_RENDER_SECONDS", "1")
    tokenizer = word_tokenizer()
    tokenizer.chat_template = TEMPLATES[kind]
    with pytest.raises(ModelError, match="its chat template refuses a plain question"):
        ChatFormat(tokenizer)


def test_a_regular_expression_of_an_adapter_is_not_run_without_end(
    bank: AdapterBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTITUNE_MAX_PATTERN_SECONDS", "1")
    save_adapter(bank["first"], tmp_path / "adapter", bank, {})
    file = tmp_path / "adapter" / "adapter_config.json"
    (tmp_path / "adapter" / "multitune.json").unlink()  # as PEFT saves it: without a seal
    pattern = "(([a-z0-9._]+)+)+!"
    file.write_text(json.dumps({**json.loads(file.read_text()), "alpha_pattern": {pattern: 4}}))
    with pytest.raises(AdapterError, match="regular expressions of alpha_pattern took more than 1 seconds"):
        read_pairs(tmp_path / "adapter")
