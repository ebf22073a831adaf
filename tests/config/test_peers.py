"""Keys of other tools lead to fields that exist, and to none that a run file has itself."""

import re

import pytest

from multitune.config.faults import section_in
from multitune.config.peers import COUNTERPARTS, tool_of
from multitune.config.schema import RunConfig


def is_field(path: str) -> bool:
    section: type | None = RunConfig
    for part in path.split("."):
        if section is None or part not in section.model_fields:
            return False
        section = section_in(section.model_fields[part].annotation)
    return True


@pytest.mark.parametrize("text", sorted(set(COUNTERPARTS.values())))
def test_what_a_text_names_is_a_field(text: str) -> None:
    named = [name for name in re.findall(r"`([\w.]+)`", text) if name not in ("lora", "full")]
    assert [name for name in named if not is_field(name)] == []
    assert named or not text.startswith("`") or text.startswith("`multitune ")


def test_no_key_of_another_tool_is_a_field_of_the_same_place() -> None:
    assert COUNTERPARTS.keys() & RunConfig.model_fields == set()


@pytest.mark.parametrize(
    ("keys", "tool"),
    [
        ("base_model datasets adapter micro_batch_size", "Axolotl"),
        ("model_name_or_path dataset finetuning_type template", "LLaMA-Factory"),
        ("model_name_or_path dataset_name use_peft", "TRL"),
        ("base tasks lora train", None),
    ],
)
def test_a_config_is_known_by_its_keys(keys: str, tool: str | None) -> None:
    assert tool_of(dict.fromkeys(keys.split())) == tool
