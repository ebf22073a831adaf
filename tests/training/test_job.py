"""Laws of a whole training job, on a tiny base: alone or together, killed or not, the same weights come out."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from multitune.config.schema import RunConfig
from multitune.core.errors import Interrupted, RunFolderError, StorageError, TrainingError
from multitune.core.events import EventLog
from multitune.core.results.events import Event, StepEvent
from multitune.core.run_folder import RunFolder
from multitune.training import checkpoint as checkpoint_module
from multitune.training import job as job_module
from multitune.training.job import train_run
from multitune.training.prepare import prepare_run

Configure = Callable[..., RunConfig]
TASKS = ("colours", "shapes")


def train(config: RunConfig, folder: Path, **options: Any) -> list[Event]:
    """Train, and return the run's events."""
    train_run(prepare_run(config), RunFolder(folder), **options)
    return logged(folder)


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def weights(folder: Path, adapter: str) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapters" / adapter / "adapter_model.safetensors")


def raising(at_step: int, error: BaseException) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == at_step:
            raise error

    return observe


def test_shared_and_single_task_adapters_come_out_of_one_job(configure: Configure, tmp_path: Path) -> None:
    events = train(configure(), tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run/adapters").iterdir()) == ["colours", "shapes", "shared"]
    losses = [e["adapters"]["shared"]["loss"] for e in events if e["kind"] == "step"]
    assert losses[-1] < losses[0]


def test_an_adapter_trains_the_same_alone_and_among_others(configure: Configure, tmp_path: Path) -> None:
    one = [{"name": "one", "tasks": ["colours"], "steps": 6}]
    others = [{"name": f"other{i}", "tasks": ["shapes"], "steps": 6} for i in range(7)]
    train(configure(adapters=one), tmp_path / "alone")
    train(configure(adapters=[*others, *one]), tmp_path / "among")
    alone, among = weights(tmp_path / "alone", "one"), weights(tmp_path / "among", "one")
    assert alone.keys() == among.keys()
    for key in alone:
        assert torch.allclose(alone[key], among[key], atol=2e-5), key


def test_a_run_that_died_goes_on_to_the_same_bits(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    straight = train(config, tmp_path / "straight")
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "died", observe=raising(5, RuntimeError("power cut")))
    resumed = train(config, tmp_path / "died", resume=True)
    for adapter in ("shared", *TASKS):
        one, other = weights(tmp_path / "straight", adapter), weights(tmp_path / "died", adapter)
        assert all(torch.equal(one[key], other[key]) for key in one)
    timeless = [
        [{k: v for k, v in e.items() if k not in ("seconds", "seal")} for e in events]
        for events in (straight, resumed)
    ]
    assert timeless[0] == timeless[1]


STACKED = ["shared", {"name": "over", "tasks": ["colours"], "stack_on": "shared", "steps": 5}]


def test_an_adapter_on_top_starts_from_the_chosen_one_below_and_leaves_it(
    configure: Configure, tmp_path: Path
) -> None:
    events = train(configure(adapters=STACKED), tmp_path / "stacked")
    train(configure(adapters="shared"), tmp_path / "plain")
    one, other = weights(tmp_path / "stacked", "shared"), weights(tmp_path / "plain", "shared")
    assert all(torch.equal(one[key], other[key]) for key in one)
    over = weights(tmp_path / "stacked", "over")
    for key, below in one.items():  # ranks one behind the other
        held = over[key][: len(below)] if "lora_A" in key else over[key][:, : below.shape[1]]
        assert torch.equal(held, below)
    chosen = json.loads((tmp_path / "stacked/selection.json").read_text())["adapters"]["shared"]["chosen"]
    validated = {(e["adapter"], e["step"]): e for e in events if e["kind"] == "validation"}
    start, below = (validated[key]["tasks"]["colours"]["loss"] for key in (("over", 0), ("shared", chosen)))
    assert start == pytest.approx(below, abs=1e-6)
    assert [e["step"] for e in events if e["kind"] == "step"] == list(range(1, 12))


def test_a_stacked_run_that_died_in_its_second_phase_goes_on_to_the_same_bits(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(adapters=STACKED)
    straight = train(config, tmp_path / "straight")
    for step in (7, 10):  # before and after the first checkpoint of that phase
        with pytest.raises(RuntimeError, match="power cut"):
            train(config, tmp_path / f"died{step}", observe=raising(step, RuntimeError("power cut")))
        resumed = train(config, tmp_path / f"died{step}", resume=True)
        for adapter in ("shared", "over"):
            one, other = weights(tmp_path / "straight", adapter), weights(tmp_path / f"died{step}", adapter)
            assert all(torch.equal(one[key], other[key]) for key in one)
        assert [e["kind"] for e in straight] == [e["kind"] for e in resumed]


def test_an_adapter_that_trains_its_parent_moves_it_as_well(configure: Configure, tmp_path: Path) -> None:
    together = ["shared", {**STACKED[1], "train_parent": True, "steps": 6}]
    train(configure(adapters=together), tmp_path / "together")
    train(configure(adapters="shared"), tmp_path / "plain")
    one, other = weights(tmp_path / "together", "shared"), weights(tmp_path / "plain", "shared")
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_an_adapter_stands_on_a_finished_one_of_another_run(configure: Configure, tmp_path: Path) -> None:
    train(configure(adapters="shared"), tmp_path / "plain")
    below = tmp_path / "plain/adapters/shared"
    over = {"name": "over", "tasks": ["colours"], "stack_on": str(below)}
    train(configure(adapters=[over]), tmp_path / "over")
    over, shared = weights(tmp_path / "over", "over"), weights(tmp_path / "plain", "shared")
    assert all(torch.equal(over[key][: len(a)], a) for key, a in shared.items() if "lora_A" in key)


def test_a_run_that_died_before_its_first_checkpoint_starts_over(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        train(configure(), tmp_path / "run", observe=raising(1, RuntimeError("power cut")))
    events = train(configure(), tmp_path / "run", resume=True)
    assert [e["step"] for e in events if e["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_ctrl_c_saves_and_says_how_to_go_on(configure: Configure, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="--resume"):
        train(configure(), tmp_path / "run", observe=interrupt)
    events = train(configure(), tmp_path / "run", resume=True)
    assert [e["step"] for e in events if e["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_not_a_number_names_task_row_and_step(configure: Configure, tmp_path: Path) -> None:
    config = configure(train={"learning_rate": 1e30, "warmup": 0.0})
    with pytest.raises(
        TrainingError, match=r"step \d: the (loss of task|gradient of adapter) '.*'--resume|learning_rate"
    ):
        train(config, tmp_path / "run")


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint_before(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    train(config, tmp_path / "straight")
    write = checkpoint_module.write_folder
    writes = iter(range(10))

    def full(*arguments: Any, **options: Any) -> None:
        if next(writes) == 1:
            raise StorageError("the disk is full")
        write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "write_folder", full)
        with pytest.raises(StorageError):
            train(config, tmp_path / "run")
    train(config, tmp_path / "run", resume=True)
    one, other = weights(tmp_path / "straight", "shared"), weights(tmp_path / "run", "shared")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_changed_config_is_not_resumed(configure: Configure, tmp_path: Path) -> None:
    train(configure(), tmp_path / "run")
    with pytest.raises(RunFolderError, match="another config"):
        train(configure(seed=18), tmp_path / "run", resume=True)


def test_changed_rows_are_not_resumed(configure: Configure, tmp_path: Path) -> None:
    train(configure(), tmp_path / "run")
    file = tmp_path / "colours.train.jsonl"
    file.write_text(file.read_text().replace("w1 ", "w2 "))
    with pytest.raises(RunFolderError, match="'colours' changed"):
        train(configure(), tmp_path / "run", resume=True)


def test_a_task_that_overfits_is_drawn_no_more_while_the_others_go_on(configure: Configure, tmp_path: Path) -> None:
    # The validation answers of one task contradict its training answers, so learning it can only hurt.
    rows = [json.loads(line) for line in (tmp_path / "shapes.validation.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({**row, "said": "w77"}) + "\n" for row in rows)
    (tmp_path / "shapes.validation.jsonl").write_text(text)
    config = configure(adapters="shared", train={"max_steps": 12, "patience": 1, "learning_rate": 0.02})
    events = train(config, tmp_path / "run")
    (frozen,) = [e for e in events if e["kind"] == "frozen" and e["task"] == "shapes"]
    after = [e["adapters"]["shared"] for e in events if e["kind"] == "step" and e["step"] > frozen["step"]]
    assert after and all(step["shares"]["shapes"] == 0.0 and "shapes" not in step["tasks"] for step in after)


def test_the_best_step_is_shipped_and_the_rest_is_cleared_away(configure: Configure, tmp_path: Path) -> None:
    train(configure(), tmp_path / "run")
    selection = json.loads((tmp_path / "run/selection.json").read_text())["adapters"]
    for adapter, chosen in selection.items():
        shipped = json.loads((tmp_path / f"run/adapters/{adapter}/multitune.json").read_text())
        assert shipped["spec"]["step"] == chosen["chosen"]
    left = {path.name for path in (tmp_path / "run").iterdir()}
    records = {"base.json", "config.yaml", "data.json", "selection.json", "versions.json"}
    assert left == {"adapters", "events.jsonl", "lock", *records}


def test_while_it_trains_a_run_keeps_the_snapshots_that_may_yet_be_chosen(
    configure: Configure, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        train(configure(adapters="shared"), tmp_path / "run", observe=raising(6, RuntimeError("power cut")))
    kept = {int(path.name.removeprefix("step-")) for path in (tmp_path / "run/snapshots/shared").iterdir()}
    state = json.loads((tmp_path / "run/checkpoint/state.json").read_text())
    track = state["learners"]["shared"]["track"]
    best, looks = {criterion["step"] for criterion in track["best"].values()}, track["looks"]
    assert best | {looks[-1]["step"]} <= kept < {look["step"] for look in looks}


def copy_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_run_that_died_between_training_and_publishing_ends_as_one_that_did_not(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    train(config, tmp_path / "straight")
    write, published = job_module.write_folder, []

    def dies(folder: Path, *arguments: Any, **options: Any) -> None:
        if published:
            raise RuntimeError("power cut")
        published.append(folder)
        write(folder, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(job_module, "write_folder", dies)
        train(config, tmp_path / "died")
    assert not (tmp_path / "died/selection.json").exists() and (tmp_path / "died/checkpoint").exists()
    train(config, tmp_path / "died", resume=True)
    assert copy_of(tmp_path / "died/adapters") == copy_of(tmp_path / "straight/adapters")
    assert not (tmp_path / "died/checkpoint").exists()


@pytest.mark.parametrize("left", ["nothing", "a part of the checkpoint", "snapshots"])
def test_a_run_that_died_while_it_cleared_up_is_complete(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    def dies(folder: RunFolder) -> None:
        if left != "nothing":
            (folder.checkpoint / "state.safetensors").unlink()
        if left == "snapshots":
            shutil.rmtree(folder.checkpoint)
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(RunFolder, "drop_training", dies)
        train(configure(), tmp_path / "run")
    before = copy_of(tmp_path / "run/adapters")
    events = logged(tmp_path / "run")
    assert train(configure(), tmp_path / "run", resume=True) == events
    assert copy_of(tmp_path / "run/adapters") == before
    assert not (tmp_path / "run/checkpoint").exists() and not (tmp_path / "run/snapshots").exists()


def test_a_complete_run_is_not_trained_again(configure: Configure, tmp_path: Path) -> None:
    train(configure(), tmp_path / "run")
    before, seen = copy_of(tmp_path / "run"), []
    train(configure(), tmp_path / "run", resume=True, observe=seen.append)
    assert copy_of(tmp_path / "run") == before
    assert [event.plain() for event in seen] == [{"kind": "note", "text": "every adapter is trained already"}]


def test_what_was_written_after_training_is_cut_from_the_log_of_a_complete_run(
    configure: Configure, tmp_path: Path
) -> None:
    """As a caller does who evaluates behind the training, and was killed in the middle."""
    train(configure(), tmp_path / "run")
    events = (tmp_path / "run/events.jsonl").read_bytes()
    with (tmp_path / "run/events.jsonl").open("ab") as file:
        file.write(b'{"kind": "phase", "name": "evaluate"}\n{"kind": "eval')
    log = EventLog(tmp_path / "run/events.jsonl", lambda event: None)
    train(configure(), tmp_path / "run", resume=True, log=log)
    log.close()
    assert (tmp_path / "run/events.jsonl").read_bytes() == events


def test_a_run_whose_adapters_were_deleted_is_trained_again(configure: Configure, tmp_path: Path) -> None:
    train(configure(), tmp_path / "run")
    before = weights(tmp_path / "run", "shared")
    RunFolder(tmp_path / "run").drop_weights()
    train(configure(), tmp_path / "run", resume=True)
    after = weights(tmp_path / "run", "shared")
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_adapters_stack_three_high(configure: Configure, tmp_path: Path) -> None:
    third = {"name": "third", "tasks": ["shapes"], "stack_on": "over", "steps": 4}
    config = configure(adapters=[*STACKED, third])
    train(config, tmp_path / "straight")
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "died", observe=raising(13, RuntimeError("power cut")))
    train(config, tmp_path / "died", resume=True)
    for adapter in ("shared", "over", "third"):
        one, other = weights(tmp_path / "straight", adapter), weights(tmp_path / "died", adapter)
        assert all(torch.equal(one[key], other[key]) for key in one)
    over, top = weights(tmp_path / "straight", "over"), weights(tmp_path / "straight", "third")
    assert all(torch.equal(top[key][: len(below)], below) for key, below in over.items() if "lora_A" in key)


def test_validations_measure_the_metric_where_the_run_asks_for_it(configure: Configure, tmp_path: Path) -> None:
    config = configure(adapters="shared", train={"validate_metric": True, "max_steps": 2})
    validations = [e for e in train(config, tmp_path / "run") if e["kind"] == "validation"]
    measured = [{task: shown["metric"] is not None for task, shown in e["tasks"].items()} for e in validations]
    assert measured == [dict.fromkeys(TASKS, False), dict.fromkeys(TASKS, True)]


def test_the_whole_backbone_can_be_trained(configure: Configure, tmp_path: Path, base_folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    events = train(configure(method="full", adapters="shared", train={"max_steps": 4}), tmp_path / "run")
    losses = [e["adapters"]["shared"]["loss"] for e in events if e["kind"] == "step"]
    assert losses[-1] < losses[0]
    before = AutoModelForCausalLM.from_pretrained(base_folder).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "run/adapters/shared").state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before if "norm" not in key)


def test_a_full_run_that_died_goes_on_to_the_same_bits(configure: Configure, tmp_path: Path) -> None:
    config = configure(method="full", adapters="shared")
    train(config, tmp_path / "straight")
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "died", observe=raising(5, RuntimeError("power cut")))
    train(config, tmp_path / "died", resume=True)
    one, other = (load_file(tmp_path / f"{run}/adapters/shared/model.safetensors") for run in ("straight", "died"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_configured_and_achieved_shares_stand_in_every_step(configure: Configure, tmp_path: Path) -> None:
    events = train(configure(adapters="shared"), tmp_path / "run")
    steps = [e["adapters"]["shared"] for e in events if e["kind"] == "step"]
    assert all(sum(step["shares"].values()) == pytest.approx(1.0) for step in steps)
    assert [sum(step["achieved"].values()) for step in steps] == [4, 8, 12, 16, 20, 24]


def test_an_adapter_whose_every_task_overfits_is_done_early(configure: Configure, tmp_path: Path) -> None:
    for task in TASKS:
        file = tmp_path / f"{task}.validation.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps({**row, "said": "w77"}) + "\n" for row in rows))
    config = configure(
        adapters="shared", train={"max_steps": 40, "patience": 1, "learning_rate": 0.02, "alone": "equal_passes"}
    )
    events = train(config, tmp_path / "run")
    assert len([e for e in events if e["kind"] == "step"]) < 40
    assert events[-2]["kind"] == "note" and "stopped early" in events[-2]["text"]


def converging(configure: Configure, folder: Path, **train: Any) -> RunConfig:
    """A run whose colours cannot be learned from their training rows, so that validation soon stops gaining."""
    file = folder / "colours.validation.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**row, "said": "w77"}) + "\n" for row in rows))
    settings = {"max_steps": 48, "alone": "convergence", "learning_rate": 0.02, "validate_metric": False, **train}
    return configure(train=settings)


def test_to_convergence_every_adapter_ends_when_its_own_validation_stops_gaining(
    configure: Configure, tmp_path: Path
) -> None:
    events = train(converging(configure, tmp_path), tmp_path / "run")
    steps = [event["adapters"] for event in events if event["kind"] == "step"]
    taken = {name: max(step[name]["step"] for step in steps if name in step) for name in ("shared", *TASKS)}
    assert taken["colours"] < taken["shapes"] <= 48
    rates = [step["colours"]["lr"] for step in steps if "colours" in step]
    assert rates[-1] < rates[-3]  # it ends with a decay, and not in the middle of a flight


def test_a_run_to_convergence_that_died_in_its_decay_goes_on_to_the_same_bits(
    configure: Configure, tmp_path: Path
) -> None:
    config = converging(configure, tmp_path, checkpoint_every=1)
    events = train(config, tmp_path / "straight")
    ends = next(i for i, e in enumerate(events) if e["kind"] == "note" and "colours: validation" in e["text"])
    at = next(e["step"] for e in events[ends:] if e["kind"] == "step")
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "died", observe=raising(at + 1, RuntimeError("power cut")))
    train(config, tmp_path / "died", resume=True)
    for adapter in ("shared", *TASKS):
        one, other = weights(tmp_path / "straight", adapter), weights(tmp_path / "died", adapter)
        assert all(torch.equal(one[key], other[key]) for key in one)
