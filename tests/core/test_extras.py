"""Whatever is missing is told in one voice, with the command that installs it."""

import tomllib
from pathlib import Path

import pytest

from multitune.core.bases import resolve_base
from multitune.core.errors import ModelError
from multitune.core.extras import EXTRAS, missing_extra, missing_package

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
FOR_DEVELOPERS = {"bench", "dev", "docs"}


def test_every_extra_that_a_user_may_lack_has_its_packages_named() -> None:
    assert EXTRAS.keys() == PROJECT["optional-dependencies"].keys() - FOR_DEVELOPERS


def test_a_missing_extra_is_told_with_both_ways_to_install_it() -> None:
    assert str(missing_extra("serve", "serve")) == (
        "serve: needs FastAPI, httpx2, llguidance, prometheus-client and uvicorn, not installed here. Run: pip "
        "install 'multitune[serve]'; from a checkout: pip install -e '.[serve]'"
    )


def test_a_missing_package_is_told_with_its_command() -> None:
    assert str(missing_package("track", "wandb")).endswith("Run: pip install wandb")
    assert str(missing_package("base", "a_b", "pip install --no-deps a-b")).endswith("Run: pip install --no-deps a-b")


@pytest.mark.parametrize("name", ["smolm2-135m", "smollm-135m", "SmolLM2-135M"])
def test_a_typo_of_an_alias_is_told_without_a_look_at_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match=r"no built-in alias. Did you mean 'smollm2-135m'\? .*or give a hub id"):
        resolve_base(name)


@pytest.mark.parametrize("name", ["gpt2", "distilgpt2", "HuggingFaceTB/smollm2-135m"])
def test_a_hub_id_is_no_typo_of_an_alias(name: str) -> None:
    assert resolve_base(name).location == name
