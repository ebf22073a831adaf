"""Parity at start: rows that a run has scored go through the backend, and must come out as they stand in its record.

An upstream writes the chat template itself, so the first words that it answers are compared as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from statistics import fmean

from multitune.core.bases import BASE
from multitune.core.files import json_lines
from multitune.core.predictions import read_predictions
from multitune.core.records import Example, Prediction
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from multitune.data.row_tokens import RowChat, row_tokens
from multitune.data.tokenizer import ChatFormat
from multitune.deployment.verify import EXPLAINED, SINGLE
from multitune.serving.decisions import NAMED, Route
from multitune.serving.responses import ParityRow
from multitune.serving.served_run import ServedRun
from multitune.tasks.output_parsing import label_text
from multitune.tasks.task import CHOSEN

ROWS = 4  # of each adapter and task: those that it answers least like the base
FIRST_TOKENS = 16  # of an answer; further on, two tokens that are about equally likely may part two servers
WITH_TEXT = (
    "classify",
    "choice",
    "generate",
    "labels",
)  # kinds of tasks whose right answer is a text that stands in the record


@dataclass(frozen=True, slots=True)
class _Row:
    example: Example
    loss: float  # in the record
    base_loss: float  # its own where the base has none
    output: str  # in the record


def check_parity(served: ServedRun) -> list[ParityRow]:
    """Compare what is served with the record of the run, adapter by adapter; without a record nothing is compared."""
    found: list[ParityRow] = []
    for home in (served.folder, *(served.folder.added(task) for task in served.folder.joined)):
        if not home.scores.is_file():
            continue
        split = Scores.read(home.scores).split
        for task in served.tasks:
            if served.tasks[task].kind in WITH_TEXT and home.prompts(task, split).is_file():
                found += _check_task(served, home, task, split)
    return found


def _check_task(served: ServedRun, home: RunFolder, task: str, split: str) -> list[ParityRow]:
    prompts = {
        str(row["id"]): Example(task, str(row["id"]), str(row["prompt"]), "", "", chat=str(row.get("chat", "")))
        for row in json_lines(home.prompts(task, split))
        if row
    }
    records = {
        name: {row.id: row for row in read_predictions(home.predictions(name, task, split))}
        for name in home.answered(task, split)
    }
    base = records.get(BASE, {})
    return [
        _check_rows(served, adapter, task, _telling(rows, base, prompts))
        for adapter, rows in records.items()
        if adapter in (BASE, *served.adapters.names) and adapter not in served.backend.faults
    ]


def _telling(rows: dict[str, Prediction], base: dict[str, Prediction], prompts: dict[str, Example]) -> list[_Row]:
    """The rows whose record differs most from the base's."""
    found: list[_Row] = []
    for key, row in rows.items():
        if row.loss is None or key not in prompts:
            continue
        other = base[key].loss if key in base else None
        answer = row.gold if isinstance(row.gold, str) else label_text(row.gold)
        example = replace(prompts[key], answer=answer)
        found.append(_Row(example, row.loss, row.loss if other is None else other, row.output))
    return sorted(found, key=lambda row: -abs(row.loss - row.base_loss))[:ROWS]


def _check_rows(served: ServedRun, adapter: str, task: str, rows: Sequence[_Row]) -> ParityRow:
    route = Route(task=task, adapter=adapter, reason=NAMED)
    chat, longest = served.chat_of(route), served.backend.longest
    tokens = row_tokens([row.example for row in rows], chat)
    short = [len(one.tokens) <= longest for one in tokens]
    rows, tokens = list(compress(rows, short)), list(compress(tokens, short))
    version = served.adapters.version(adapter)
    losses = served.backend.losses(version, tokens)  # None of an upstream that tells none
    pairs = list(zip(losses or [], rows if losses else [], strict=True))
    apart = [abs(loss - row.loss) for loss, row in pairs]
    (tolerance, others), fault = EXPLAINED[served.config.dtype], ""
    if pairs and not (fmean(apart) <= tolerance and max(apart) <= SINGLE * tolerance):  # nan is close to nothing
        fault = "its likelihoods are not those that the run recorded"
        if adapter != BASE and fmean(abs(loss - row.base_loss) for loss, row in pairs) <= tolerance:
            fault = "it is loaded and not applied: it answers as the base does"
    written = _written_alike(served, version, rows, chat) if served.tasks[task].kind not in CHOSEN else None
    if not fault and written and written.count(False) > others * len(written):
        fault = (
            f"it begins {written.count(False)} of {len(written)} answers otherwise than recorded: the upstream may "
            "have another chat template or tokenizer"
        )
    compared = len(pairs) or len(written or [])
    return ParityRow(
        adapter=adapter, version=version, task=task, rows=compared, difference=max(apart, default=0.0), fault=fault
    )


def _written_alike(served: ServedRun, version: str, rows: Sequence[_Row], chat: ChatFormat) -> list[bool] | None:
    """Of each row that a chat can ask, whether its answer begins as recorded; None where that goes without saying."""
    chats = [(RowChat.of(row.example), row.output.strip()) for row in rows if row.example.prompt]
    asked = [
        (chat.with_system(one.messages), output)
        for one, output in chats
        if not one.tools and not any(chat.encoder.holds(str(message["content"])) for message in one.messages)
    ]
    found = served.backend.beginnings(version, [messages for messages, _ in asked], FIRST_TOKENS)
    if found is None:
        return None
    pairs = [(text.strip(), output) for text, (_, output) in zip(found, asked, strict=True)]
    return [bool(text) is bool(output) and text.startswith(output[: len(text)]) for text, output in pairs]
