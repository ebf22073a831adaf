"""The tool is known by its keys, nothing is overwritten, and the written file says what differs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.conversion.convert import import_config, read_arguments
from multitune.core.errors import ConfigError

CONFIG = "base_model: {base}\ndatasets: [{{path: rows.jsonl, type: alpaca}}]\nadapter: lora\ndeepspeed: z.json\n"


@pytest.fixture
def source(tmp_path: Path, base_folder: Path) -> Path:
    rows = "".join(f'{{"instruction": "say w{i}", "output": "w{i}"}}\n' for i in range(60))
    (tmp_path / "rows.jsonl").write_text(rows)
    file = tmp_path / "axolotl.yml"
    file.write_text(CONFIG.format(base=base_folder))
    return file


def test_the_command_writes_a_file_that_check_accepts(source: Path) -> None:
    output = source.parent / "new" / "run.yaml"
    done = CliRunner().invoke(app, ["import", str(source), "-o", str(output)], catch_exceptions=False)
    assert done.exit_code == 0 and f"next: multitune check {output}" in done.output
    text = output.read_text("utf-8")
    assert text.startswith("# Made of axolotl.yml (Axolotl) by `multitune import`. Next: multitune check run.yaml\n")
    assert "# - deepspeed: no counterpart: a run is one process on one device. Leave it out\n" in text
    assert "train: ../rows.jsonl" in text
    checked = CliRunner().invoke(app, ["check", str(output)], catch_exceptions=False)
    assert checked.exit_code == 0 and "60 rows" in checked.output


def test_a_file_that_is_there_stays_unless_it_may_go(source: Path) -> None:
    output = source.parent / "run.yaml"
    output.write_text("mine")
    with pytest.raises(ConfigError, match=r"exists\. Name another file, or give --overwrite"):
        import_config(source, output)
    assert output.read_text() == "mine"
    assert import_config(source, output, overwrite=True).tasks == ("rows",)


def test_a_file_of_no_known_tool_is_told(tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("trainer: mine\n")
    with pytest.raises(ConfigError, match="neither a config of Axolotl, LLaMA-Factory, TRL nor their arguments"):
        import_config(file, tmp_path / "run.yaml")


@pytest.mark.parametrize("tool", ["axolotl", "AXOLOTL", "Axolotl"])
def test_the_tool_may_be_named(source: Path, tool: str) -> None:
    assert import_config(source, source.parent / "run.yaml", tool).tool == "Axolotl"
    with pytest.raises(ConfigError, match=r"--tool unsloth: .*Axolotl, LLaMA-Factory, TRL"):
        import_config(source, source.parent / "other.yaml", "unsloth")


def test_a_command_line_is_told_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "args.txt"
    file.write_text("trl sft --a 1 --b --c x y\n")
    assert read_arguments(file) == {"a": 1, "b": True, "c": ["x", "y"]}
    file.write_text("a: text -- with dashes\nb: --x\n")
    assert read_arguments(file) == {"a": "text -- with dashes", "b": "--x"}
    file.write_text("trl sft --a 'open\n")
    with pytest.raises(ConfigError, match="no command line"):
        read_arguments(file)
