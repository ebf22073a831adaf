"""The tables: what stands in them, how wide they are, and what colour a verdict has."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from multitune.cli.show import show_check, show_scores
from multitune.core.results.run import CheckReport
from multitune.core.results.scores import (
    GeneralLoss,
    RetentionScores,
    Scores,
    TransferRow,
    TransferSummary,
    TransferTable,
)
from multitune.reporting.sentences import summary_line

VERDICTS = {"helped": ("reports",), "hurt": (), "cannot tell": ("tweets",)}
SUMMARY = TransferSummary(delta_m=0.041, median_change=0.03, mean_points=1.94, left_out=(), verdicts=VERDICTS)


def row(task: str, **fields: Any) -> TransferRow:
    numbers = {"base": 0.312, "alone": 0.701, "together": 0.742, "difference": 0.041, "low": -0.01, "high": 0.092}
    texts = {"task": task, "metric": "numeric_match", "verdict": "cannot tell", "against": "alone"}
    return TransferRow(**{**numbers, **texts, "examples": 1234, "p": 0.04, "p_holm": 0.12, **fields})


def scores(*rows: TransferRow, **fields: Any) -> Scores:
    table = TransferTable(tasks=rows, summary=SUMMARY)
    general = {"dolly": GeneralLoss(examples=40, loss={"base": 2.31, "shared": 2.284})}
    parts = {"transfer": {"shared": table}, "general": general, **fields}
    return Scores(split="test", confidence=0.95, resamples=1000, tasks={}, **parts)


def shown(scores: Scores, colour: bool = False) -> str:
    file = io.StringIO()
    system = "standard" if colour else None
    console = Console(file=file, width=100, force_terminal=colour, color_system=system)
    show_scores(scores, Path("runs/demo"), console)
    return file.getvalue()


def test_a_row_of_the_table_holds_its_facts_in_100_columns() -> None:
    output = shown(scores(row("reports", verdict="helped", p_holm=0.0004), row("tweets")))
    line = next(line for line in output.splitlines() if line.startswith("reports"))
    assert line.split() == [
        *("reports", "numeric_match", "1,234", "0.312", "0.701", "0.742"),
        *("+0.041", "[-0.010,", "+0.092]", "<0.001", "helped"),
    ]
    assert len(line) <= 100


def test_a_task_that_none_learned_alone_has_a_dash() -> None:
    assert "–" in shown(scores(row("reports", alone=None))).splitlines()[2].split()


@pytest.mark.parametrize(
    ("verdict", "code"), [("helped", "\x1b[1;32m"), ("hurt", "\x1b[1;31m"), ("cannot tell", "\x1b[2m")]
)
def test_a_verdict_has_its_colour(verdict: str, code: str) -> None:
    assert f"{code}{verdict}" in shown(scores(row("tweets", verdict=verdict)), colour=True)


def test_several_adapters_are_told_apart() -> None:
    one = scores(row("tweets")).transfer["shared"]
    both = scores(row("tweets"), transfer={"shared": one, "wide": one})
    assert [line.split()[0] for line in shown(both).splitlines()[1:4]] == ["adapter", "shared", "wide"]


def test_what_became_of_general_data_is_told() -> None:
    assert "loss on dolly before → after: base 2.310 → shared 2.284" in shown(scores(row("tweets")))


def test_what_was_kept_is_a_row_for_each_set_and_a_second_one_for_the_loss_of_free_text() -> None:
    before, after = ({"score": s, "loss": n, "examples": 1200} for s, n in ((0.5, 2.0), (0.475, 2.125)))
    kept = {"metric": "rouge_l", "examples": 1200, "scores": {"base": before, "shared": after}}
    change = {"shared": {"difference": -0.025, "low": -0.05, "high": 0.01, "p": 0.2}}
    sets = {
        name: RetentionScores(**{**kept, "kind": kind, "change": change})
        for name, kind in (("sums", "number"), ("talk", "generate"))
    }
    lines = [line.split() for line in shown(scores(row("tweets"), retention=sets)).splitlines()]
    numbers = ["1,200", "0.500", "shared", "0.475", "-0.025", "[-0.050,", "+0.010]"]
    start = lines.index(["kept", "metric", "n", "base", "adapter", "after", "difference", "p"])
    assert lines[start + 1 : start + 4] == [
        ["sums", "rouge_l", *numbers, "0.200"],
        ["talk", "rouge_l", *numbers, "0.200"],
        ["talk", "loss", "1,200", "2.000", "shared", "2.125", "+0.125", "–"],
    ]


def test_the_run_folder_is_named_last() -> None:
    assert shown(scores(row("tweets"))).splitlines()[-1] == "run folder: runs/demo"


def test_a_summary_counts_verdicts_and_averages_changes() -> None:
    line = summary_line(SUMMARY)
    assert line == "helped 1, hurt 0, cannot tell 1; mean +1.9 points, Δm +4.1% (median +3.0%)"


def test_a_summary_names_the_tasks_that_it_leaves_out() -> None:
    left = SUMMARY.model_copy(update={"delta_m": None, "median_change": None, "left_out": ("reports",)})
    assert summary_line(left).endswith("mean +1.9 points; Δm without reports, near zero alone")


def test_a_check_fits_100_columns() -> None:
    splits = {"train": 120_000, "validation": 12_000, "test": 12_000}
    one = {"name": "headlines", "general": False, "kind": "classify", "metric": "numeric_match", "rows": splits}
    one |= {"too_long": dict.fromkeys(splits, 10), "tokens": 120_000_000, "loss_tokens": 1_200_000, "longest": 2048}
    drawn = {"name": "headlines", "shares": (1.0, 0.5, 0.25), "draws": 360_000.4, "passes": 3.0}
    size = {"parameters": 134_515_008, "trainable_parameters": 24_422_400, "executed_tokens": 144_688}
    report: dict[str, Any] = {
        **dict.fromkeys(("name", "base", "method", "device", "dtype", "schedule"), "as given"),
        "learning_rate": 2e-4,
        "batch_size": 16,
        "warnings": [],
        "notes": [],
        "sets": [one],
        "adapters": [{"name": "shared", "steps": 12_345, "sets": [drawn]}],
        "estimate": {**size, "memory_bytes": 4_000_000_000, "seconds": 1080.0},
    }
    file = io.StringIO()
    show_check(CheckReport(**report), Console(file=file, width=100))
    tables = [line for line in file.getvalue().splitlines() if "headlines" in line]
    assert all("…" not in line and len(line) <= 100 for line in tables) and len(tables) == 2
    assert "3.73 GiB" in file.getvalue() and "18 min" in file.getvalue()
