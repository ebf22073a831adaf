"""A resumed run stands on what it began on, wherever that lies now; damage to what it saved costs steps, not bits."""

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
from multitune.core.errors import Interrupted, RunFolderError
from multitune.core.events import EventLog, unwatched
from multitune.core.files import read_json, write_json
from multitune.core.results.events import Event, StepEvent
from multitune.core.run_folder import RunFolder
from multitune.core.versions import versions
from multitune.training import job
from multitune.training.job import train_run
from multitune.training.prepare import prepare_run
from tests.conftest import tiny_model

Configure = Callable[..., RunConfig]


def train(config: RunConfig, folder: Path, **options: Any) -> list[dict[str, Any]]:
    train_run(prepare_run(config), RunFolder(folder), **options)
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def stopped(config: RunConfig, folder: Path, at: int = 5) -> None:
    def observe(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == at:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(config, folder, observe=observe)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.parent.name}/{key}": tensor
        for path in folder.glob("adapters/*/adapter_model.safetensors")
        for key, tensor in load_file(path).items()
    }


def require_equal(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first and first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def state(run: Path) -> dict[str, Any]:
    return json.loads((run / "checkpoint/state.json").read_text())


def flip(path: Path, place: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def base(base_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base, which may be changed."""
    return shutil.copytree(base_folder, tmp_path / "base")


def test_other_weights_under_the_same_name_are_refused_before_the_first_step(
    configure: Configure, base: Path, tmp_path: Path
) -> None:
    config = configure(base=str(base))
    stopped(config, tmp_path / "run")
    tiny_model(seed=4).save_pretrained(base)
    before = files(tmp_path / "run")
    with pytest.raises(RunFolderError, match="began on other weights"):
        train(config, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == before


def test_a_changed_chat_template_is_refused_before_the_first_step(
    configure: Configure, base: Path, tmp_path: Path
) -> None:
    config = configure(base=str(base))
    stopped(config, tmp_path / "run")
    template = "{% for message in messages %}{{ message.content }} w1 {% endfor %}"
    (base / "chat_template.jinja").write_text(template)
    with pytest.raises(RunFolderError, match=r"the chat template of .* changed"):
        train(config, tmp_path / "run", resume=True)


def test_a_changed_adapter_that_the_run_stacks_on_is_refused(configure: Configure, tmp_path: Path) -> None:
    for seed in (17, 18):
        train(configure(adapters="shared", seed=seed), tmp_path / f"parent{seed}")
    parent = tmp_path / "parent17/adapters/shared"
    config = configure(adapters=[{"name": "over", "tasks": ["colours"], "stack_on": str(parent), "steps": 6}])
    stopped(config, tmp_path / "run")
    shutil.copytree(tmp_path / "parent18/adapters/shared", parent, dirs_exist_ok=True)
    with pytest.raises(RunFolderError, match="an adapter that the run stacks on changed"):
        train(config, tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_method_is_refused_and_left_alone(configure: Configure, tmp_path: Path) -> None:
    stopped(configure(adapters="shared"), tmp_path / "run")
    before = files(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"another config.*\(method\)"):
        train(configure(adapters="shared", method="full"), tmp_path / "run", resume=True)
    rate = configure(adapters="shared", train={"learning_rate": 0.02})
    with pytest.raises(RunFolderError, match=r"another config.*\(train\.learning_rate\)"):
        train(rate, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == before


def test_other_versions_are_noted_in_the_log(configure: Configure, tmp_path: Path) -> None:
    stopped(configure(), tmp_path / "run")
    file = tmp_path / "run/versions.json"
    record = read_json(file)
    write_json(file, {**record, "packages": {**record["packages"], "torch": "1.0"}})
    notes = [event["text"] for event in train(configure(), tmp_path / "run", resume=True) if event["kind"] == "note"]
    assert any("goes on with other versions (torch 1.0 -> " in note for note in notes)


def test_a_run_that_was_moved_with_its_base_and_its_data_goes_on_to_the_same_bits(
    configure: Configure, base: Path, tmp_path: Path
) -> None:
    config = configure(base=str(base), output=str(tmp_path))
    train(config, tmp_path / "straight")
    stopped(config, tmp_path / "run")
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in [tmp_path / "run", base, *tmp_path.glob("*.jsonl")]:
        path.rename(moved / path.name)
    here = RunConfig.model_validate_json(config.model_dump_json().replace(str(tmp_path), str(moved)))
    train(here, moved / "run", resume=True)
    require_equal(tmp_path / "straight", moved / "run")
    assert str(moved / "colours.train.jsonl") in (moved / "run/config.yaml").read_text()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped bit": lambda run: flip(run / "checkpoint/state.safetensors"),
    "half a state": lambda run: (run / "checkpoint/state.json").write_text('{"step": 4'),
    "no tensors": lambda run: (run / "checkpoint/state.safetensors").unlink(),
    "no digests": lambda run: (run / "checkpoint/sha256.json").unlink(),
    "empty snapshot": lambda run: [path.unlink() for path in (run / "snapshots/shared/step-000004").iterdir()],
    "flipped snapshot": lambda run: flip(run / "snapshots/shared/step-000004/adapter_model.safetensors"),
    "cut log": lambda run: os.truncate(run / "events.jsonl", state(run)["events"] - 40),
    "changed log": lambda run: flip(run / "events.jsonl", state(run)["events"] - 20),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    damage: str, configure: Configure, tmp_path: Path
) -> None:
    straight = train(configure(), tmp_path / "straight")
    stopped(configure(), tmp_path / "run")
    DAMAGES[damage](tmp_path / "run")
    events = train(configure(), tmp_path / "run", resume=True)
    require_equal(tmp_path / "straight", tmp_path / "run")
    notes = [event["text"] for event in events if event["kind"] == "note"]
    assert len(notes) == 1 and "the run goes on from step 2" in notes[0]
    kinds = [event["kind"] for event in events if event["kind"] != "note"]
    assert kinds == [event["kind"] for event in straight]


def test_where_no_checkpoint_is_whole_the_run_is_refused_and_stays(configure: Configure, tmp_path: Path) -> None:
    stopped(configure(), tmp_path / "run")
    for name in ("checkpoint", "checkpoint-before"):
        flip(tmp_path / "run" / name / "state.safetensors")
    before = files(tmp_path / "run")
    with pytest.raises(RunFolderError, match="no other checkpoint is whole"):
        train(configure(), tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == before


def test_a_log_that_no_checkpoint_knows_is_cut_to_whole_lines_and_noted(configure: Configure, tmp_path: Path) -> None:
    train(configure(), tmp_path / "straight")
    stopped(configure(), tmp_path / "run")
    os.truncate(tmp_path / "run/events.jsonl", 100)
    events = train(configure(), tmp_path / "run", resume=True)
    require_equal(tmp_path / "straight", tmp_path / "run")
    assert any("lines of it are lost" in event.get("text", "") for event in events)


def test_a_checkpoint_of_the_version_before_goes_on_to_the_same_bits(configure: Configure, tmp_path: Path) -> None:
    train(configure(), tmp_path / "straight")
    run = tmp_path / "run"
    stopped(configure(), run)
    shutil.rmtree(run / "checkpoint-before")
    (run / "checkpoint/sha256.json").unlink()
    (run / "base.json").unlink()
    older = {key: value for key, value in state(run).items() if key not in ("log", "snapshots")}
    (run / "checkpoint/state.json").write_text(json.dumps({**older, "schema_version": 2}))
    events = train(configure(), run, resume=True)
    require_equal(tmp_path / "straight", run)
    assert [event["step"] for event in events if event["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_a_snapshot_that_is_damaged_at_the_end_is_not_published(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(adapters="shared", train={"keep": "last"})
    check = job.require_unchanged

    def damaged(snapshot: Path, digest: str | None) -> None:
        flip(snapshot / "adapter_model.safetensors")
        check(snapshot, digest)

    with monkeypatch.context() as patch:
        patch.setattr(job, "require_unchanged", damaged)
        with pytest.raises(RunFolderError, match=r"step-000006: the snapshot is not what was written.*--resume"):
            train(config, tmp_path / "run")
    assert not (tmp_path / "run/adapters/shared").exists()
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "straight")
    require_equal(tmp_path / "straight", tmp_path / "run")


def test_a_start_beside_another_is_refused_and_deletes_nothing(configure: Configure, tmp_path: Path) -> None:
    train(configure(), tmp_path / "run")
    before = files(tmp_path / "run")
    log = EventLog(tmp_path / "run/events.jsonl", unwatched)
    log.hold()
    with pytest.raises(RunFolderError, match="another process is training this run"):
        train(configure(), tmp_path / "run")
    log.close()
    assert files(tmp_path / "run") == before


def test_a_run_that_another_process_left_meanwhile_is_not_started_over_unasked(
    configure: Configure, tmp_path: Path
) -> None:
    train(configure(), tmp_path / "run")
    with pytest.raises(RunFolderError, match="already holds a run"):
        train(configure(), tmp_path / "run", overwrite=False)


def test_a_run_that_was_killed_before_it_had_a_run_file_is_begun_anew(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(path: Path, text: str) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as context:
        context.setattr("multitune.config.load.write_text", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train(configure(), tmp_path / "run", overwrite=False)
    assert (tmp_path / "run/data.json").is_file() and not (tmp_path / "run/config.yaml").exists()
    train(configure(), tmp_path / "run", overwrite=False)
    train(configure(), tmp_path / "undisturbed")
    require_equal(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize("foreign", ["data.json", "notes.txt"])
def test_files_that_no_killed_beginning_left_are_refused_and_stay(
    foreign: str, configure: Configure, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / foreign).write_text("{}", "utf-8")
    if foreign == "notes.txt":  # beside files of ours
        versions().write(RunFolder(folder).versions)
    before = files(folder)
    with pytest.raises(RunFolderError, match="already holds a run"):
        train(configure(), folder, overwrite=False)
    assert {path: text for path, text in files(folder).items() if path.name != "lock"} == before


def test_a_terminal_that_closes_saves(configure: Configure, tmp_path: Path) -> None:
    def hang_up(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == 3:
            os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(Interrupted, match="stopped after step 3"):
            train(configure(), tmp_path / "run", observe=hang_up)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert state(tmp_path / "run")["step"] == 3
