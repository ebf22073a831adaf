"""A served text that may be of several tasks is answered by the shared adapter, one of no task by the base."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from multitune.core.run_folder import RunFolder
from multitune.core.seals import unsealed
from multitune.routing.costs import RouteCosts, TaskCost
from multitune.serving.engine import EngineOptions
from multitune.serving.served_run import ServedRun
from tests.serving.conftest import serving

TASKS = ("colours", "copy")
ASKED = {"model": "auto", "messages": [{"role": "user", "content": "w1 w2"}], "max_tokens": 2}


def changed(run: Path, **facts: Any) -> Path:
    """A run whose tasks ship with adapters of their own, and whose router has other thresholds or costs."""
    version = RunFolder(run).routing_versions[-1]
    table = unsealed(json.loads((version / "table.json").read_text()))
    for task in TASKS:
        table["tasks"][task] |= {"adapter": task, "path": f"adapters/{task}"}
    (version / "table.json").write_text(json.dumps(table))
    router = unsealed(json.loads((version / "router.json").read_text()))
    (version / "router.json").write_text(json.dumps({**router, **facts}))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Generator[Path]:
    """Whose router is unsure of every text: the shared adapter loses nothing, a wrong one all."""
    costs = RouteCosts(0.0, "shared", dict.fromkeys(TASKS, TaskCost(1.0, 0.0)))
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    # A high temperature, so that both tasks are likely.
    yield changed(copy, threshold=None, lowest=None, temperature=1e6, costs=costs.plain())


def test_an_unsure_text_is_answered_by_the_shared_adapter_and_the_headers_say_so(run: Path) -> None:
    with serving(run) as url:
        found = httpx.post(f"{url}/v1/chat/completions", json=ASKED, timeout=60)
    decision = found.json()["multitune"]
    assert (decision["adapter"], decision["reason"]) == ("shared", "unsure") and decision["task"] in TASKS
    assert found.headers["X-Multitune-Adapter"] == "shared" and found.headers["X-Multitune-Reason"] == "unsure"
    assert 0.5 <= decision["probability"] < 0.51


def test_a_text_of_no_task_is_answered_by_the_base_however_unsure(run: Path) -> None:
    changed(run, threshold=1e9)
    served = ServedRun(RunFolder(run), EngineOptions())
    found = served.route("w1 w2")
    served.close()
    assert (found.adapter, found.reason) == ("base", "out-of-distribution")


def test_where_the_shared_adapter_was_dropped_the_likeliest_one_answers(run: Path) -> None:
    shutil.rmtree(run / "adapters" / "shared")
    served = ServedRun(RunFolder(run), EngineOptions())
    found = served.route("w1 w2")
    served.close()
    assert found.adapter == found.task and found.reason == "routed"
