"""quality.answer_shown: the answer stands in the prompt far more often than chance would put it there."""

from collections.abc import Iterator

import numpy as np

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.rows import shortened
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt, Finding, Measure
from multitune.core.seeds import generator
from multitune.core.text import text_key

NAME = "quality.answer_shown"
KINDS = ("classify", "number", "generate")  # the spans of a tag task always stand in its text
ROWS = 100_000  # that are looked at
SHUFFLES = 20  # of the answers over the prompts
LEAST_ROWS = 20
SHOWN = 5
ALMOST_ALL = 0.9  # of the prompts: words that people use for a label anyway seldom stand in so many


def shows(prompt: str, answer: str) -> bool:
    """Whether an answer stands in a prompt as words of its own; both as `text_key` makes them."""
    start = prompt.find(answer)
    while start >= 0:
        end = start + len(answer)
        if not (prompt[start - 1 : start].isalnum() or prompt[end : end + 1].isalnum()):
            return True
        start = prompt.find(answer, start + 1)
    return False


def _find(audited: Audited) -> Iterator[Found]:
    for one in audited.sets:
        if one.kind in KINDS:
            yield from _finding(audited, one)
        audited.advance(sum(one.sizes().values()))


def _finding(audited: Audited, one: AuditSet) -> Iterator[Found]:
    places, prompts, answers = _rows(one, audited.seed)
    of, least = len(places), audited.thresholds["excess"]
    if of < LEAST_ROWS:
        return
    found = np.fromiter(map(shows, prompts, answers), bool, of)
    random = generator(audited.seed, NAME, one.name)
    chance = [_share(prompts, [answers[at] for at in random.permutation(of).tolist()]) for _ in range(SHUFFLES)]
    excess = float(found.mean() - np.mean(chance))
    yield Measure(check=NAME, set=one.name, name="prompts that show their answer, above chance", value=excess)
    if excess < least or found.mean() <= max(chance):
        return
    yield Finding(
        check=NAME,
        severity="low" if one.kind != "classify" else "high" if found.mean() > ALMOST_ALL else "medium",
        sets=(one.name,),
        message=f"the answer stands in {found.sum()} of {of} prompts; with answers shuffled over the prompts, in "
        f"{np.mean(chance):.1%}",
        remedy="Take the answer's column out of the prompt template. Where the task is to copy, or labels are words "
        "that people use in such texts, accept this.",
        rows=int(found.sum()),
        of=of,
        value=excess,
        threshold=least,
        examples=_examples(one, [places[at] for at in np.flatnonzero(found)[:SHOWN].tolist()]),
    )


def _share(prompts: list[str], answers: list[str]) -> float:
    return sum(map(shows, prompts, answers)) / len(prompts)


def _rows(one: AuditSet, seed: int) -> tuple[list[tuple[Split, int]], list[str], list[str]]:
    """Places, shown texts and answers of all rows, or of some where there are too many."""
    is_number = one.kind == "number"
    total = sum(one.sizes().values())
    chosen = np.zeros(total, dtype=bool)
    chosen[generator(seed, NAME, one.name, "rows").permutation(total)[:ROWS]] = True
    places: list[tuple[Split, int]] = []
    prompts: list[str] = []
    answers: list[str] = []
    flags = iter(chosen.tolist())
    for split in SPLITS:
        for at, (shown, answer) in enumerate(zip(one.shown(split), one.texts(split, "answer"), strict=True)):
            if next(flags):
                places.append((split, at))
                prompts.append(text_key(shown))
                answers.append(_plain(one, answer) if is_number else text_key(answer))
    return places, prompts, answers


def _plain(one: AuditSet, answer: str) -> str:
    """The number that an answer gives, which may stand behind a calculation."""
    value = one.task.gold(answer)
    return text_key(answer) if value is None else f"{value:.12g}"


def _examples(one: AuditSet, places: list[tuple[Split, int]]) -> tuple[Excerpt, ...]:
    return tuple(
        Excerpt(set=one.name, split=split, row=row.id, text=shortened(f"{row.answer}: {one.frame.inside(row.prompt)}"))
        for split, at in places
        for row in [one.rows(split)[at]]
    )


CHECKS = (
    Check(
        name=NAME,
        title="prompts that show their answer",
        find=_find,
        thresholds={
            "excess": Threshold(0.25, "a quarter of the rows can then be answered by copying, without understanding")
        },
    ),
)
