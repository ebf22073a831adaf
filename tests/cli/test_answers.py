"""`generate`: a text, a chat, and a file of rows; what is wrong with them is told in a line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import multitune
from multitune.cli.main import app


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def invoke(*arguments: str, stdin: str | None = None) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["generate", *arguments], input=stdin, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout, result.stderr


def test_a_text_is_answered_on_stdout_and_who_answered_stands_on_stderr(finished: Path) -> None:
    out, err = invoke(str(finished), "say w1 w7", "--max-new-tokens", "3")
    answer = multitune.open_run(finished).generate("say w1 w7", max_new_tokens=3)
    assert out == f"{answer.text}\n"
    assert f"[{answer.adapter}: {answer.route.reason}" in err
    assert invoke(str(finished), "-", "--max-new-tokens", "3", stdin="say w1 w7")[0] == out


def test_json_holds_the_answer_and_its_route(finished: Path) -> None:
    out, _ = invoke(str(finished), "say w1 w7", "--max-new-tokens", "3", "--json")
    assert json.loads(out) == multitune.open_run(finished).generate("say w1 w7", max_new_tokens=3).plain()


def test_a_chat_answers_line_by_line(finished: Path) -> None:
    out, _ = invoke(
        str(finished), "--chat", "--adapter", "shared", "--max-new-tokens", "2", stdin="say w1\n\nsay w2\n"
    )
    run = multitune.open_run(finished)
    assert out.splitlines() == [run.generate(text, "shared", 2).text for text in ("say w1", "say w2")]


def test_a_file_of_prompts_and_chats_becomes_answers_in_order(finished: Path, tmp_path: Path) -> None:
    prompts = [f"say w{i} w{i + 1}" for i in range(70)]
    rows = [{"id": f"r{i}", "prompt": prompt} for i, prompt in enumerate(prompts)]
    rows[3] = {"id": "r3", "messages": [{"role": "user", "content": prompts[3]}]}
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    invoke(str(finished), "--input", str(file), "--output", str(out), "--max-new-tokens", "2")
    found = lines(out.read_text("utf-8"))
    expected = multitune.open_run(finished).generate_all(prompts, max_new_tokens=2)
    assert found == [{"id": f"r{i}", **one.plain()} for i, one in enumerate(expected)]
    assert list(tmp_path.iterdir()) in ([file, out], [out, file])


def test_rows_of_a_task_are_asked_as_it_asks(finished: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text\nw1 w7\nw2 w14\n", "utf-8")
    out, _ = invoke(str(finished), "--input", str(file), "--task", "colours")
    assert [line["id"] for line in lines(out)] == [1, 2]
    assert {line["value"] for line in lines(out)} <= {"red", "blue"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of a TEXT, --chat and --input FILE"),
        (["hello", "--chat"], "give one of a TEXT"),
        (["hello", "--task", "colours"], "are for a file of rows"),
        (["--input", "nowhere.jsonl"], "--input nowhere.jsonl: no such file"),
        (["--input", "{rows}"], "row 1: has neither `prompt`, a text, nor `messages`, a list; its columns: text"),
        (["--input", "{rows}", "--task", "colors"], "no task 'colors'"),
        (["--input", "{rows}", "--task", "colours", "--output", "{rows}"], "already exists"),
        (["--input", "{rows}", "--task", "colours", "--output", "nowhere/out"], "cannot be written"),
        (["hello", "--adapter", "legal"], "no adapter 'legal'"),
    ],
)
def test_what_cannot_be_answered_is_told(arguments: list[str], message: str, finished: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "w1"}\n', "utf-8")
    filled = [argument.format(rows=rows) for argument in arguments]
    with pytest.raises(multitune.MultituneError, match=message) as caught:
        CliRunner().invoke(app, ["generate", str(finished), *filled], catch_exceptions=False)
    assert caught.value.exit_code == 2
