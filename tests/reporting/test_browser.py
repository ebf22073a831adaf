"""In a real browser: no fault on the console, filters and sorting that work by keyboard, no overflow, accessible."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from multitune.core.files import read_json, write_json
from multitune.core.run_folder import RunFolder
from multitune.reporting.page import write_report


@pytest.fixture(params=["run", "study", "both"])
def written(request: pytest.FixtureRequest, run: RunFolder, study: Path) -> Path:
    """The page of a run, of a study, and of both side by side."""
    return write_report({"run": [run.path], "study": [study], "both": [run.path, study]}[request.param])


@pytest.fixture
def window(browser: Any) -> Generator[Any]:
    """A page of the browser; a fault on its console fails the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file:") else faults.append(request.url))
    yield page
    page.close()
    assert faults == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out_of_the_page(window: Any, written: Path, width: int) -> None:
    window.set_viewport_size({"width": width, "height": 800})
    window.goto(written.as_uri())
    assert window.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_verdict_without_scrolling_sideways(window: Any, run: RunFolder, scheme: str) -> None:
    window.set_viewport_size({"width": 390, "height": 844})
    window.emulate_media(color_scheme=scheme)
    window.goto(write_report([run.path]).as_uri())
    badges = window.locator(".bars .badge")
    assert badges.all_inner_texts() == ["ahead in this run", "behind in this run", "cannot tell"]
    for badge in [*badges.all(), *window.locator(".bars .difference, .bars .score, .figures .value").all()]:
        box = badge.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        assert badge.evaluate("(one) => one.scrollWidth <= one.clientWidth || one.clientWidth === 0")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_first_screen_answers_whether_one_model_is_enough(
    window: Any, run: RunFolder, width: int, height: int
) -> None:
    window.set_viewport_size({"width": width, "height": height})
    window.goto(write_report([run.path]).as_uri())
    answers = window.locator(".verdict, .ships, .figures dd, .bars > li:first-child .head")
    assert answers.count() == 1 + 1 + 2 * 4 + 1
    lowest = max(one.bounding_box()["y"] + one.bounding_box()["height"] for one in answers.all())
    assert lowest <= height


def test_a_bar_is_as_long_as_its_score(window: Any, run: RunFolder) -> None:
    window.goto(write_report([run.path]).as_uri())
    for bar in window.locator(".bars dd").all():
        drawn = bar.locator(".bar").evaluate("(one) => getComputedStyle(one).backgroundSize")
        assert float(drawn.split("%")[0]) == pytest.approx(100 * float(bar.inner_text()), abs=0.06)


def test_of_many_tasks_those_with_a_verdict_are_open_and_the_rest_a_click_away(window: Any, run: RunFolder) -> None:
    scores = read_json(run.scores)
    shared = scores["transfer"]["shared"]
    first = next(row for row in shared["tasks"] if row["verdict"] == "cannot tell")
    more = [{**first, "task": f"task {place}"} for place in range(14)]
    scores["tasks"] |= {row["task"]: scores["tasks"][first["task"]] for row in more}
    shared["tasks"] = [*more, *shared["tasks"]]
    write_json(run.scores, scores)
    window.goto(write_report([run.path]).as_uri())
    names = [text.strip() for text in window.locator(".bars:visible .head strong").all_inner_texts()]
    assert names[:2] == ["tweets", "entities"] and len(names) == 12
    window.get_by_text("5 more tasks").click()
    assert window.locator(".bars:visible .head strong").count() == 17


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(window: Any, written: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    window.emulate_media(color_scheme=scheme)
    window.goto(written.as_uri())
    window.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = Axe().run(window).response["violations"]
    serious = [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def shown(window: Any) -> list[tuple[str, str]]:
    return window.evaluate(
        "[...document.querySelectorAll('.examples > li')].filter((one) => one.checkVisibility())"
        ".map((one) => [one.dataset.task, one.dataset.outcome])"
    )


def test_examples_are_filtered_by_task_outcome_and_text(window: Any, run: RunFolder) -> None:
    window.goto(write_report([run.path]).as_uri())
    assert len(shown(window)) == 12
    window.get_by_label("Task", exact=True).select_option("entities")
    assert {task for task, _ in shown(window)} == {"entities"}
    window.get_by_label("Outcome").select_option("won")
    assert {tuple(one) for one in shown(window)} == {("entities", "won")}
    told = window.locator(".answers output").inner_text()
    assert told.startswith(f"{len(shown(window))} of ")
    window.get_by_label("Text").fill("no such words")
    assert shown(window) == [] and window.locator(".answers output").inner_text().startswith("0 of ")


def test_the_rest_of_the_examples_comes_by_keyboard(window: Any, run: RunFolder) -> None:
    window.goto(write_report([run.path]).as_uri())
    more = window.get_by_role("button", name="more")
    more.focus()
    window.keyboard.press("Enter")
    assert len(shown(window)) == window.locator(".examples > li").count() > 12
    window.keyboard.press("Enter")  # the first of the new ones has the focus, and opens
    assert window.locator(".examples > li").nth(12).locator("pre").first.is_visible()


def test_arms_are_sorted_by_a_columns_title_and_filtered_by_words(window: Any, study: Path) -> None:
    window.goto(write_report([study]).as_uri())
    box = window.locator("#p1-arms .sortable")
    column = box.locator("thead th", has_text="steps")
    place = window.evaluate("(head) => head.cellIndex", column.element_handle())

    def values() -> list[int]:
        cells = box.locator(f"tbody tr:visible > :nth-child({place + 1})").all_inner_texts()
        return [int(text) for text in cells]

    column.locator("button").focus()
    window.keyboard.press("Enter")
    assert values() == sorted(values(), reverse=True) and column.get_attribute("aria-sort") == "descending"
    window.keyboard.press("Enter")
    assert values() == sorted(values()) and column.get_attribute("aria-sort") == "ascending"
    box.get_by_label("Filter rows").fill("equal passes reports")
    rows = box.locator("tbody tr:visible").all_inner_texts()
    assert rows and all("equal passes" in row and "reports" in row for row in rows)


def test_hostile_text_runs_nothing(window: Any, run: RunFolder) -> None:
    from tests.reporting.test_page import hostile

    hostile(run)
    window.on("dialog", lambda dialog: pytest.fail("a script of the data ran"))
    window.goto(write_report([run.path]).as_uri())
    assert window.locator("img").count() == 0


def test_on_paper_every_answer_is_open_and_controls_are_gone(window: Any, run: RunFolder) -> None:
    window.goto(write_report([run.path]).as_uri())
    window.emulate_media(media="print")
    window.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert window.locator(".examples details:not([open])").count() == 0
    assert not window.locator(".controls:visible, .contents:visible, .data:visible").count()
    window.evaluate("dispatchEvent(new Event('afterprint'))")
    assert window.locator("details[open]").count() == 0


def test_without_a_script_everything_is_there(browser: Any, run: RunFolder) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(write_report([run.path]).as_uri())
    items = page.locator(".examples > li")
    assert items.count() == page.locator(".examples > li:visible").count() > 12
    assert page.locator(".controls:visible").count() == 0
    page.close()
