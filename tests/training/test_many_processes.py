"""Laws of training on many processes: as one process would, on any number of them, and never a hang."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from multitune.config.load import dump_config, load_config
from multitune.config.schema import RunConfig
from multitune.core.run_folder import RunFolder
from multitune.training import compute
from multitune.training.job import train_run
from multitune.training.prepare import prepare_run
from tests.many_processes import Started, events
from tests.training.conftest import Configure

# How far another order of float32 sums may lead: AdamW moves a weight by up to 0.01 a step here, whatever the size of
# its gradient, and so makes roundings of tiny ones visible.
LOSS, WEIGHT = 1e-5, 1e-4


def command(file: Path, *options: str) -> list[object]:
    return ["train", file, *(part for option in options for part in ("--set", option))]


def written(config: RunConfig, file: Path, **changes: Any) -> Path:
    file.write_text(dump_config(config.model_copy(update={"output": str(file.parent), **changes})), "utf-8")
    return file


def in_one_process(file: Path, name: str) -> Path:
    config = load_config(file, [f"name={name}"])
    folder = file.parent / name
    train_run(prepare_run(config), RunFolder(folder))
    return folder


def farthest(one: Path, other: Path) -> tuple[float, float]:
    """The largest difference of two runs: of the loss of a step, and of a weight of an adapter."""
    pairs = [([e for e in events(run) if e["kind"] == "step"]) for run in (one, other)]
    assert len(pairs[0]) == len(pairs[1]) > 0
    losses = [
        abs(adapter["loss"] - second["adapters"][name]["loss"])
        for first, second in zip(*pairs, strict=True)
        for name, adapter in first["adapters"].items()
    ]
    files = sorted(one.glob("adapters/*/adapter_model.safetensors"))
    assert files
    weights: list[float] = []
    for file in files:
        first, second = load_file(file), load_file(other / file.relative_to(one))
        weights += [float((first[key] - second[key]).abs().max()) for key in first]
    return max(losses), max(weights)


def kinds(run: Path) -> list[str]:
    return [event["kind"] for event in events(run) if event["kind"] in ("step", "validation", "checkpoint", "frozen")]


def test_two_processes_under_torchrun_train_what_one_does(configure: Configure, tmp_path: Path) -> None:
    config = configure(train={"max_steps": 4, "validate_metric": True}, adapters="residual")
    file = written(config, tmp_path / "run.yaml")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    started = [*torchrun, "-m", "multitune", *map(str, command(file, "name=two"))]
    ended = subprocess.run(started, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    one, two = in_one_process(file, "one"), tmp_path / "two"
    loss, weight = farthest(one, two)
    assert loss < LOSS and weight < WEIGHT
    assert kinds(two) == kinds(one)
    assert ended.stdout.count("run folder:") == 1 and ended.stdout.count("training …") == 1  # rank 0 alone


def test_four_processes_share_steps_of_two_rows(configure: Configure, tmp_path: Path) -> None:
    file = written(configure(train={"batch_size": 2}, adapters="shared"), tmp_path / "run.yaml")
    ranks = Started(tmp_path, [command(file, "name=four")] * 4)
    assert ranks.codes() == [0, 0, 0, 0], ranks.printed(0)
    loss, weight = farthest(in_one_process(file, "one"), tmp_path / "four")
    assert loss < LOSS and weight < WEIGHT
    assert [ranks.printed(rank) for rank in (1, 2, 3)] == ["", "", ""]


def test_a_run_goes_on_with_another_number_of_processes(configure: Configure, tmp_path: Path) -> None:
    train = {"max_steps": 80, "validate_every": 40, "learning_rate": 1e-3}
    file = written(configure(train=train, adapters="shared"), tmp_path / "run.yaml")
    moved = tmp_path / "moved"
    for count, at_step, options in ((2, 5, []), (1, 25, ["--resume"])):
        ranks = Started(tmp_path, [[*command(file, "name=moved"), *options]] * count)
        ranks.when(lambda at_step=at_step: any(e["kind"] == "step" and e["step"] >= at_step for e in events(moved)))
        ranks.signal(signal.SIGTERM)
        assert ranks.codes() == [130, 0][:count], ranks.printed(0)
        assert "everything is saved" in ranks.printed(0)
    ranks = Started(tmp_path, [[*command(file, "name=moved"), "--resume"]] * 4)
    assert ranks.codes() == [0, 0, 0, 0], ranks.printed(0)
    loss, weight = farthest(in_one_process(file, "straight"), moved)
    assert loss < 10 * LOSS and weight < WEIGHT


@pytest.mark.parametrize("way", ["SIGKILL", "SIGSTOP"])
def test_a_rank_that_dies_or_hangs_ends_the_run_with_its_number(
    configure: Configure, tmp_path: Path, way: str
) -> None:
    file = written(configure(train={"max_steps": 5000, "checkpoint_every": 1}, adapters="shared"), tmp_path / "r.yaml")
    ranks = Started(tmp_path, [command(file, "name=lost")] * 3, MULTITUNE_RANK_TIMEOUT="5")
    ranks.when(lambda: "checkpoint" in kinds(tmp_path / "lost"))
    os.kill(ranks.ranks[1].pid or 0, getattr(signal, way))
    ranks.ranks[0].join(60)
    assert ranks.ranks[0].exitcode == 1, ranks.printed(0)
    last = ranks.printed(0).strip().splitlines()[-1]
    assert last.startswith("multitune: rank 1 died or gave no answer for 5 s") and "--resume" in last
    assert "Traceback" not in ranks.printed(0)
    if way == "SIGSTOP":
        ranks.ranks[1].kill()
    assert ranks.codes()[2] in (0, 1) and ranks.printed(2) == ""


@pytest.mark.parametrize(
    ("own", "complaint"),
    [
        ("train.batch_size=3", "disagrees with rank 0 on the run file: batch_size: 3 there, batch_size: 4 here"),
        ("base=/nowhere", "base: no folder /nowhere"),
    ],
)
def test_ranks_that_disagree_end_before_anything_is_written(
    configure: Configure, tmp_path: Path, own: str, complaint: str
) -> None:
    file = written(configure(adapters="shared"), tmp_path / "run.yaml")
    ranks = Started(tmp_path, [command(file, "name=apart"), command(file, "name=apart", own)])
    assert ranks.codes()[0] == 2, ranks.printed(0)
    last = ranks.printed(0).strip().splitlines()[-1]
    assert last.startswith("multitune: rank 1 on ") and complaint in last
    assert ranks.printed(1) == "" and not (tmp_path / "apart" / "config.yaml").exists()


def test_a_budget_that_nothing_fits_ends_all_ranks_with_one_message(configure: Configure, tmp_path: Path) -> None:
    file = written(configure(adapters="shared", memory="100MiB"), tmp_path / "run.yaml")
    ranks = Started(tmp_path, [command(file, "name=tight")] * 2)
    assert ranks.codes()[0] == 2, ranks.printed(0)
    assert ranks.printed(0).strip().splitlines()[-1].startswith("multitune: memory: 0.10 GiB is too little")
    assert ranks.printed(1) == "" and not (tmp_path / "tight" / "config.yaml").exists()


def runs_out_of_memory() -> None:
    def backward(*_: object) -> None:
        raise MemoryError("no room on this card")

    compute.backward = backward  # pyright: ignore


def test_a_rank_that_cannot_compute_is_heard_before_gradients_travel(configure: Configure, tmp_path: Path) -> None:
    file = written(configure(adapters="shared"), tmp_path / "run.yaml")
    ranks = Started(tmp_path, [command(file, "name=full")] * 3, runs_out_of_memory)
    assert ranks.codes() == [1, 0, 1], ranks.printed(0)
    last = ranks.printed(0).splitlines()[-1]
    assert last.startswith("multitune: rank 2 on ") and last.endswith("MemoryError: no room on this card")
    assert "Traceback" not in ranks.printed(0)


def test_ranks_that_never_come_are_waited_for_no_longer_than_the_limit(configure: Configure, tmp_path: Path) -> None:
    file = written(configure(adapters="shared"), tmp_path / "run.yaml")
    ranks = Started(tmp_path, [command(file)], WORLD_SIZE="2", MULTITUNE_RANK_TIMEOUT="1")
    assert ranks.codes() == [2] and "rank 0 of 2 did not meet the others" in ranks.printed(0)


def test_a_whole_model_is_trained_by_two_processes_as_by_one(configure: Configure, tmp_path: Path) -> None:
    file = written(configure(method="full", train={"max_steps": 2}, adapters="shared"), tmp_path / "run.yaml")
    ranks = Started(tmp_path, [command(file, "name=two")] * 2)
    assert ranks.codes() == [0, 0], ranks.printed(0)
    one, two = (
        load_file(run / "adapters/shared/model.safetensors") for run in (in_one_process(file, "one"), tmp_path / "two")
    )
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < WEIGHT


def test_rows_that_differ_on_one_rank_are_named(configure: Configure, tmp_path: Path) -> None:
    file = written(configure(adapters="shared"), tmp_path / "run.yaml")
    fields = yaml.safe_load(file.read_text("utf-8"))
    other = tmp_path / "other.jsonl"
    other.write_text((tmp_path / "shapes.train.jsonl").read_text("utf-8").replace("w1", "w2"), "utf-8")
    fields["tasks"][1]["data"]["train"] = str(other)
    second = tmp_path / "second.yaml"
    second.write_text(yaml.safe_dump(fields), "utf-8")
    ranks = Started(tmp_path, [command(file, "name=apart"), command(second, "name=apart")])
    assert ranks.codes()[0] == 2, ranks.printed(0)
    assert "disagrees with rank 0 on the rows of shapes" in ranks.printed(0)
