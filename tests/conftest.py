"""What all tests share: one thread, no network, the same hypothesis examples every time, a cache of their own."""

import os

import pytest
from hypothesis import settings

# Before any test imports numpy, torch or datasets: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("house", derandomize=True, deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["MULTITUNE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
