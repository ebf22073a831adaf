"""`compare`: a finished run held against a model behind an API, a local one, or another adapter."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import LlamaForCausalLM
from typer.testing import CliRunner, Result

from multitune.cli.main import app
from multitune.core.errors import MultituneError
from multitune.core.files import read_json
from multitune.core.predictions import read_predictions
from tests.chat_server import ChatServer, Request, Response, completion, failure, model_behind, serving
from tests.conftest import unseal


@pytest.fixture(scope="session")
def scored(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run, freshly scored: other tests score it on other rows."""
    copy = Path(shutil.copytree(finished, tmp_path_factory.mktemp("scored") / "tiny"))
    CliRunner().invoke(app, ["eval", str(copy)], catch_exceptions=False)
    return copy


@pytest.fixture
def run(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the scored run, and a cache of its own for answers."""
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return Path(shutil.copytree(scored, tmp_path / "runs" / "tiny"))


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def against(run: Path, server: ChatServer, *arguments: str | Path) -> dict[str, Any]:
    fixed = ("openai:served", "--api-base", server.url, "--yes", "--json")
    return json.loads(invoke("compare", run, *fixed, *arguments).stdout)


def golds(run: Path) -> dict[str, str]:
    """Prompt -> the right answer, by which a perfect model answers."""
    fields = [("colours", "say"), ("copy", "copy")]
    found: dict[str, str] = {}
    for task, verb in fields:
        for row in (json.loads(line) for line in data_of(run, task).read_text("utf-8").splitlines()):
            found[f"{verb} {row['text']}"] = row.get("label", row["text"])
    return found


def data_of(run: Path, task: str) -> Path:
    tasks = yaml.safe_load((run / "config.yaml").read_text("utf-8"))["tasks"]
    return Path(next(one["data"]["train"] for one in tasks if one["name"] == task))


@pytest.fixture(scope="session")
def tiny_server(base_folder: Path) -> Generator[ChatServer]:
    """The tiny base behind an API, in the compute type of the run."""
    with serving(model_behind(str(base_folder), "float32")) as server:
        yield server


def test_a_model_behind_an_api_answers_the_rows_that_ours_answered(run: Path, tiny_server: ChatServer) -> None:
    scores_before = (run / "scores.json").read_text("utf-8")
    record = against(run, tiny_server)
    for task, adapter in record["ours"].items():
        ours = read_predictions(run / "predictions" / adapter / f"{task}.test.jsonl")
        theirs = read_predictions(run / "predictions" / record["subject"] / f"{task}.test.jsonl")
        assert [(p.id, p.gold) for p in theirs] == [(p.id, p.gold) for p in ours]
        (row,) = [row for row in record["parsing"]["strict"]["tasks"] if row["task"] == task]
        assert row["examples"] == len(ours) and row["difference"] == pytest.approx(row["ours"] - row["theirs"])
    assert (run / "scores.json").read_text("utf-8") == scores_before
    assert read_json(run / "comparisons" / f"{record['subject']}.json") == record


def test_the_base_behind_an_api_says_what_the_base_says_here(run: Path, tiny_server: ChatServer) -> None:
    record = against(run, tiny_server, "--max-tokens", "64")
    theirs = read_predictions(run / "predictions" / record["subject"] / "copy.test.jsonl")
    here = read_predictions(run / "predictions" / "base" / "copy.test.jsonl")
    assert [t.output.startswith(h.output) for t, h in zip(theirs, here, strict=True)] == [True] * len(here)


def test_a_perfect_but_chatty_model_loses_strictly_and_wins_leniently(run: Path) -> None:
    right = golds(run)

    def chatty(request: Request) -> Response:
        return completion(f"Sure! The colour is **{right[request.prompt]}**, I think so.")

    with serving(chatty) as server:
        record = against(run, server)
    strict, lenient = (
        {row["task"]: row["theirs"] for row in record["parsing"][name]["tasks"]} for name in ("strict", "lenient")
    )
    assert (strict["colours"], lenient["colours"]) == (0.0, 1.0)
    rows = record["parsing"]["strict"]["tasks"][0]["examples"]
    assert record["parsing"]["strict"]["unparsed"]["colours"] == {"ours": 0, "theirs": rows}
    assert record["parsing"]["lenient"]["unparsed"]["colours"] == {"ours": 0, "theirs": 0}


def test_the_second_time_nothing_is_asked_and_the_result_is_the_same(run: Path) -> None:
    with serving(lambda request: completion("red")) as server:
        once = against(run, server)
        asked = len(server.requests)
        assert against(run, server) == once and len(server.requests) == asked > 0


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_comparison_that_is_stopped_goes_on_where_it_was(how: signal.Signals, code: int, run: Path) -> None:
    """Killed or interrupted while the third answer is under way: the two before it are not asked for again."""
    reached, let_go = threading.Event(), threading.Event()

    def slow(request: Request) -> Response:
        if request.number == 2:
            reached.set()
            let_go.wait(110)
        return completion("red")

    with serving(slow) as server:
        flags = ["openai:served", "--api-base", server.url, "--yes", "--concurrency", "1"]
        command = [sys.executable, "-m", "multitune.cli.main", "compare", str(run), *flags]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert reached.wait(120)
            process.send_signal(how)
            _, told = process.communicate(timeout=120)
        let_go.set()
        assert process.returncode == code and ("answers so far are kept" in told) is (how == signal.SIGINT)
        record = against(run, server)
    rows = sum(row["examples"] for row in record["parsing"]["strict"]["tasks"])
    assert len(server.requests) == 3 + rows - 2


def test_a_chosen_adapter_is_compared_on_its_tasks_and_a_limit_draws_from_the_same_rows(run: Path) -> None:
    with serving(lambda request: completion("red")) as server:
        record = against(run, server, "--adapter", "copy", "--limit", "2")
    assert record["ours"] == {"copy": "copy"} and len(server.requests) == 2
    theirs = read_predictions(run / "predictions" / record["subject"] / "copy.test.jsonl")
    ours = [p.id for p in read_predictions(run / "predictions" / "copy" / "copy.test.jsonl")]
    assert [p.id for p in theirs] == [id_ for id_ in ours if id_ in {p.id for p in theirs}]


def test_prices_become_a_cost_and_a_cap_stops_and_can_be_raised(run: Path) -> None:
    flags = ("--price", "1000,2000")
    with serving(lambda request: completion("red")) as server:
        with pytest.raises(MultituneError, match=r"--max-cost 0.85: used .* answers are kept") as caught:
            against(run, server, *flags, "--max-cost", "0.85", "--max-tokens", "400")
        few = len(server.requests)
        record = against(run, server, *flags, "--max-cost", "99", "--max-tokens", "400")
    rows = sum(row["examples"] for row in record["parsing"]["strict"]["tasks"])
    assert caught.value.exit_code == 2 and 0 < few < rows == len(server.requests)
    assert record["usage"]["cost"] == pytest.approx(rows * 0.014)


def test_nothing_is_sent_before_someone_says_yes(run: Path) -> None:
    with serving(lambda request: completion("red")) as server:
        flags = ("openai:served", "--api-base", server.url)
        with pytest.raises(MultituneError, match="nothing was sent: there is no terminal to ask on"):
            invoke("compare", run, *flags)
        assert server.requests == []


def test_piped_tables_of_both_ways_to_parse_are_whole(run: Path) -> None:
    with serving(lambda request: completion("red")) as server:
        shown = invoke("compare", run, "openai:served", "--api-base", server.url, "--yes").stdout
    assert "parsed as the task does" in shown and "whatever their form" in shown and "10 prompt tokens" not in shown
    rows = [line for line in shown.splitlines() if line.startswith(("colours", "copy"))]
    assert len(rows) == 4 and "…" not in "".join(rows)


def test_a_local_base_is_level_with_itself(run: Path, base_folder: Path) -> None:
    """The run's own base, given by its folder, says what `base` said."""
    record = json.loads(invoke("compare", run, f"local:{base_folder}", "--adapter", "base", "--json").stdout)
    rows = [row for part in record["parsing"].values() for row in part["tasks"]]
    assert len(rows) == 4 and {(row["difference"], row["verdict"]) for row in rows} == {(0.0, "cannot tell")}


def test_a_local_base_reads_with_its_own_tokenizer(run: Path, base_folder: Path, tmp_path: Path) -> None:
    """The run's base with its tokens numbered anew says the same: its texts are turned into its own numbers."""
    folder = tmp_path / "renumbered"
    model: Any = LlamaForCausalLM.from_pretrained(base_folder, dtype="float32")
    tokenizer = json.loads((base_folder / "tokenizer.json").read_text("utf-8"))
    words = tokenizer["model"]["vocab"]
    count = len(words)
    new = [0, 1, 2, *reversed(range(3, count))]  # special tokens keep their numbers
    tokenizer["model"]["vocab"] = {word: new[number] for word, number in words.items()}
    with torch.no_grad():
        for weight in (model.model.embed_tokens.weight, model.lm_head.weight):
            weight[new] = weight[:count].clone()
    model.save_pretrained(folder)
    shutil.copy(base_folder / "tokenizer_config.json", folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    record = json.loads(invoke("compare", run, f"local:{folder}", "--adapter", "base", "--json").stdout)
    for task in record["ours"]:
        theirs, ours = (
            [p.output for p in read_predictions(run / "predictions" / name / f"{task}.test.jsonl")]
            for name in (record["subject"], "base")
        )
        assert theirs == ours


def test_a_task_that_joined_later_is_compared_as_well(run: Path, run_fields: dict[str, Any], tmp_path: Path) -> None:
    task = {**run_fields["tasks"][0], "name": "hues", "prompt": "tell {{ text }}"}
    file = tmp_path / "new.yaml"
    file.write_text(yaml.safe_dump({"tasks": [task], "train": {"max_steps": 2}}), "utf-8")
    invoke("add", file, "--to", run, "--alone")
    with serving(lambda request: completion("red")) as server:
        record = against(run, server)
    hues = {p.id for p in read_predictions(run / "added" / "hues" / "predictions" / "base" / "hues.test.jsonl")}
    assert set(record["ours"]) == {"colours", "copy", "hues"} == set(record["parsing"]["strict"]["unparsed"])
    theirs = read_predictions(run / "predictions" / record["subject"] / "hues.test.jsonl")
    assert {p.id for p in theirs} == hues and {p.output for p in theirs} == {"red"}


def test_an_adapter_is_level_with_itself(run: Path) -> None:
    folder = run / "adapters" / "shared"
    record = json.loads(invoke("compare", run, f"adapter:{folder}", "--adapter", "shared", "--json").stdout)
    for task in record["ours"]:
        theirs, ours = (
            [p.output for p in read_predictions(run / "predictions" / name / f"{task}.test.jsonl")]
            for name in (record["subject"], "shared")
        )
        assert theirs == ours


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gpt-4o",), "gpt-4o: .*All: openai:MODEL"),
        (("openai:",), "openai:: "),
        (("openai:m", "--yes"), "OPENAI_API_KEY: this environment variable is not set"),
        (("openai:m", "--api-base", "nowhere"), "--api-base nowhere: not an address"),
        (("openai:m", "--price", "1"), "--price 1: write two numbers"),
        (("openai:m", "--key-env", "", "--max-cost", "1"), "--max-cost needs prices"),
        (("openai:m", "--parameter", "n=2"), "--parameter n=2: write NAME=VALUE"),
        (("openai:m", "--split", "dev"), "--split dev: .*All: validation, test"),
        (("openai:m", "--adapter", "shraed"), "Did you mean 'shared'"),
        (("local:./none",), "no file or folder|none"),
        (("adapter:./none",), "no such folder"),
    ],
)
def test_what_the_user_got_wrong_is_one_message(arguments: tuple[str, ...], told: str, run: Path) -> None:
    with pytest.raises(MultituneError, match=told) as caught:
        invoke("compare", run, *arguments)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_a_row_that_is_gone_is_told(run: Path) -> None:
    file = unseal(run) / "predictions" / "base" / "copy.test.jsonl"
    file.write_text(file.read_text("utf-8").replace('"id": "', '"id": "x'), "utf-8")
    with pytest.raises(MultituneError, match="is not among the task's test rows any more"):
        invoke("compare", run, "openai:m", "--key-env", "", "--adapter", "base")


def test_a_refusing_server_leaves_the_run_as_it_was(run: Path) -> None:
    before = {path for path in run.rglob("*") if path.is_file()}
    with serving(lambda request: failure(401, "no")) as server, pytest.raises(MultituneError, match="not accepted"):
        against(run, server)
    assert {path for path in run.rglob("*") if path.is_file()} == before
