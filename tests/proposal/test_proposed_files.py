"""Which files are one task, and what is asked or refused of odd ones."""

from pathlib import Path

import pytest

from multitune.core.errors import DataError, InputError
from multitune.proposal.bases import GIB, Hardware, fitting
from multitune.proposal.columns import Question
from multitune.proposal.files import find_sets
from tests.proposal.conftest import Propose, Rows, write_file


def labelled(i: int) -> dict[str, str]:
    return {"text": f"w{i} w1", "label": "ab"[i % 2]}


def two_answers(i: int) -> dict[str, str]:
    return {"mail": f"w{i} w{i % 7} w3", "team": ["x", "y"][i % 2], "urgency": ["high", "low"][i % 3 > 0]}


def test_splits_are_found_by_name(tmp_path: Path) -> None:
    for name in ("mail-train.csv", "mail-test.csv", "mail_dev.csv", "notes.jsonl"):
        write_file(tmp_path / name, labelled)
    found = {one.name: {split: path.name for split, path in one.files.items()} for one in find_sets([tmp_path])}
    assert found == {
        "mail": {"train": "mail-train.csv", "validation": "mail_dev.csv", "test": "mail-test.csv"},
        "notes": {"train": "notes.jsonl"},
    }


def test_a_folder_of_folders_is_a_task_each(tmp_path: Path) -> None:
    for folder in ("legal", "support"):
        for split in ("train", "test"):
            write_file(tmp_path / folder / f"{split}.jsonl", labelled)
    assert [(one.name, list(one.files)) for one in find_sets([tmp_path])] == [
        ("legal", ["train", "test"]),
        ("support", ["train", "test"]),
    ]


def test_shards_are_one_split(proposed: Propose, tmp_path: Path) -> None:
    for at in range(2):
        row: Rows = lambda i, at=at: {"text": f"w{i} w{at} w1", "label": "ab"[i % 2]}  # noqa: E731
        write_file(tmp_path / "set" / f"train-0000{at}-of-00002.jsonl", row)
    config, found = proposed(tmp_path / "set")
    assert found.tasks == ("set",) and "drawn from 120 rows" in str(found.choices)
    assert str(config.tasks[0].data.train).endswith("train-*-of-00002.jsonl")


def test_files_of_one_name_and_two_formats_are_two_tasks(tmp_path: Path) -> None:
    files = [write_file(tmp_path / name, labelled) for name in ("mail.csv", "mail.jsonl")]
    assert [one.name for one in find_sets(files)] == ["mail", "mail-2"]


def test_of_two_columns_that_could_be_the_answer_the_owner_is_asked(proposed: Propose, tmp_path: Path) -> None:
    asked: list[Question] = []

    def ask(question: Question) -> str:
        asked.append(question)
        return "urgency"

    config, _ = proposed(write_file(tmp_path / "mail.csv", two_answers), ask=ask)
    assert config.tasks[0].answer == "{{ urgency }}"
    assert [(one.of, list(one.options)) for one in asked] == [("mail", ["team", "urgency"])]


def test_where_nobody_is_there_to_ask_the_option_is_named(proposed: Propose, tmp_path: Path) -> None:
    file = write_file(tmp_path / "mail.csv", two_answers)
    with pytest.raises(DataError, match="Give --answer mail=COLUMN, one of: team, urgency"):
        proposed(file)
    assert not (tmp_path / "multitune.yaml").exists()
    config, _ = proposed(file, answer={"mail": "team"})
    assert config.tasks[0].answer == "{{ team }}"


def test_a_column_that_is_not_there_is_refused(proposed: Propose, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--answer mail=teem: no such column\. Did you mean 'team'"):
        proposed(write_file(tmp_path / "mail.csv", two_answers), answer={"mail": "teem"})


ODD: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "holds no rows"),
    "headers.csv": (b"text,label\n", "holds no rows"),
    "noise.parquet": (b"\x00\x01\x02", "not a whole Parquet file"),
    "cut.jsonl": (b'{"text": "w1", "la', "line 1"),
    "no western text.csv": ("text,label\n\x8d\x81,a\n".encode("latin-1") * 20, "write its encoding"),
    "utf16.csv": ("text,label\nw1,a\n".encode("utf-16"), "UTF-16"),
    "zip.jsonl.gz": (b"PK\x03\x04", "gzip"),
    "sheet.xlsx": (b"PK\x03\x04", "not a whole workbook"),
    "old.xls": (b"\xd0\xcf\x11\xe0", "Save it as .xlsx"),
    "three.jsonl": (b'{"text": "w1", "label": "a"}\n' * 3, "too few different prompts"),
    "same.csv": (b"ticket,team\n" + b"w1,a\n" * 30, "Which column holds"),
    "numbers.csv": (b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(30)), "Which column holds"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_one_message_that_names_it(proposed: Propose, tmp_path: Path, name: str) -> None:
    content, message = ODD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as refused:
        proposed(tmp_path / name)
    said = str(refused.value)
    assert message in said and name.partition(".")[0] in said and refused.value.exit_code == 2
    assert not (tmp_path / "multitune.yaml").exists()


@pytest.mark.parametrize("name", ["nowhere.csv", "empty-folder", "mail-test.csv"])
def test_no_training_rows_is_one_message(proposed: Propose, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty-folder").mkdir()
    write_file(tmp_path / "mail-test.csv", labelled)
    with pytest.raises(InputError, match=name):
        proposed(tmp_path / name)


def test_bases_are_named_that_fit_the_memory() -> None:
    small, large = (fitting(Hardware(True, size * GIB)) for size in (6, 80))
    assert {base.hub for base in small} < {base.hub for base in large}
    assert max(base.billions for base in small) < 4 and max(base.billions for base in large) > 8
    assert all(base.billions < 2 for base in fitting(Hardware(False, 500 * GIB)))
