"""How much of each set there is: shares held out, rows to use, the longest row in tokens, and which sets are alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice

import numpy as np

from multitune.config.source import LimitConfig, SplitConfig
from multitune.core.records import FEW_ROWS, SPLITS, Example, Split
from multitune.data.row_tokens import row_tokens
from multitune.data.taskdata import TaskData
from multitune.data.tokenizer import ChatFormat
from multitune.data.vocabulary import shared_mass
from multitune.tasks.words import words

WANTED_TEST, WANTED_VALIDATION = 200, 100  # rows
MOST_HELD_OUT, LEAST_HELD_OUT = 0.25, 0.1
CPU_ROWS: Mapping[Split, int] = {"train": 2000, "validation": 300, "test": 500}  # of one task
SHORTEST, LONGEST = 512, 4096  # proposed for train.max_length
LOOKED_AT = 200  # the longest rows of a split by characters: among them is the longest by tokens
COMPARED_ROWS = 1000  # of each set, whose words are compared
ALIKE = 0.25  # of what two halves of one set share: below, two sets are said to have little in common


def held_out(rows: int) -> SplitConfig:
    """Shares that bring about 200 rows for the report and 100 to choose by, within bounds."""
    shares = (min(MOST_HELD_OUT, max(LEAST_HELD_OUT, wanted / rows)) for wanted in (WANTED_VALIDATION, WANTED_TEST))
    validation, test = (round(share, 2) for share in shares)
    return SplitConfig(validation=min(validation, 0.2), test=test)


def limits(data: TaskData, accelerator: bool) -> LimitConfig:
    """The most rows of each split: all on an accelerator, on a CPU as many as it trains on in hours."""
    if accelerator:
        return LimitConfig()
    return LimitConfig.model_validate({s: CPU_ROWS[s] for s in SPLITS if len(data.examples[s]) > CPU_ROWS[s]})


def longest_row(sets: Sequence[TaskData], chat: ChatFormat) -> int:
    """Tokens of the longest row of all sets.

    Raises:
        TaskError: a row turns into no tokens, or the base's chat template takes no such conversation.
    """
    longest = 0
    for data in sets:
        for rows in data.examples.values():
            by_length = sorted(range(len(rows)), key=lambda at, rows=rows: -_characters(rows[at]))
            tokens = row_tokens([rows[at] for at in by_length[:LOOKED_AT]], chat)
            longest = max([longest, *(len(one.tokens) for one in tokens)])
    return longest


def max_length(longest: int) -> int:
    """The next power of two, within bounds."""
    return min(LONGEST, max(SHORTEST, 1 << (longest - 1).bit_length()))


def small_sets(sets: Sequence[TaskData]) -> list[str]:
    """A warning for each set with few rows."""
    found: list[str] = []
    for data in sets:
        name, train, test = data.task.name, len(data.examples["train"]), len(data.examples["test"])
        if train < (few := FEW_ROWS["train"]):
            found.append(f"{name}: {train} training rows are few. Most tasks begin at {few} to {4 * few}")
        if test < FEW_ROWS["test"]:
            found.append(f"{name}: {test} test rows are too few to ship on: they show large differences alone")
    return found


def unlike_sets(sets: Sequence[TaskData]) -> list[str]:
    """A warning for each set that shares few words with every other one, measured against its own halves."""
    if len(sets) < 2:
        return []
    bags = {data.task.name: _halves(data) for data in sets}
    vocabulary = {
        word: at for at, word in enumerate(sorted(set(chain.from_iterable(chain(*both) for both in bags.values()))))
    }
    if not vocabulary:
        return []
    counts = {name: [_vector(half, vocabulary) for half in both] for name, both in bags.items()}
    found: list[str] = []
    for name, (first, second) in counts.items():
        own = shared_mass([first, second])[0, 1]
        other = {
            task: float(shared_mass([first + second, both[0] + both[1]])[0, 1])
            for task, both in counts.items()
            if task != name
        }
        nearest = max(other, key=lambda task: other[task])
        if other[nearest] < ALIKE * own:
            found.append(
                f"{name}: its texts share few words with any other set (nearest: {nearest}, {other[nearest]:.2f}; two "
                f"halves of itself: {own:.2f}). Unrelated tasks may gain nothing from each other: look at the "
                "differences against `alone` after training"
            )
    return found


def _halves(data: TaskData) -> tuple[Counter[str], Counter[str]]:
    """Words of every other row, and of the rest, without those that the template puts into most rows."""
    rows = list(islice(data.examples["train"], COMPARED_ROWS))
    texts = [set(words(f"{row.prompt} {row.answer}")) for row in rows]
    common = Counter(chain.from_iterable(texts))
    usual = {word for word, count in common.items() if count > 0.9 * len(rows)}
    halves = Counter[str](), Counter[str]()
    for at, row in enumerate(rows):
        halves[at % 2].update(word for word in words(f"{row.prompt} {row.answer}") if word not in usual)
    return halves


def _vector(bag: Mapping[str, int], vocabulary: Mapping[str, int]) -> np.ndarray:
    counts = np.zeros(len(vocabulary))
    for word, count in bag.items():
        counts[vocabulary[word]] = count
    return counts + 1e-9  # a set without words of its own


def _characters(row: Example) -> int:
    return len(row.prompt) + len(row.answer) + len(row.chat)
