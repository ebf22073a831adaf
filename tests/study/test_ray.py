"""Studies on a real Ray cluster of several nodes on this machine, one of which is killed midway."""

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from multitune.core.errors import InputError
from multitune.core.results.events import Event, NoteEvent
from multitune.core.run_folder import StudyFolder
from multitune.study.executors import LocalExecutor, RayExecutor
from multitune.study.study import run_study
from tests.study.conftest import Study

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without cores and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        nodes = [made.add_node(num_cpus=1) for _ in range(2)]
        ray.init(address=made.address, log_to_driver=False)
        made.wait_for_nodes()
    yield made, nodes
    ray.shutdown()
    made.shutdown()


def test_a_node_that_is_killed_midway_loses_and_doubles_nothing(
    study: Study, study_folder: Path, cluster: Any
) -> None:
    made, nodes = cluster
    fields = {"search": "listed", "combinations": [["first", "last"]], "arms_at_once": 1, "test": False}
    settings, run = study(name="far", **fields)
    stored: list[str] = []
    killed = threading.Event()

    def observe(event: Event) -> None:
        text = event.text if isinstance(event, NoteEvent) else ""
        if text.startswith("arm "):
            stored.append(text)
            if len(stored) == 4 and not killed.is_set():
                killed.set()
                made.remove_node(nodes[0], allow_graceful=False)

    far = run_study(settings, run, RayExecutor(made.address, 1, observe), observe).plain()
    assert killed.is_set(), "the node was to die while jobs were left"
    near_settings, _ = study(name="near", **fields)
    near = run_study(near_settings, run, LocalExecutor()).plain()
    timed = ("seconds", "everything_seconds", "spent_seconds")
    assert [{**arm, "seconds": 0} for arm in far["arms"]] == [{**arm, "seconds": 0} for arm in near["arms"]]
    assert far["comparisons"] == near["comparisons"]
    assert {k: v for k, v in far["cost"].items() if k not in timed and k != "ratio"} == {
        k: v for k, v in near["cost"].items() if k not in timed and k != "ratio"
    }
    folder = StudyFolder(study_folder / "studies" / "far")
    assert len(list(folder.path.glob("arms/*/arm.json"))) == len(set(stored)) == len(stored)


def test_a_cluster_that_is_not_there_is_one_message() -> None:
    with pytest.raises(InputError, match=r"no cluster answers at '127.0.0.1:1'"):
        RayExecutor("127.0.0.1:1", 1)
