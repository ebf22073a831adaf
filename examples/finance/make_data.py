"""Makes examples/finance/data from the downloaded originals: python make_data.py --help.

Every choice is by the SHA-256 of a row's text, so the same originals always give the same files, and no text (case,
spacing and links aside) stands in two splits. The originals are JSON Lines, named below in SOURCES; where they come
from, and under which licence, is stated in data/README.md.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Splits = dict[str, list[Row]]

SOURCES = {
    "tweets": "folder with train.jsonl, validation.jsonl: id, text, label",
    "entities": "folder with train_FIN5.jsonl, test_FIN3.jsonl: id, tokens, ner_tags",
    "reports": "folder with dev_turns.jsonl: id, golden_text, golden_table, history, question, answer",
    "intents": "folder with train.jsonl, test.jsonl: text, category",
    "dolly": "folder with train_short.jsonl: id, instruction, response",
}

# Questions about a passage that the file does not hold cannot be answered from the question alone.
NEEDS_PASSAGE = re.compile(r"\b(text|passage|paragraphs?|article|reference|context|given|excerpt)\b", re.IGNORECASE)


def read(path: Path) -> list[Row]:
    """All rows of one JSON Lines file."""
    # Not splitlines(): it also cuts at U+2028 and its like, which stand inside some tweets.
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def digest(text: str) -> str:
    """What a text is told apart by: links, case and spacing do not count."""
    plain = " ".join(re.sub(r"https?://\S+", "", text).casefold().split())
    return hashlib.sha256(plain.encode()).hexdigest()


class Picker:
    """Picks rows in the order of their text's digest and never the same text twice."""

    def __init__(self, text_of: Callable[[Row], str]) -> None:
        self.text_of = text_of
        self.taken: set[str] = set()

    def take(self, rows: Iterable[Row], count: int) -> list[Row]:
        """The first `count` rows whose text no earlier call took."""
        picked: list[Row] = []
        for key, row in sorted(((digest(self.text_of(row)), row) for row in rows), key=lambda pair: pair[0]):
            if len(picked) < count and key not in self.taken:
                self.taken.add(key)
                picked.append(row)
        return picked

    def take_each(self, rows: list[Row], column: str, count: int) -> list[Row]:
        """The first `count` rows of every value of a column, mixed."""
        values = sorted({row[column] for row in rows})
        picked = [pick for value in values for pick in self.take((r for r in rows if r[column] == value), count)]
        return sorted(picked, key=lambda row: digest(self.text_of(row)))


def columns(rows: Iterable[Row], *names: str) -> list[Row]:
    """The rows with these columns alone, in this order."""
    return [{name: row[name] for name in names} for row in rows]


def tweets(folder: Path) -> Splits:
    """The label shares stay as they are: about two tweets in three are neutral."""
    picker, train = Picker(lambda row: row["text"]), read(folder / "train.jsonl")
    splits = {
        "test": picker.take(read(folder / "validation.jsonl"), 300),
        "validation": picker.take(train, 150),
        "train": picker.take(train, 1200),
    }
    return {split: columns(rows, "id", "text", "label") for split, rows in splits.items()}


def entities(folder: Path) -> Splits:
    """Sentences of 4 to 120 words; the test rows come from agreements that the training rows do not."""
    picker = Picker(lambda row: " ".join(row["tokens"]))
    train, test = (
        [row for row in read(folder / name) if 4 <= len(row["tokens"]) <= 120]
        for name in ("train_FIN5.jsonl", "test_FIN3.jsonl")
    )
    splits = {"test": picker.take(test, 300), "validation": picker.take(train, 120), "train": picker.take(train, 1200)}
    return {split: columns(rows, "id", "tokens", "ner_tags") for split, rows in splits.items()}


def pages(rows: list[Row]) -> Iterator[list[Row]]:
    """The turns that ask about one page of one report, page by page in the order of the page name's digest."""
    by_page: dict[str, list[Row]] = {}
    for row in rows:
        # Single_MRO/2007/page_134.pdf-1#0 is turn 0 of the first conversation about MRO/2007/page_134.pdf
        page = re.sub(r"^(Single|Double)_|(-\d+)?#\d+$", "", row["id"])
        by_page.setdefault(page, []).append({**row, "document": page})
    yield from (by_page[page] for page in sorted(by_page, key=digest))


def short(number: float) -> float:
    """At most four decimals, and none where the number is whole."""
    rounded = round(number, 4)
    return int(rounded) if rounded == int(rounded) else rounded


def reports(folder: Path) -> Splits:
    """Turns with a number for an answer and a short context; all turns about one page stay in one split."""
    picker = Picker(lambda row: "\n".join([row["golden_text"], row["golden_table"], *row["history"], row["question"]]))
    splits: Splits = {"test": [], "validation": [], "train": []}
    least = {"test": 300, "validation": 150, "train": 1200}
    rows = [
        {**row, "answer": short(row["answer"])}
        for row in read(folder / "dev_turns.jsonl")
        if not isinstance(row["answer"], bool) and 20 <= len(row["golden_text"] + row["golden_table"]) <= 1000
    ]
    for page in pages(rows):
        split = next((name for name, count in least.items() if len(splits[name]) < count), None)
        if split is not None:
            fresh = picker.take(page, len(page))
            splits[split] += sorted(fresh, key=lambda row: row["id"])
    names = ("id", "document", "golden_text", "golden_table", "history", "question", "answer")
    return {split: columns(rows, *names) for split, rows in splits.items()}


def intents(folder: Path) -> Splits:
    """The same number of questions for each of the 77 intents."""
    picker, train = Picker(lambda row: row["text"]), read(folder / "train.jsonl")
    return {
        "test": picker.take_each(read(folder / "test.jsonl"), "category", 4),
        "validation": picker.take_each(train, "category", 2),
        "train": picker.take_each(train, "category", 15),
    }


def dolly(folder: Path) -> Splits:
    """Instructions that can be answered without a passage."""
    rows = [row for row in read(folder / "train_short.jsonl") if not NEEDS_PASSAGE.search(row["instruction"])]
    picker = Picker(lambda row: row["instruction"])
    return {"test": picker.take(rows, 150), "validation": picker.take(rows, 100), "train": picker.take(rows, 1200)}


def main() -> None:
    """Write data/<task>/<split>.jsonl for each task whose originals were given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, meaning in SOURCES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=meaning)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="folder to write to")
    arguments = parser.parse_args()
    makers = {"tweets": tweets, "entities": entities, "reports": reports, "intents": intents, "dolly": dolly}
    for name, make in makers.items():
        folder: Path | None = getattr(arguments, name)
        if folder is None:
            continue
        for split, rows in make(folder).items():
            path = arguments.out / name / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            path.write_text(lines, encoding="utf-8", newline="\n")
            print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main()
