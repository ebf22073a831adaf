"""Writes the questions that `use: arithmetic` asks: python -m scripts.arithmetic."""

import json
import operator
import random
from pathlib import Path

FILE = Path(__file__).parent.parent / "src" / "multitune" / "tasks" / "library" / "arithmetic.jsonl"
OPERATIONS = {"plus": operator.add, "minus": operator.sub, "times": operator.mul}
PER_OPERATION = 100


def written() -> str:
    """The file as it should be: one question and its answer per line, no question twice."""
    rng = random.Random(17)
    answers: dict[str, int] = {}
    for place, (word, operation) in enumerate(OPERATIONS.items(), start=1):
        while len(answers) < place * PER_OPERATION:
            # Longer products are beyond small bases, and what nobody can do shows no loss.
            first, second = _number(rng, 3), _number(rng, 1 if word == "times" else 3)
            if word == "minus":
                first, second = max(first, second), min(first, second)
            answers[f"What is {first} {word} {second}?"] = operation(first, second)
    return "".join(json.dumps({"question": asked, "answer": answer}) + "\n" for asked, answer in answers.items())


def _number(rng: random.Random, most_digits: int) -> int:
    """As many numbers of one digit as of three; only `random()` is the same in every version of Python."""
    least = 10 ** int(rng.random() * most_digits)
    return least + int(rng.random() * 9 * least)


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
