"""The page on other tools: its configs import, and say the same in each tool's words."""

import json
import re
from pathlib import Path

import pytest

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.conversion.convert import import_config

PAGE = (Path(__file__).parent.parent / "docs" / "other-tools.md").read_text("utf-8")
YAML = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the page speaks of, with few rows."""
    for name in ("tweets", "intents", "summaries"):
        rows = [{"instruction": f"do {name}", "input": f"w{i}", "output": "red"} for i in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (info,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "dataset_info.json").write_text(info, "utf-8")
    for name, text in YAML.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def converted(folder: Path, name: str) -> RunConfig:
    output = folder / f"from-{name}"
    import_config(folder / name, output)
    return load_config(output)


def test_two_tools_configs_become_the_same_run(folder: Path) -> None:
    axolotl, factory = (converted(folder, name) for name in ("axolotl.yml", "llamafactory.yaml"))
    assert axolotl.lora == factory.lora and axolotl.mixture == factory.mixture
    assert [task.data for task in axolotl.tasks] == [task.data for task in factory.tasks]
    same = ("epochs", "batch_size", "learning_rate", "max_length")
    assert [getattr(axolotl.train, name) for name in same] == [getattr(factory.train, name) for name in same]


def test_our_own_file_says_what_the_imported_one_says(folder: Path) -> None:
    ours, theirs = load_config(folder / "multitune.yaml"), converted(folder, "axolotl.yml")
    assert ours.base == theirs.base == BASE and ours.lora == theirs.lora
    assert [(task.name, task.data) for task in ours.tasks] == [(task.name, task.data) for task in theirs.tasks]
    assert (ours.train.epochs, ours.train.batch_size) == (theirs.train.epochs, theirs.train.batch_size)


def test_the_sampler_of_the_page_is_made() -> None:
    (code,) = re.findall(r"^```python\n(from multitune .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "docs/other-tools.md", "exec"), names)
    assert len(names["sampler"]) == 2119 * 16  # pyright: ignore[reportArgumentType]
