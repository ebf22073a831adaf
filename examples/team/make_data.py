"""Makes examples/team/data: python make_data.py --banking77 FOLDER.

Support comes from the originals of BANKING77 (train.jsonl, test.jsonl: text, category), legal and analysis from the
excerpts in examples/finance/data. Every choice is by the SHA-256 of a row's text, so the same files always come out.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FINANCE = Path(__file__).parent.parent / "finance" / "data"
SPLITS = ("train", "validation", "test")
INTENTS = (
    "activate_my_card",
    "age_limit",
    "atm_support",
    "cancel_transfer",
    "change_pin",
    "country_support",
    "edit_personal_details",
    "exchange_rate",
    "lost_or_stolen_card",
    "order_physical_card",
    "terminate_account",
    "verify_my_identity",
)
MOST_WORDS = 30  # of a sentence of a loan agreement


def read(path: Path) -> list[Row]:
    """All rows of one JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def balanced(rows: Iterable[Row], column: str, count: int) -> list[Row]:
    """At most so many rows of every value of a column, mixed; no text twice."""
    by_digest = {hashlib.sha256(" ".join(row["text"].casefold().split()).encode()).hexdigest(): row for row in rows}
    taken: dict[str, int] = {}
    picked: list[Row] = []
    for _, row in sorted(by_digest.items()):
        if taken.get(row[column], 0) < count:
            taken[row[column]] = taken.get(row[column], 0) + 1
            picked.append(row)
    return picked


def support(folder: Path) -> dict[str, list[Row]]:
    """Questions to a bank: twelve intents that a person tells apart."""
    of_file = {
        name: [
            {"text": row["text"].strip(), "intent": row["category"].replace("_", " ")}
            for row in read(folder / f"{name}.jsonl")
            if row["category"] in INTENTS
        ]
        for name in ("train", "test")
    }
    train = balanced(of_file["train"], "intent", 22)
    held = balanced(train, "intent", 4)
    return {
        "train": [row for row in train if row not in held],
        "validation": held,
        "test": balanced((row for row in of_file["test"] if row not in train), "intent", 10),
    }


def party(tags: list[str]) -> str | None:
    """Whom a sentence names: an organisation, else a person, else nobody; None where it names places alone."""
    named = {tag.removeprefix("I-") for tag in tags} - {"O"}
    if not named:
        return "nobody"
    return "organisation" if "ORG" in named else "person" if "PER" in named else None


def legal(split: str) -> list[Row]:
    """Sentences of loan agreements, with the kind of party that they name."""
    rows = [
        {"text": " ".join(row["tokens"]), "party": party(row["ner_tags"])}
        for row in read(FINANCE / "entities" / f"{split}.jsonl")
        if len(row["tokens"]) <= MOST_WORDS
    ]
    return balanced((row for row in rows if row["party"]), "party", {"train": 80, "validation": 20, "test": 50}[split])


def analysis(split: str) -> list[Row]:
    """Tweets about companies, the three views as often as each other where there are enough."""
    rows = [{"text": row["text"], "view": row["label"]} for row in read(FINANCE / "tweets" / f"{split}.jsonl")]
    return balanced(rows, "view", {"train": 70, "validation": 16, "test": 40}[split])


def main() -> None:
    """Write data/TASK/SPLIT.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--banking77", type=Path, required=True, metavar="FOLDER", help="train.jsonl and test.jsonl")
    folder: Path = parser.parse_args().banking77
    of_support = support(folder)
    for split in SPLITS:
        for task, rows in {"support": of_support[split], "legal": legal(split), "analysis": analysis(split)}.items():
            path = Path(__file__).parent / "data" / task / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            path.write_text(lines, encoding="utf-8", newline="\n")
            print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main()
