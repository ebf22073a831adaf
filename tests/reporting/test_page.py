"""The page says what the run folder says, needs nothing from elsewhere, and lets no text out of its place."""

import base64
import csv
import hashlib
import io
import json
import re
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from benchmarks.made_runs import made_comparison, made_run
from multitune.core.errors import RunFolderError
from multitune.core.files import read_json, write_json
from multitune.core.run_folder import RunFolder
from multitune.reporting.formatting import interval, minus, percent, score, signed
from multitune.reporting.page import write_report
from tests.reporting.conftest import Page

NAME = "<img src=x onerror=alert(1)>\"'<b>"  # of a task: a slash in one is refused
HOSTILE = f"</script>{NAME}"


def page_of(*folders: Path) -> Page:
    return Page(write_report(folders))


def sheet(page: Page, name: str) -> list[dict[str, str]]:
    """The data behind a table or a chart, as a reader saves them."""
    (link,) = [a for a in page.all("a") if a.get("download") == f"{name}.csv"]
    text = unquote(link["href"].removeprefix("data:text/csv;charset=utf-8,"))
    return list(csv.DictReader(io.StringIO(text)))


def test_every_score_on_the_page_is_the_run_folders(page: Page, run: RunFolder) -> None:
    table = page.table("Every task's score")
    rows = read_json(run.scores)["transfer"]["shared"]["tasks"]
    routed = read_json(run.routing_versions[-1] / "report.json")["tasks"]
    assert [
        [row[key] for key in ("task", "base", "alone", "together", "routed", "difference", "verdict")] for row in table
    ] == [
        [
            row["task"],
            *(score(row[key]) for key in ("base", "alone", "together")),
            score(routed[row["task"]]["scores"]["routed"]),
            minus(f"{signed(row['difference'])} {interval(row['low'], row['high'])}"),
            row["verdict"],
        ]
        for row in rows
    ]


def test_means_over_trainings_stand_beside_nothing_of_one_training(run: RunFolder) -> None:
    scores = read_json(run.scores)
    for row in scores["transfer"]["shared"]["tasks"]:
        row["seeds"] = 3
    write_json(run.scores, scores)
    page = page_of(run.path)
    assert "routed" not in page.table("Every task's score on test rows")[0]
    assert "Scores per label in the first training" in page.text


def test_how_to_read_the_table_is_a_list_below_it(page: Page) -> None:
    _, title, below = page.text.partition("How to read the table")
    assert title and "p adjusted by Holm" in below


def test_the_data_behind_a_table_and_a_chart_are_exact(page: Page, run: RunFolder) -> None:
    rows = read_json(run.scores)["transfer"]["shared"]["tasks"]
    saved = sheet(page, "p1-scores")
    assert [float(row["difference"]) for row in saved] == [row["difference"] for row in rows]
    drawn = sheet(page, "differences-shared")
    bounds = [(float(row["low"]), float(row["high"])) for row in drawn]
    assert bounds == [(row["low"], row["high"]) for row in rows]


def test_the_verdict_counts_and_names_what_the_scores_say(page: Page) -> None:
    sentence = "In this run one model is not enough: behind on entities, ahead on tweets, undecided on reports."
    assert sentence in page.text
    assert "Chosen so far: shared for tweets and reports; its own adapter for entities." in page.text


def test_a_model_behind_an_api_stands_beside_the_others_and_in_a_table_of_its_own(run: RunFolder) -> None:
    theirs = read_json(made_comparison(run, "big"))["readings"]["strict"]["tasks"]
    page = page_of(run.path)
    assert [row["big"] for row in page.table("Every task's score")] == [score(row["theirs"]) for row in theirs]
    strict = page.table("Ours against openai:big, outputs parsed as the task does")
    assert [row["ours is"] for row in strict] == ["worse", "better", "cannot tell"]
    assert [row["unparsed"] for row in strict] == ["0/2", "0/2", "0/2"]
    assert "12,000 in prompts, 340 in answers" in page.text and "0.0123 at the prices given" in page.text


def test_another_models_score_on_other_rows_is_not_put_beside_ours(run: RunFolder) -> None:
    path = made_comparison(run, "big")
    write_json(path, {**read_json(path), "split": "validation"})
    assert all("big" not in row for row in page_of(run.path).table("Every task's score"))


def test_a_comparison_of_another_form_is_noted(run: RunFolder) -> None:
    write_json(made_comparison(run, "big"), {"subject": "big"})
    text = page_of(run.path).text
    assert "a comparison with another model cannot be shown" in text and "How it learned" in text


def test_what_was_kept_is_shown_before_and_after(page: Page) -> None:
    (kept,), (general,) = page.table("Sets that nothing was trained on"), page.table("Loss on general data")
    assert (kept["base"], kept["after"], kept["difference"]) == ("0.410", "0.370", "−0.040 [−0.070, −0.010]")
    assert (general["base"], general["after"], general["change"]) == ("3.200", "2.700", "−0.500")


def test_the_routers_confusions_and_calibration_are_the_reports(page: Page, run: RunFolder) -> None:
    report = read_json(run.routing_versions[-1] / "report.json")
    for view, words in (("prompt", "the whole prompt"), ("body", "its body alone")):
        table = page.table(f"True task (row), likeliest task (column), by {words}")
        tasks = [row["task"] for row in table]
        counts = [[int(row[task]) for task in tasks] for row in table]
        assert counts == report["views"][view]["confusion"]
    assert "expected calibration error 0.031" in page.text


def test_the_router_is_shown_task_by_task_with_its_rows(page: Page, run: RunFolder) -> None:
    report = read_json(run.routing_versions[-1] / "report.json")
    for place, row in enumerate(page.table("Rows of each task that the router finds")):
        counts = report["views"]["prompt"]["confusion"][place]
        assert (row["n"], row["by whole prompt"]) == (str(sum(counts)), percent(counts[place] / sum(counts), 1))


def test_rejections_are_shown_with_the_score_that_they_cost(page: Page, run: RunFolder) -> None:
    path = run.routing_versions[-1] / "report.json"
    report = read_json(path)
    for row in page.table("Of test rows, those that the base (out-of-distribution) or the shared adapter"):
        found = report["tasks"][row["task"]]["rejections"]["body"]
        assert row["by body: out-of-distribution"] == percent(found["rejected"], 1)
        assert row["by body: unsure"] == percent(found["unsure"], 1)
        assert row["by body: costs"] == score(found["rejected_cost"])
    for task in report["tasks"].values():
        del task["rejections"]  # as older versions wrote it
    write_json(path, report)
    assert "or the shared adapter (unsure) answered" not in page_of(run.path).text


def test_where_one_adapter_ships_it_is_not_called_found(run: RunFolder) -> None:
    path = run.routing_versions[-1] / "table.json"
    table = read_json(path)
    for choice in table["tasks"].values():
        choice["adapter"] = "shared"
    assert ", right adapter 97%, abstained" in page_of(run.path).text
    write_json(path, table)
    assert ", right adapter" not in page_of(run.path).text


def test_many_pictures_of_the_mixture_are_folded(page: Page) -> None:
    folded = page.source.partition("shares along the run</summary>")[2].partition("</details>")[0]
    assert folded.count("<figure>") == 4 and "Share of chat in shared" in folded


def test_of_several_trainings_the_mixture_of_the_first_is_open(run: RunFolder) -> None:
    events = [json.loads(line) for line in run.events.read_text("utf-8").splitlines()]
    for event in events:
        if event["kind"] == "step" and "shared" in event["adapters"]:
            event["adapters"]["shared.seed-2"] = event["adapters"]["shared"]
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
    page = page_of(run.path)
    assert page.table("shared over the whole run") == page.table("shared.seed-2 over the whole run")
    assert "shared: shares along the run" in page.text
    assert "shared.seed-2: over the whole run, and along it" in page.text


def test_adapters_of_several_tasks_are_compared_on_each(run: RunFolder) -> None:
    scores = read_json(run.scores)
    scores["tasks"]["tweets"]["scores"]["wide"] = {"score": 0.25, "examples": 40, "loss": 1.0}
    scores["tasks"]["entities"]["scores"]["wide"] = {"score": 0.75, "examples": 40, "loss": 1.0}
    write_json(run.scores, scores)
    (wide,) = [row for row in page_of(run.path).table("Scores of adapters") if row["adapter"] == "wide"]
    assert wide == {"adapter": "wide", "tweets": "0.250", "entities": "0.750", "reports": "–"}


def hostile(run: RunFolder) -> None:
    """Put markup wherever a run holds free text."""
    for path in [*run.path.glob("predictions/*/*.jsonl"), *run.path.glob("prompts/*.jsonl")]:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for row in rows:
            row |= {key: HOSTILE for key in ("output", "gold", "prompt") if key in row}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for path in (run.scores, run.data, run.events, run.selection, *run.routing_versions[-1].glob("*.json")):
        path.write_text(path.read_text("utf-8").replace('"reports"', json.dumps(NAME)), "utf-8")
    run.config.write_text(run.config.read_text("utf-8").replace("name: demo", f"name: {json.dumps(HOSTILE)}"), "utf-8")


def test_no_text_of_a_run_becomes_markup(page: Page, run: RunFolder) -> None:
    hostile(run)
    hit = page_of(run.path)
    assert "img" not in {tag for tag, _ in hit.elements} and len(hit.all("script")) == len(page.all("script"))
    assert hit.text.count(NAME) > 20 and HOSTILE in hit.text
    assert not any(name.startswith("on") for _, attributes in hit.elements for name in attributes)


def test_no_control_character_of_a_run_reaches_the_page(run: RunFolder) -> None:
    for path in run.path.glob("predictions/*/*.jsonl"):
        rows = [
            json.loads(line) | {"output": "a\x1b[2Jb\x9bc\u202ed"} for line in path.read_text("utf-8").splitlines()
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    page = page_of(run.path)
    assert "a\ufffd[2Jb\ufffdc\ufffdd" in page.source
    assert not [char for char in page.source if unicodedata.category(char) == "Cc" and char not in "\n\t"]


def test_only_our_own_script_may_run(page: Page) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}';" in policy


@pytest.mark.parametrize("kind", ["run", "study"])
def test_the_page_asks_for_nothing_from_elsewhere(kind: str, request: pytest.FixtureRequest) -> None:
    made: Any = request.getfixturevalue(kind)
    page = page_of(getattr(made, "path", made))
    addresses = [a[name] for _, a in page.elements for name in ("src", "href", "xlink:href") if name in a]
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.findall(r"url\((?!#)|@import", page.source)


@pytest.mark.parametrize("folders", [("run",), ("study",), ("run", "study", "run")])
def test_ids_are_unique_and_every_reference_has_its_target(
    folders: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    made: list[Any] = [request.getfixturevalue(name) for name in folders]
    page = page_of(*(getattr(one, "path", one) for one in made))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    pointed = {a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")}
    pointed |= {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert len(ids) == len(set(ids)) and pointed <= set(ids)


@pytest.mark.parametrize("folders", [("run",), ("study",), ("run", "study", "run")])
def test_headings_leave_out_no_level(folders: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    made: list[Any] = [request.getfixturevalue(name) for name in folders]
    page = page_of(*(getattr(one, "path", one) for one in made))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_runs_side_by_side_show_each_and_say_that_the_rows_are_the_same(run: RunFolder, tmp_path: Path) -> None:
    other = made_run(tmp_path / "other", seed=2)
    page = page_of(run.path, other.path)
    table = page.table("Every task in each run")
    for name, folder in (("demo", run), ("other", other)):
        rows = read_json(folder.scores)["transfer"]["shared"]["tasks"]
        assert [row[f"{name}, together"] for row in table] == [score(row["together"]) for row in rows]
    assert "All tasks were measured on the same rows" in page.text


def test_runs_side_by_side_show_a_dash_for_settings_that_cannot_be_read(run: RunFolder, tmp_path: Path) -> None:
    other = made_run(tmp_path / "other", seed=2)
    other.config.write_text("{")
    epochs = {row["run"]: row["epochs"] for row in page_of(run.path, other.path).table("Settings and size")}
    assert epochs == {"demo": "2", "other": "–"}


def test_runs_on_different_rows_are_not_to_be_compared(run: RunFolder, tmp_path: Path) -> None:
    other = made_run(tmp_path / "other", seed=2)
    data = read_json(other.data)
    data["entities"]["digests"]["test"] = "0" * 64
    write_json(other.data, data)
    assert "Not the same rows: entities" in page_of(run.path, other.path).text


def test_a_report_of_a_hundred_thousand_predictions_stays_small(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "large", tasks=8, rows=4200)
    page = page_of(folder.path)
    counted = sum(int(row["rows"].replace(",", "")) for row in page.table("Rows won and lost"))
    shown = [item for item in page.all("li") if "data-outcome" in item]
    assert counted == 8 * 4200 and len(shown) == 8 * (8 + 8 + 2 + 4)
    assert len(page.source.encode()) < 2_000_000


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        write_report([tmp_path])
    assert list(tmp_path.iterdir()) == []
