"""The front door: what was trained answers, is scored, chosen and added to, with its base loaded once."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import multitune
from multitune.core.errors import InputError, RouterError, TaskError
from multitune.core.predictions import read_predictions

ROW = {"text": "w3 w21"}


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "runs" / "tiny")


@pytest.fixture
def run(copied: Path) -> multitune.Run:
    return multitune.open_run(copied)


def loads(caplog: pytest.LogCaptureFixture, work: Callable[[], Any]) -> int:
    """How often a base is loaded while something is done."""
    with caplog.at_level(logging.INFO, "multitune.model.backbone"):
        caplog.clear()
        work()
    return sum(record.message.startswith("loading base") for record in caplog.records)


def prompts_of(run: multitune.Run, task: str) -> dict[str, str]:
    """Id -> what the evaluation asked."""
    rows = map(json.loads, run.folder.prompts(task, "test").read_text("utf-8").splitlines())
    return {row["id"]: row["prompt"] for row in rows}


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        multitune.open_run(tmp_path)


def test_results_are_those_of_the_files(run: multitune.Run) -> None:
    assert set(run.scores.tasks) == set(run.tasks) == {"colours", "copy"}
    assert run.routing is not None
    assert set(run.routing.table.adapters) == set(run.tasks)
    table = run.predictions("colours")
    assert set(table.adapter) == {"base", "shared", "colours", "colours.residual"}
    stored = read_predictions(run.folder.predictions("shared", "colours", "test"))
    assert run.predictions("colours", "shared").output.tolist() == [one.output for one in stored]


def test_answers_that_are_not_there_are_told(run: multitune.Run) -> None:
    with pytest.raises(InputError, match=r"no answers to test rows of 'colour'.*colours"):
        run.predictions("colour")


def test_a_prompt_is_answered_by_the_adapter_that_the_router_picks(run: multitune.Run) -> None:
    answer = run.generate("copy w9 w3", max_new_tokens=3)
    assert answer.route == run.route("copy w9 w3")
    assert answer.adapter == answer.route.adapter
    assert answer.text == run.generate("copy w9 w3", answer.adapter, 3).text


def test_an_answer_is_that_of_the_evaluation(run: multitune.Run, run_fields: dict[str, Any]) -> None:
    rows = [json.loads(line) for line in Path(run_fields["tasks"][0]["data"]).read_text("utf-8").splitlines()]
    prompts = {f"say {row['text']}": row for row in rows}
    asked = prompts_of(run, "colours")
    stored = {one.id: one.output for one in read_predictions(run.folder.predictions("shared", "colours", "test"))}
    answers = run.predict("colours", [prompts[prompt] for prompt in asked.values()], "shared")
    assert dict(zip(asked, (a.text for a in answers), strict=True)) == stored
    copies = prompts_of(run, "copy")
    stored = {one.id: one.output for one in read_predictions(run.folder.predictions("shared", "copy", "test"))}
    most = run.config.tasks[1].max_new_tokens or 512
    texts = {
        key: one.text for key, one in zip(copies, run.generate_all([*copies.values()], "shared", most), strict=True)
    }
    assert all(texts[key].startswith(stored[key]) for key in stored)


def test_the_order_of_prompts_is_kept_whatever_adapter_answers(run: multitune.Run) -> None:
    prompts = ["copy w9 w3", "say w1 w7", "copy w2 w3", "say w5 w39"]
    alone = [run.generate(prompt, max_new_tokens=4) for prompt in prompts]
    assert run.generate_all(prompts, max_new_tokens=4) == alone


def test_messages_are_read_as_a_chat(run: multitune.Run) -> None:
    one = run.generate([{"role": "user", "content": "say w1 w7"}], "shared", 3)
    assert one == run.generate("say w1 w7", "shared", 3)
    chat = [{"role": "user", "content": "say w1"}, {"role": "assistant", "content": "red"}]
    run.generate([*chat, {"role": "user", "content": "say w2"}], "shared", 3)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "the last message is not the user's"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "the last message is not the user",
        ),
        ([{"role": "tool", "content": "a"}], "message 1 has the role 'tool'"),
        ([{"role": "user", "content": " "}], "message 1 has no text"),
        ([{"role": "user", "content": None}], "message 1 has no text"),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], "message 2 is a system message"),
        ("", "message 1 has no text"),
    ],
)
def test_what_is_no_chat_is_refused(messages: Any, message: str, run: multitune.Run) -> None:
    with pytest.raises(InputError, match=message):
        run.generate(messages)


def test_an_unknown_adapter_or_task_is_told_with_the_nearest(run: multitune.Run) -> None:
    with pytest.raises(InputError, match=r"no adapter 'share'.*shared"):
        run.generate("say w1", "share")
    with pytest.raises(InputError, match=r"no task 'color'.*colours"):
        run.predict("color", [ROW])
    with pytest.raises(TaskError, match="no column 'text'"):
        run.predict("colours", [{"words": "w1"}])


def test_a_prompt_that_the_base_cannot_read_is_refused(run: multitune.Run) -> None:
    with pytest.raises(InputError, match=r"a prompt has .* tokens, and .* reads"):
        run.generate("w1 " * 5000)


def test_without_a_router_the_one_adapter_answers_and_several_must_be_named(copied: Path) -> None:
    shutil.rmtree(copied / "routing")
    run = multitune.open_run(copied)
    assert run.generate("say w1 w7", max_new_tokens=2).adapter == "shared"
    with pytest.raises(RouterError, match=r"has no router yet. Make one: multitune select"):
        run.route("say w1 w7")


def test_what_is_opened_loads_its_base_once(copied: Path, run_fields: dict[str, Any], caplog: Any) -> None:
    def everything() -> None:
        run = multitune.open_run(copied)
        run.generate("say w1 w7", max_new_tokens=2)
        run.evaluate(split="validation")
        multitune.select(run)
        run.route("copy w1")
        new = {**run_fields, "name": "more", "tasks": [{**run_fields["tasks"][1], "name": "echo"}], "general": []}
        change = multitune.add(run, new)
        assert not change.files_changed
        assert not change.logits_changed
        assert "echo" in run.tasks
        assert run.predict("echo", [ROW])[0].adapter in ("base", "echo", "shared")
        run.remove("echo")
        assert "echo" not in run.tasks
        run.generate("say w1 w7", max_new_tokens=2)

    assert loads(caplog, everything) == 1


def test_a_task_that_joined_is_asked_with_its_own_system_text(copied: Path, run_fields: dict[str, Any]) -> None:
    run = multitune.open_run(copied)
    echo = {**run_fields["tasks"][1], "name": "echo"}
    multitune.add(run, {**run_fields, "name": "more", "tasks": [echo], "general": [], "system": "w70 w71 w72"})
    joined = run.folder.added("echo")
    rows = [json.loads(line) for line in Path(echo["data"]).read_text("utf-8").splitlines()]
    by_prompt = {f"copy {row['text']}": row for row in rows}
    asked = map(json.loads, joined.prompts("echo", "test").read_text("utf-8").splitlines())
    answers = run.predict("echo", [by_prompt[one["prompt"]] for one in asked], "echo")
    stored = read_predictions(joined.predictions("echo", "echo", "test"))
    assert all(one.text.startswith(kept.output) for one, kept in zip(answers, stored, strict=True))


def test_training_evaluation_choice_and_answers_take_one_load(run_file: Path, caplog: Any) -> None:
    def everything() -> None:
        run = multitune.train(run_file, ["train.gradient_checkpointing=true"])
        run.generate("say w1 w7", max_new_tokens=2)

    assert loads(caplog, everything) == 1


def test_a_backbone_is_left_as_it_was(copied: Path) -> None:
    run = multitune.open_run(copied)
    before = run.generate("say w1 w7", "shared", 4), run.generate("say w1 w7", "base", 4)
    run.evaluate(split="validation", limit=3)
    assert before == (run.generate("say w1 w7", "shared", 4), run.generate("say w1 w7", "base", 4))


def test_after_a_failure_a_run_goes_on_answering(copied: Path, run_fields: dict[str, Any]) -> None:
    run = multitune.open_run(copied)
    before = run.generate("say w1 w7", max_new_tokens=2)
    with pytest.raises(InputError, match="which this run has already"):
        run.add({**run_fields, "tasks": run_fields["tasks"][:1], "general": []})
    assert run.generate("say w1 w7", max_new_tokens=2) == before


def test_a_config_is_taken_as_object_mapping_or_path(run_file: Path, run_fields: dict[str, Any]) -> None:
    few = ["train.epochs=0.5"]
    of = [multitune.check(one, few) for one in (run_file, str(run_file), multitune.load_config(run_file))]
    mapping = multitune.check(yaml.safe_load(run_file.read_text("utf-8")), few)
    assert {report.adapters for report in (*of, mapping)} == {of[0].adapters}
    assert multitune.check(run_file).adapters != of[0].adapters
