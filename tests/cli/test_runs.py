"""Runs listed, compared, exported and removed: real ones, damaged ones, and folders that are none."""

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from typer.testing import CliRunner, Result

from multitune.cli.main import app
from multitune.cli.runs import exported
from multitune.core.errors import InputError, MultituneError, RunFolderError
from multitune.core.events import EventLog, unwatched
from multitune.core.run_folder import RunFolder
from tests.conftest import unseal

REPORT = "routing/v0001/report.json"
FORMS = ("table", "json", "markdown", "card")


def invoke(*arguments: object, asked: str | None = None) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=asked)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="session")
def scored(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with the scores of its test rows: other tests score it on other rows."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("scored") / "tiny"))
    invoke("eval", folder)
    return folder


@pytest.fixture
def run(scored: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return unseal(Path(shutil.copytree(scored, tmp_path / "runs" / "tiny")))


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value), "utf-8")


def change_config(run: Path, change: Callable[[Any], None]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    change(config)
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")


def listed(folder: Path) -> dict[str, Any]:
    runs = json.loads(invoke("runs", "list", folder, "--json").stdout)
    return {Path(run["path"]).name: run for run in runs}


# list


def test_a_finished_run_is_listed_with_what_it_is_about(run: Path) -> None:
    found = listed(run.parent)["tiny"]
    assert (found["state"], found["tasks"], found["missing"]) == ("finished", ["colours", "copy"], [])
    assert sum(found["verdicts"].values()) == 2
    assert found["bytes"] == sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert "finished" in invoke("runs", "list", run.parent).output


def test_a_run_folder_itself_is_a_list_of_one(run: Path) -> None:
    assert list(listed(run)) == ["tiny"]


def test_runs_stand_in_the_order_in_which_they_changed(run: Path) -> None:
    import os

    for place, name in enumerate(("old", "older", "oldest")):
        copy = shutil.copytree(run, run.parent / name)
        for path in copy.rglob("*"):
            os.utime(path, (1e9 - place, 1e9 - place))
    assert list(listed(run.parent)) == ["tiny", "old", "older", "oldest"]


def test_the_state_of_a_run_follows_from_its_files(run: Path) -> None:
    stopped = shutil.copytree(run, run.parent / "stopped")
    (stopped / "scores.json").unlink()
    half = shutil.copytree(run, run.parent / "half")
    (half / "config.yaml").write_text("tasks: [\n")
    (run.parent / "notes").mkdir()
    (run.parent / "file.txt").touch()
    log = EventLog(RunFolder(shutil.copytree(run, run.parent / "going")).events, unwatched)
    log.open(10**9)
    found = {name: (one["state"], " ".join(one["missing"])) for name, one in listed(run.parent).items()}
    log.close()
    assert found["tiny"] == ("finished", "") and found["going"] == ("running", "")
    assert found["stopped"][0] == "stopped" and "--resume" in found["stopped"][1]
    assert found["half"][0] == "damaged" and "config.yaml line" in found["half"][1]
    assert found.keys() == {"tiny", "stopped", "half", "going"}


def test_a_run_of_a_newer_multitune_is_listed_all_the_same(run: Path) -> None:
    change_config(run, lambda config: config.update({"quantum": True, "tasks": [*config["tasks"], {"name": "new"}]}))
    found = listed(run.parent)["tiny"]
    assert (found["state"], found["tasks"]) == ("finished", ["colours", "copy", "new"])
    with pytest.raises(MultituneError, match="quantum"):
        invoke("runs", "export", run, "--as", "card")


def test_no_runs_and_no_folder_are_told_apart(tmp_path: Path) -> None:
    assert "no runs in" in invoke("runs", "list", tmp_path).output
    with pytest.raises(RunFolderError, match="no such folder"):
        invoke("runs", "list", tmp_path / "nowhere")


HARMS: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "object": lambda path: path.write_text('{"tasks": {"colours": {}}}'),
    "list": lambda path: path.write_text("[[1], 2, null]\n"),
    "binary": lambda path: path.write_bytes(b"\x00\xff\xfe" * 50),
}
PARTS = ("config.yaml", "versions.json", "data.json", "events.jsonl", "selection.json", "scores.json")
PARTS += ("routing/v0001/table.json", "routing/v0001/report.json", "predictions/shared/copy.test.jsonl")


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_run_is_listed_and_every_fault_is_one_of_ours(part: str, harm: str, run: Path) -> None:
    HARMS[harm](run / part)
    assert list(listed(run.parent)) == ["tiny"]
    invoke("runs", "list", run.parent)
    told: list[str] = []
    for command in (["watch", run, "--once"], *(["runs", "export", run, "--as", form] for form in FORMS)):
        try:
            told.append(invoke(*command).output)
        except MultituneError as error:
            assert error.exit_code == 2 and str(run) in str(error)
    assert told or part == "config.yaml", "nothing could be told of this run any more"


def places(value: Any) -> list[tuple[Any, ...]]:
    """The path to every part of a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in parts for place in [(key,), *((key, *rest) for rest in places(part))]]


@pytest.mark.parametrize("part", ["scores.json", "versions.json", "data.json", "routing/v0001/table.json", REPORT])
def test_whatever_one_part_of_a_file_becomes_no_fault_is_a_traceback(part: str, run: Path) -> None:
    file, told, refused = run / part, 0, 0
    value = json.loads(file.read_text("utf-8"))
    every = places(value)
    for turn, place in enumerate(every[:: max(1, len(every) // 60)]):
        damaged = json.loads(json.dumps(value))
        *way, last = place
        holder = functools.reduce(lambda node, key: node[key], way, damaged)
        if turn % 2:
            del holder[last]
        else:
            holder[last] = (None, {}, [], "much", -1, [[]], {"a": None})[turn // 2 % 7]
        file.write_text(json.dumps(damaged), "utf-8")
        for form in FORMS if turn % 10 == 0 else FORMS[:3]:
            try:
                told += bool(exported(RunFolder(run), form))
            except MultituneError as error:
                refused += 1
                assert str(run) in str(error)
        listed(run.parent)
    assert told and refused


def test_a_run_file_that_names_other_tasks_than_the_scores_is_no_card_and_no_comparison(run: Path) -> None:
    other = shutil.copytree(run, run.parent / "other")
    change_config(other, lambda config: config["tasks"][0].update(name="hues"))
    for command in (("export", other, "--as", "card"), ("compare", run, other)):
        with pytest.raises(RunFolderError, match=r"holds scores of colours, copy, but config\.yaml names copy, hues"):
            invoke("runs", *command)


# compare


def test_a_run_compares_with_itself_as_no_better_and_no_worse(run: Path) -> None:
    other = shutil.copytree(run, run.parent / "other")
    found = json.loads(invoke("runs", "compare", run, other, "--json").stdout)
    scores = json.loads((run / "scores.json").read_text())["tasks"]
    for task, row in found["tasks"].items():
        first, second = row["runs"]
        assert first["score"] == second["score"] == scores[task]["scores"][first["adapter"]]["score"]
        assert first["low"] <= first["score"] <= first["high"] and first["difference"] is None
        assert second["difference"]["difference"] == 0.0 and second["verdict"] == "cannot tell"
    assert "cannot tell" in invoke("runs", "compare", run, other).output


def test_another_adapter_of_the_same_rows_differs_as_the_scores_do(run: Path) -> None:
    other = shutil.copytree(run, run.parent / "other")
    for task in ("colours", "copy"):
        shutil.copy(other / f"predictions/base/{task}.test.jsonl", other / f"predictions/shared/{task}.test.jsonl")
    found = json.loads(invoke("runs", "compare", run, other, "--adapter", "shared", "--json").stdout)
    scores = json.loads((run / "scores.json").read_text())["tasks"]
    for task, row in found["tasks"].items():
        gain = scores[task]["scores"]["base"]["score"] - scores[task]["scores"]["shared"]["score"]
        assert row["runs"][1]["difference"]["difference"] == pytest.approx(gain)


def test_different_rows_are_refused_and_counted(run: Path) -> None:
    other = shutil.copytree(run, run.parent / "other")
    for file in other.glob("predictions/*/copy.test.jsonl"):
        file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RunFolderError) as refused:
        invoke("runs", "compare", run, other)
    rows = len((run / "predictions/base/copy.test.jsonl").read_text().splitlines())
    assert f": copy ({rows} test and {rows - 1} test rows, {rows - 1} of them the same). Evaluate" in str(
        refused.value
    )
    assert list(json.loads(invoke("runs", "compare", run, other, "--task", "colours", "--json").stdout)["tasks"])


def test_rows_whose_right_answer_changed_are_other_rows(run: Path) -> None:
    other = shutil.copytree(run, run.parent / "other")
    for file in other.glob("predictions/*/colours.test.jsonl"):
        file.write_text(file.read_text().replace('"gold": "red"', '"gold": "green"'))
    with pytest.raises(RunFolderError, match="answered different rows"):
        invoke("runs", "compare", run, other)


def test_another_metric_is_refused_and_another_split_changes_nothing(run: Path) -> None:
    other = shutil.copytree(run, run.parent / "other")
    change_config(other, lambda config: config["tasks"][0].update(metric="accuracy"))
    with pytest.raises(RunFolderError, match="measure colours differently"):
        invoke("runs", "compare", run, other)
    before = (other / "scores.json").read_bytes()
    invoke("eval", other, "--split", "validation")
    assert (other / "scores.json").read_bytes() == before and list((other / "evaluations").iterdir())
    invoke("runs", "compare", run, other, "--task", "copy")


def test_runs_that_share_no_task_and_a_single_run_are_refused(run: Path) -> None:
    with pytest.raises(InputError, match="needs two runs or more"):
        invoke("runs", "compare", run)
    with pytest.raises(InputError, match="Did you mean 'colours'"):
        invoke("runs", "compare", run, run, "--task", "colour")
    with pytest.raises(InputError, match="--adapter nobody: did not answer"):
        invoke("runs", "compare", run, run, "--adapter", "nobody")


# remove


def test_a_run_is_removed_when_the_user_says_so(run: Path) -> None:
    refused = invoke("runs", "remove", run, asked="n\n")
    assert (refused.exit_code, run.exists()) == (1, True) and "nothing was deleted" in refused.output
    assert invoke("runs", "remove", run, asked="").exit_code == 1 and run.exists()
    assert invoke("runs", "remove", run, asked="y\n").exit_code == 0
    assert not run.exists() and run.parent.exists()


def test_yes_is_not_asked(run: Path) -> None:
    assert "deleted" in invoke("runs", "remove", run, "--yes").output and not run.exists()


def test_a_run_that_is_being_trained_is_not_removed(run: Path) -> None:
    log = EventLog(RunFolder(run).events, unwatched)
    log.open(10**9)
    with pytest.raises(RunFolderError, match="a process is at work in it"):
        invoke("runs", "remove", run, "--yes")
    log.close()
    assert run.exists()


@pytest.mark.parametrize("harm", ["empty", "own run file", "own files in it", "link", "nowhere"])
def test_what_is_no_run_or_more_than_one_is_not_removed(harm: str, run: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    match harm:
        case "empty":
            target.mkdir()
        case "own run file":
            target.mkdir()
            shutil.copy(run / "config.yaml", target)
        case "own files in it":
            target = run
            (run / "thesis.md").write_text("years of work")
        case "link":
            target.symlink_to(run)
        case _:
            pass
    with pytest.raises(RunFolderError):
        invoke("runs", "remove", target, "--yes")
    assert run.is_dir() and (harm == "nowhere" or target.exists())


def test_a_damaged_run_can_be_removed(run: Path) -> None:
    (run / "config.yaml").write_text("tasks: [")
    (run / "scores.json").unlink()
    assert invoke("runs", "remove", run, "--yes").exit_code == 0 and not run.exists()


# export


def test_json_holds_all_that_the_files_say(run: Path) -> None:
    found = json.loads(invoke("runs", "export", run, "--as", "json").stdout)
    assert found["scores"] == json.loads((run / "scores.json").read_text())
    assert found["routing"]["table"] == json.loads((run / "routing/v0001/table.json").read_text())
    assert found["config"] == yaml.safe_load((run / "config.yaml").read_text())


def test_a_file_is_written_whole_and_named(run: Path, tmp_path: Path) -> None:
    printed = invoke("runs", "export", run, "--as", "markdown", "-o", tmp_path / "deep" / "pr.md").output
    assert (tmp_path / "deep" / "pr.md").read_text() == invoke("runs", "export", run, "--as", "markdown").output
    assert str(tmp_path / "deep" / "pr.md") in printed
    with pytest.raises(InputError, match="a folder"):
        invoke("runs", "export", run, "-o", tmp_path)


def test_the_table_is_that_of_train(run: Path) -> None:
    printed = invoke("runs", "export", run).output
    assert "verdict" in printed and "ships with" in printed and f"run folder: {run}" in printed


def cells(markdown: str, title: str) -> list[list[str]]:
    """The rows of the first table whose head starts with these titles."""
    lines = markdown[markdown.index(f"| {title}") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_holds_each_row_of_the_table(run: Path) -> None:
    table = cells(invoke("runs", "export", run, "--as", "markdown").output, "task | metric")
    rows = json.loads((run / "scores.json").read_text())["transfer"]["shared"]["tasks"]
    assert len({len(line) for line in table}) == 1 and len(table) == 2 + len(rows)
    for line, row in zip(table[2:], rows, strict=True):
        assert line[:2] == [row["task"], row["metric"]] and line[5] == f"{row['together']:.3f}"
        assert line[6] == f"{row['difference']:+.3f} \\[{row['low']:+.3f}, {row['high']:+.3f}\\]"


HOSTILE = "x | y <img src=x onerror=alert(1)> [a](javascript:b) `c` **d**\n\n# e"


def test_hostile_text_breaks_no_table_and_is_no_markup(run: Path) -> None:
    def rename(scores: dict[str, Any]) -> None:
        scores["transfer"]["shared"]["tasks"][0]["task"] = HOSTILE
        scores["general"][HOSTILE] = scores["general"].pop("chat")

    change_json(run / "scores.json", rename)
    change_json(run / "routing/v0001/table.json", lambda table: table["tasks"]["copy"].update(why=HOSTILE))
    for form in ("markdown", "card"):
        text = invoke("runs", "export", run, "--as", form).output
        table = cells(text, "task | metric | n | base | alone")
        assert {len(line) for line in table} == {9}
        assert len([line for line in text.splitlines() if line.strip() == "# e"]) == 0
        assert re.findall(r"(?<!\\)<img|(?<!\\)\[a\]|(?<!\\)`c`|(?<!\\)\*\*d", text) == []


# card


def front_matter(card: str) -> ModelCard:
    parsed = ModelCard(card, ignore_metadata_errors=False)
    assert yaml.safe_load(card.split("---\n")[1]) == parsed.data.to_dict()
    return parsed


def test_a_cards_metadata_is_what_a_hub_reads(run: Path) -> None:
    card = front_matter(invoke("runs", "export", run, "--as", "card").output)
    assert card.data.library_name == "peft" and card.data.base_model is None  # the base is a folder of this machine
    assert {"multitune", "multi-task", "lora"} <= set(card.data.tags)
    assert card.data.eval_results is None and card.data.datasets is None  # nor has its data a name on a hub


def test_a_card_tells_nothing_of_this_machines_folders(run: Path) -> None:
    text = invoke("runs", "export", run, "--as", "card").output
    config = yaml.safe_load((run / "config.yaml").read_text())
    folders = {
        str(Path(path).parent) for path in (config["base"], config["output"], config["tasks"][0]["data"]["train"])
    }
    assert [folder for folder in folders if folder in text] == [] and "/tmp" not in text


def test_a_card_holds_scores_with_intervals_and_says_what_was_not_done(run: Path) -> None:
    text = invoke("runs", "export", run, "--as", "card").output
    scores = json.loads((run / "scores.json").read_text())
    for line in cells(text, "task | metric | n | base | this")[2:]:
        own = scores["tasks"][line[0]]["scores"]["shared"]
        value, low, high = map(float, re.findall(r"-?\d\.\d+", line[4]))
        assert value == round(own["score"], 3) and low <= value <= high and int(line[2]) == own["examples"]
    digests = json.loads((run / "data.json").read_text())["sets"]
    assert all(f"`{digests[name]['digests']['train'][:16]}`" in text for name in ("colours", "copy", "chat"))
    assert "## Audit\n\nAudited 120 rows" in text and "holds no measurement of bias" in text
    assert "not known to the run" in text
    assert "texts of no task (chat)" in text and "general data, loss on chat" in text


def test_data_and_base_of_a_hub_are_named_and_scored_in_the_metadata(run: Path) -> None:
    def of_a_hub(config: dict[str, Any]) -> None:
        config["base"] = "someone/some-model"
        source = {**config["tasks"][0]["data"], "hub": "mteb/banking77", "train": "train", "test": "test"}
        config["tasks"][0].update(data=source, use="banking77")

    change_config(run, of_a_hub)
    text = invoke("runs", "export", run, "--as", "card").output
    card = front_matter(text)
    assert (card.data.base_model, card.data.datasets) == ("someone/some-model", ["mteb/banking77"])
    metadata = yaml.safe_load(text.split("---\n")[1])
    name, (result,) = model_index_to_eval_results(metadata["model-index"])
    score = json.loads((run / "scores.json").read_text())["tasks"]["colours"]["scores"]["shared"]["score"]
    assert (name, result.dataset_type, result.task_type) == ("tiny-shared", "mteb/banking77", "text-classification")
    assert (result.metric_type, result.metric_value) == ("f1", round(score, 4))
    assert "| CC BY 4.0 |" in text  # of the template, whose data it is


def test_a_templates_licence_is_not_that_of_other_data(run: Path) -> None:
    change_config(run, lambda config: config["tasks"][0].update(use="banking77"))
    text = invoke("runs", "export", run, "--as", "card").output
    assert "CC BY 4.0" not in text


def test_a_database_address_is_not_told(run: Path) -> None:
    secret = "postgresql://me:s3cret@db/rows"
    change_config(run, lambda config: config["tasks"][0]["data"].update(sql=secret, train="SELECT 1"))
    text = invoke("runs", "export", run, "--as", "card").output
    assert "s3cret" not in text and "SQL query" in text


def test_a_card_of_a_single_task_adapter_or_of_none(run: Path) -> None:
    text = invoke("runs", "export", run, "--as", "card", "--adapter", "copy").output
    assert "single-task" in front_matter(text).data.tags and "colours" not in cells(text, "task | metric")[2][0]
    with pytest.raises(InputError, match="Did you mean 'copy'"):
        invoke("runs", "export", run, "--as", "card", "--adapter", "cop")
    with pytest.raises(InputError, match="only a card is about one adapter"):
        invoke("runs", "export", run, "--adapter", "copy")


def test_a_run_without_scores_says_how_to_go_on(run: Path) -> None:
    (run / "scores.json").unlink()
    for form in FORMS:
        with pytest.raises(RunFolderError, match="--resume"):
            invoke("runs", "export", run, "--as", form)
