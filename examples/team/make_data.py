"""Makes examples/team/data: python make_data.py --banking77 FOLDER --tatqa FOLDER.

Every choice is by the SHA-256 of a row's text or document, so the same files always come out.
"""

import argparse
import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SPLITS = ("train", "validation", "test")
CARDS = (
    "activate_my_card",
    "apple_pay_or_google_pay",
    "card_about_to_expire",
    "card_linking",
    "card_swallowed",
    "change_pin",
    "compromised_card",
    "contactless_not_working",
    "getting_virtual_card",
    "lost_or_stolen_card",
    "order_physical_card",
    "visa_or_mastercard",
)
TRANSFERS = (
    "automatic_top_up",
    "beneficiary_not_allowed",
    "cancel_transfer",
    "direct_debit_payment_not_recognised",
    "exchange_rate",
    "failed_transfer",
    "pending_transfer",
    "receiving_money",
    "top_up_by_cash_or_cheque",
    "top_up_limits",
    "transfer_fee_charged",
    "transfer_timing",
)
MOST_WORDS = 30  # of a question
NEEDS = {"arithmetic": "calculation", "span": "lookup", "multi-span": "list"}


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


def intents(folder: Path, names: Collection[str]) -> dict[str, list[Row]]:
    """Questions to a bank with one of some intents; test rows come from the original test set."""
    of_file = {
        name: [
            {"text": row["text"].strip(), "intent": row["category"].replace("_", " ")}
            for row in read(folder / f"{name}.jsonl")
            if row["category"] in names
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


def analysis(folder: Path) -> dict[str, list[Row]]:
    """Questions about annual reports, and what it takes to answer them; no report stands in two splits."""
    of_split: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for name in ("dev", "test_gold"):
        for row in read(folder / f"{name}.jsonl"):
            split = "test" if name == "test_gold" else _split_of(str(row["doc"]))
            if row["answer_type"] in NEEDS and len(row["question"].split()) <= MOST_WORDS:
                of_split[split].append({"text": row["question"].strip(), "needs": NEEDS[row["answer_type"]]})
    seen = {row["text"] for row in of_split["train"]}
    return {
        "train": balanced(of_split["train"], "needs", 70),
        "validation": balanced((row for row in of_split["validation"] if row["text"] not in seen), "needs", 16),
        "test": balanced((row for row in of_split["test"] if row["text"] not in seen), "needs", 50),
    }


def _split_of(document: str) -> str:
    return "validation" if int(hashlib.sha256(document.encode()).hexdigest(), 16) % 5 == 0 else "train"


def main() -> None:
    """Write data/TASK/SPLIT.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--banking77", type=Path, required=True, metavar="FOLDER", help="train.jsonl and test.jsonl")
    parser.add_argument("--tatqa", type=Path, required=True, metavar="FOLDER", help="dev.jsonl and test_gold.jsonl")
    given = parser.parse_args()
    made = {
        "cards": intents(given.banking77, CARDS),
        "transfers": intents(given.banking77, TRANSFERS),
        "analysis": analysis(given.tatqa),
    }
    for task, of_split in made.items():
        for split, rows in of_split.items():
            path = Path(__file__).parent / "data" / task / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            path.write_text(lines, encoding="utf-8", newline="\n")
            print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main()
