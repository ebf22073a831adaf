"""The site of the documentation: it builds without a warning, explains the whole package, and needs no internet."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import multitune

ROOT = Path(__file__).parents[2]
NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
ON_GITHUB = re.compile(rf"{NAV['extra']['repository']}/(?:blob|tree)/main/([^#]+)")
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data", "form": "action"}
LOADING = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make site` builds it: a warning of MkDocs, such as of a dead link, is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True)
    assert built.returncode == 0, built.stderr.decode()
    return folder


class Links(HTMLParser):
    """What a page loads by itself, and where it leads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in LOADED:
            self.loads.append(given.get(LOADED[tag], ""))
        if tag == "link" and LOADING & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        if tag == "a":
            self.leads.append(given.get("href", ""))


def pages(site: Path) -> Iterator[Links]:
    return (Links(page) for page in site.rglob("*.html"))


def test_a_link_within_the_site_leads_to_a_file_of_it(site: Path) -> None:
    places = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in site.rglob("index.html")
        for link in Links(page).leads
        if link and not re.match(r"\w+:|/|#", link)
    }
    assert len(places) > 20
    assert [place for place in places if not (place.is_file() or (place / "index.html").is_file())] == []


def test_the_readme_is_the_home_page(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")
    lines = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(lines) > 5 and [line for line in lines if line not in home] == []


@pytest.mark.parametrize("name", multitune.__all__)
def test_a_name_of_the_package_is_explained(site: Path, name: str) -> None:
    found = [page for page in (site / "api").rglob("*.html") if f'id="multitune.{name}"' in page.read_text("utf-8")]
    assert len(found) == 1


def test_an_example_is_code_and_a_field_keeps_its_comment(site: Path) -> None:
    functions, results = ((site / "api" / name / "index.html").read_text("utf-8") for name in ("functions", "results"))
    assert "&gt;&gt;&gt; </span>" in functions and "<blockquote>" not in functions + results
    assert "# adjusted for the number of tasks compared" in results


def test_a_link_to_the_repository_leads_to_a_file_that_exists(site: Path) -> None:
    files = {found[1] for page in pages(site) for link in page.leads if (found := ON_GITHUB.match(link))}
    assert {"CONTRIBUTING.md", "ARCHITECTURE.md", "examples/README.md"} <= files
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_no_page_loads_anything_of_another_host(site: Path) -> None:
    loaded = {target for page in pages(site) for target in page.loads}
    sheets = "".join(sheet.read_text("utf-8") for sheet in site.rglob("*.css"))
    loaded |= set(re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")]+)", sheets))
    assert len(loaded) > 10
    assert [target for target in loaded if re.match(r"(?!data:)\w+:|//", target)] == []


@pytest.fixture
def address(site: Path) -> Generator[str]:
    """The site on a local port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_scripts_of_a_page_ask_no_other_host_and_search_finds(browser: Any, address: str) -> None:
    page, elsewhere = browser.new_page(), []
    page.on("request", lambda request: None if request.url.startswith(address) else elsewhere.append(request.url))
    for place in ("api/results/", "serving/", ""):
        page.goto(address + place, wait_until="networkidle")
    page.get_by_role("textbox", name="Search").press_sequentially("MixtureSampler")
    page.locator(".md-search-result__link[href$='#multitune.MixtureSampler']").first.wait_for(state="attached")
    page.close()
    assert elsewhere == []
