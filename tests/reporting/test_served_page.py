"""The page of a served run in a real browser: it asks, compares, takes feedback, by keyboard and on a phone."""

import re
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import axe_playwright_python
import httpx
import pytest
from playwright.sync_api import expect

from tests.serving.conftest import finished, run_fields, serving

__all__ = ["finished", "run_fields"]
KEY = "client-key"
PATIENCE = 60_000  # milliseconds
DONE = re.compile("[^…]")  # an answer that has come


@pytest.fixture(scope="module")
def url(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    run = shutil.copytree(finished, tmp_path_factory.mktemp("paged") / "run")
    with serving(Path(run), "--api-key", KEY, "--learning", "observe", "--keep-text") as address:
        yield address


@pytest.fixture
def window(browser: Any, url: str) -> Generator[Any]:
    """The page, opened with the key; a fault on its console, or a request to elsewhere, fails the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Security Policy" in message.text else None)
    page.on("request", lambda request: None if request.url.startswith(url) else faults.append(request.url))
    page.goto(url)
    page.get_by_label("Key of this server").fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="run").wait_for()
    yield page
    page.close()
    assert faults == []


def ask(window: Any, prompt: str) -> None:
    window.get_by_role("textbox", name="Prompt").fill(prompt)
    window.keyboard.press("Control+Enter")
    expect(window.locator("#answers .text")).to_have_text([DONE] * 3, timeout=PATIENCE)
    expect(window.get_by_role("button", name="Ask")).to_be_enabled(timeout=PATIENCE)


def test_the_files_are_open_and_strict_and_what_they_show_asks_for_the_key(url: str) -> None:
    for path in ("/", "/served.js", "/served.css"):
        found = httpx.get(url + path)
        assert found.status_code == 200 and "default-src 'none'" in found.headers["content-security-policy"]
    assert httpx.get(f"{url}/overview").status_code == 401
    overview = httpx.get(f"{url}/overview", headers={"Authorization": f"Bearer {KEY}"}).json()
    assert [task["task"] for task in overview["tasks"]] == ["colours", "copy"] and overview["shared"] == "shared"
    assert all(task["base"] is not None and task["metric"] for task in overview["tasks"])


def test_without_the_key_the_page_asks_for_it_and_shows_nothing(browser: Any, url: str) -> None:
    page = browser.new_page()
    page.goto(url)
    page.get_by_label("Key of this server").wait_for(timeout=PATIENCE)
    assert page.locator("#tasks tbody tr").count() == 0 and page.locator("h1").inner_text() == "multitune serve"
    page.close()


def test_a_prompt_is_routed_and_three_answers_stand_side_by_side(window: Any, url: str) -> None:
    ask(window, "say w1 w7")
    assert window.locator("#answers h3").all_inner_texts() == ["routed", "shared", "base"]
    assert window.locator("#decision").inner_text().startswith("To ")
    shown = window.locator("#probabilities tbody th").all_inner_texts()
    asked = {"model": "auto", "messages": [{"role": "user", "content": "say w1 w7"}], "max_tokens": 64}
    found = httpx.post(f"{url}/v1/chat/completions", json=asked, headers={"Authorization": f"Bearer {KEY}"}).json()
    assert sorted(shown) == ["colours", "copy"]
    assert window.locator("#answers .text").first.text_content() == found["choices"][0]["message"]["content"]


def test_feedback_is_given_by_keyboard_and_once(window: Any) -> None:
    ask(window, "copy w5 w9")
    right = window.get_by_role("button", name="Right adapter")
    right.focus()
    window.keyboard.press("Enter")
    thanks = window.locator("#thanks")
    expect(thanks).to_have_text("kept, thank you", timeout=PATIENCE)
    window.get_by_label("It belongs to").select_option("base")
    window.get_by_role("button", name="Say so").click()
    expect(thanks).to_contain_text("has feedback already", timeout=PATIENCE)
    expect(window.locator("#learning")).to_contain_text("1 rows of feedback", timeout=PATIENCE)
    assert window.locator("#routes tbody tr").count() >= 1


def test_hostile_text_stays_text(window: Any) -> None:
    window.on("dialog", lambda dialog: pytest.fail("a script of a prompt ran"))
    ask(window, "<img src=x onerror=alert(1)> copy w1")
    assert window.locator("img").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_whatever_the_width(window: Any, width: int) -> None:
    window.set_viewport_size({"width": width, "height": 800})
    ask(window, "copy w5 " + "w" * 300)
    assert window.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_on_the_served_page(browser: Any, window: Any, scheme: str) -> None:
    window.emulate_media(color_scheme=scheme)
    ask(window, "say w1")
    # The policy of the page lets no script of others in, hence not by a tag.
    source = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
    window.evaluate(source)
    found = window.evaluate("axe.run().then((one) => one.violations)")
    serious = [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
