"""A typo is a missing path at once; the hub is asked once, and not at all where everything is here."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from multitune.config.load import parse_config
from multitune.core.bases import resolve_base
from multitune.core.errors import DataError, DataNotFoundError, ModelError
from multitune.core.hub import names_a_path, nearest_path, require_on_hub
from multitune.data.sources import load_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tweets.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """As on a machine that may use the network, but has none; yields what was asked for."""
    asked: list[Any] = []

    def refused(*where: Any, **_: Any) -> None:
        asked.append(where)
        raise ConnectionRefusedError("no network here")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    require_on_hub.cache_clear()
    yield asked
    require_on_hub.cache_clear()


@pytest.mark.parametrize("text", ["data/tweets.jsonl", "data/tweet", "dat/tweets", "model/llama", "/nowhere/at/all"])
def test_what_lies_near_a_folder_is_a_path(folder: Path, text: str) -> None:
    assert names_a_path(text, folder)


@pytest.mark.parametrize("text", ["org/set-1.0", "stanfordnlp/imdb", "gpt2"])
def test_what_lies_near_nothing_may_be_an_id(folder: Path, text: str) -> None:
    assert not names_a_path(text, folder)


def test_a_typo_is_told_with_what_is_near(folder: Path) -> None:
    assert nearest_path(folder / "dat" / "tweets") == f"Did you mean {folder / 'data'}? "
    assert nearest_path(folder / "data" / "zzz") == ""


NEAR = {"data/tweet": "Did you mean 'tweets.jsonl'", "dat/tweets": "Did you mean /"}


@pytest.mark.parametrize("data", NEAR)
def test_a_typo_in_a_data_path_is_a_missing_path(folder: Path, online: list[Any], data: str) -> None:
    task = {"name": "a", "kind": "generate", "prompt": "{{ a }}", "answer": "b", "data": data}
    config = parse_config({"tasks": [task]}, folder)
    with pytest.raises(DataNotFoundError, match=f"no file or folder .*{NEAR[data]}"):
        load_rows(config.tasks[0].data, "task 'a'")
    assert not online


@pytest.mark.parametrize("base", ["models/llama", "model/llama"])
def test_a_typo_in_a_base_is_a_missing_folder(folder: Path, base: str) -> None:
    with pytest.raises(ModelError, match=r"no folder .*llama"):
        resolve_base(base, folder)


@pytest.mark.parametrize(("kind", "error"), [("model", ModelError), ("dataset", DataError)])
def test_an_id_without_a_network_is_asked_for_once(online: list[Any], kind: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"'org/nothing' is no path here, and the hub cannot be reached"):
        require_on_hub("org/nothing", kind, "base")
    assert 1 <= len(online) <= 2  # the libraries alone try six times, for 45 seconds


def test_what_was_downloaded_before_is_used_without_a_network(
    online: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--org--here").mkdir()
    require_on_hub("org/here", "model", "base")
    assert constants.is_offline_mode()


LOCAL = """
import socket, sys
def refused(*_):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused
from multitune import check, load_config
print(len(check(load_config(sys.argv[1])).sets))
"""


def test_a_run_whose_parts_are_all_here_asks_for_no_network(tmp_path: Path, base_folder: Path) -> None:
    rows = "".join(f'{{"text": "w{i}", "label": "{["red", "blue"][i % 2]}"}}\n' for i in range(40))
    (tmp_path / "rows.jsonl").write_text(rows)
    task = '{name: a, data: rows.jsonl, kind: classify, prompt: "say {{ text }}", answer: "{{ label }}"}'
    (tmp_path / "run.yaml").write_text(f"base: {base_folder}\ntasks:\n  - {task}\n")
    env = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    command = [sys.executable, "-c", LOCAL, str(tmp_path / "run.yaml")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr
