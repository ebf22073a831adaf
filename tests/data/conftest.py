"""The tokenizer of the built-in base, read once."""

from typing import Any

import pytest

from multitune.core.bases import resolve_base
from multitune.data.tokenizer import ChatFormat, load_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return load_tokenizer(resolve_base("smollm2-135m"))


@pytest.fixture(scope="session")
def chat(tokenizer: Any) -> ChatFormat:
    return ChatFormat(tokenizer)
