"""The proof of a change: what is the same gives the same digest, and one changed value does not."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from multitune.core.run_folder import RunFolder
from multitune.deployment.integrity import file_digests, logits_digests
from multitune.model.bank import AdapterBank

ADAPTERS = {"a": "first", "b": "second", "c": "base", "d": "first"}


@pytest.fixture
def prompts() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = {"a": 30, "b": 5, "c": 17, "d": 1}
    return {task: rng.integers(2, 93, length).astype(np.int32) for task, length in lengths.items()}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [task for task in before if before[task] != after[task]]


@pytest.mark.parametrize("pack_tokens", [16, 2048])
def test_only_tasks_whose_adapter_changed_have_other_logits(
    bank: AdapterBank, prompts: dict[str, np.ndarray], pack_tokens: int
) -> None:
    before = logits_digests(bank, ADAPTERS, prompts, pack_tokens)
    assert sorted(before) == list(ADAPTERS)
    assert not changed(before, logits_digests(bank, ADAPTERS, prompts, pack_tokens))
    bank["first"].weights.mul_(1.01)
    bank["first"].publish()
    assert changed(before, logits_digests(bank, ADAPTERS, prompts, pack_tokens)) == ["a", "d"]


def test_a_file_outside_the_folder_of_the_change_is_told(tmp_path: Path) -> None:
    for name in ("old.txt", "added/new/report.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as it was")
    before = file_digests(RunFolder(tmp_path), tmp_path / "added" / "new")
    (tmp_path / "added/new/report.txt").write_text("written anew")
    assert file_digests(RunFolder(tmp_path), tmp_path / "added" / "new") == before and list(before) == ["old.txt"]
    (tmp_path / "old.txt").write_text("as it was!")
    assert file_digests(RunFolder(tmp_path), tmp_path / "added" / "new") != before
