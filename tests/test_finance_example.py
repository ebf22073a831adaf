"""The finance example: its files keep what their README says of them, and its run files load and render."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import load_config
from multitune.core.bases import resolve_base
from multitune.core.records import SPLITS, Segments
from multitune.data.taskdata import prepare_task
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.training.prepare import prepare_run

FINANCE = Path(__file__).parent.parent / "examples" / "finance"
DATA = FINANCE / "data"
TASKS = sorted(folder.name for folder in DATA.iterdir() if folder.is_dir())
MEMBERS = [(file, place) for file in ("finance.yaml", "demo.yaml") for place in range(len(TASKS))]

# sha256 over the tokens of demo.yaml, from 0.1.0 before rows were recognised: train, validation, test.
TOKENS = {
    "tweets": ("1a8ab8192e41fe42", "458364740a136f2b", "eb1f8227a3a9fbd8"),
    "entities": ("5e95991b26565749", "e5d159fdc7f16018", "37b388b331834308"),
    "reports": ("7711887e7e4c53fe", "251418cf3b99b9f2", "7431f784ed90bcf7"),
    "intents": ("a53cc3a4e1e6cd38", "9c82b0941b2a2943", "67d00a5c23a39b5c"),
    "dolly": ("061916807701f550", "c58afcfb60fe48f7", "953170771c9e66ec"),
}


def rows(task: str, split: str) -> list[dict[str, Any]]:
    with (DATA / task / f"{split}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def text(row: dict[str, Any]) -> str:
    """What the model reads of a row, links, case and spacing aside."""
    asked = {key: row[key] for key in row if key not in ("id", "label", "ner_tags", "answer", "category", "response")}
    return re.sub(r"https?://\S+?(?=\"|\s)|\s", "", json.dumps(asked)).casefold()


@pytest.mark.parametrize("task", TASKS)
def test_no_text_stands_in_two_splits(task: str) -> None:
    train, validation, test = ({text(row) for row in rows(task, split)} for split in SPLITS)
    assert train.isdisjoint(validation | test) and validation.isdisjoint(test)


def test_no_page_of_a_report_stands_in_two_splits() -> None:
    train, validation, test = ({row["document"] for row in rows("reports", split)} for split in SPLITS)
    assert train.isdisjoint(validation | test) and validation.isdisjoint(test)


def test_every_word_of_a_sentence_has_a_tag() -> None:
    assert all(len(row["tokens"]) == len(row["ner_tags"]) for split in SPLITS for row in rows("entities", split))


def test_every_intent_that_is_tested_is_taught() -> None:
    taught = {row["category"] for row in rows("intents", "train")}
    assert {row["category"] for split in SPLITS for row in rows("intents", split)} == taught


@pytest.mark.parametrize("task", TASKS)
def test_the_readme_tells_how_many_rows_there_are(task: str) -> None:
    line = next(
        line for line in (DATA / "README.md").read_text("utf-8").splitlines() if line.startswith(f"| `{task}`")
    )
    assert [int(cell) for cell in re.findall(r"\| (\d+)(?= )", line)] == [len(rows(task, split)) for split in SPLITS]


@pytest.mark.parametrize("task", TASKS)
def test_rows_without_control_tokens_keep_their_tokens(task: str) -> None:
    tokenizer = load_tokenizer(resolve_base("smollm2-135m"))
    now, parsing = ChatFormat(tokenizer), ChatFormat(tokenizer, control_tokens="parse")
    texts = [str(value) for split in SPLITS for row in rows(task, split) for value in row.values() if value]
    for ours, before in ((now.encode_prompts, parsing.encode_prompts), (now.encode_answers, parsing.encode_answers)):
        for found, expected in zip(ours(texts), before(texts), strict=True):
            assert found.tolist() == expected.tolist()
    assert not any(map(now.encoder.holds, texts))


def test_the_data_stays_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 4_000_000


@pytest.mark.parametrize(("file", "place"), MEMBERS)
def test_a_run_file_renders_all_rows_it_asks_for(file: str, place: int) -> None:
    config = load_config(FINANCE / file)
    task = [*config.tasks, *config.general][place]
    examples = prepare_task(task, config.seed).examples
    expected = {split: min(getattr(task.limit, split) or 10**9, len(rows(task.name, split))) for split in SPLITS}
    assert {split: len(examples[split]) for split in SPLITS} == expected


def token_hash(rows: Sequence[Segments]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{len(row.prompt)} {row.tokens.tolist()}\n".encode())
    return digest.hexdigest()[:16]


def test_the_demo_keeps_its_tokens_and_which_of_them_carry_loss() -> None:
    sets = prepare_run(load_config(FINANCE / "demo.yaml")).sets
    found = {name: tuple(token_hash(item.tokens[split]) for split in SPLITS) for name, item in sets.items()}
    assert found == TOKENS
