"""One word for one thing: what the glossary names exists in the code, and the words it retires stay out."""

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from multitune.config.faults import section_in
from multitune.config.schema import RunConfig, Section
from multitune.config.study import StudyConfig

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
TERMS, RETIRED = GLOSSARY.read_text("utf-8").split("\n## Retired words\n")
ENTRIES = {
    term + note: text for term, note, text in re.findall(r"^- \*\*(.+?)\*\*( \(.+?\))?:(.*)$", TERMS, re.MULTILINE)
}

# Texts that are ours to word: not data, licences, recorded figures, and the two pages that record history.
FOLDERS = ("src", "docs", "examples", "tests", "benchmarks", "scripts", "studies")
SUFFIXES = {".py", ".md", ".toml", ".yaml", ".j2", ".js", ".css", ".html", ".json"}
HISTORY = {"CHANGELOG.md", "docs/LOG.md", "docs/glossary.md"}
DATA = (
    *("benchmarks/results/", "examples/finance/data/", "src/multitune/audit/holisticbias/"),
    "studies/*/findings.json",
)
# Files that must still know a retired word, and why. An entry that is no longer needed fails as well.
STILL_KNOWN = {
    "src/multitune/audit/number_cues.py": {"desk"},  # stands before telephone numbers, as in `Desk: 467 3395`
    "src/multitune/audit/phones.py": {"desk"},
    "src/multitune/config/retired.py": {"turned away"},  # run files of older versions
    "src/multitune/core/results/routing.py": {"turned away", "rivals"},  # report.json of older versions
    "src/multitune/core/run_folder.py": {"waves"},  # study folders of older versions
    "src/multitune/routing/router.py": {"strangers", "unfamiliar"},  # router.json of older versions
    "tests/config/test_retired.py": {"turned away"},
    "tests/core/test_results.py": {"turned away", "rivals"},
}
VAGUE_NAMES = {"said", "told", "Said", "Told"}  # of values: say what they are


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def retired_words() -> list[str]:
    """The first column of the first table of retired words."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", RETIRED.split("\n\n")[1], re.MULTILINE)
    return [word for row in rows[1:] for word in row.split(", ")]


def plain(text: str) -> str:
    """Text in lower case, with the parts of identifiers as words: `turned_away` and `turnedAway` are two."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[\s_-]+", " ", apart).lower()


def retired_in(text: str) -> set[str]:
    """The retired words that a text uses."""
    found = plain(text)
    return {word for word in retired_words() if re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", found)}


def our_texts() -> list[Path]:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    pages = [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    texts = [path for path in (*files, *pages) if path.is_file() and named(path) not in HISTORY]
    return sorted(
        path
        for path in texts
        if not named(path).startswith(DATA[:-1]) and not path.match(DATA[-1]) and path != Path(__file__)
    )


def defined(module: Path) -> set[str]:
    """Names of the classes, functions and constants of a module."""
    names = set[str]()
    for node in ast.parse(module.read_text("utf-8")).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case _:
                pass
    return names


def is_field(key: str, of: type[Section]) -> bool:
    """Whether a dotted path such as `tasks.group` leads to a field."""
    first, _, rest = key.partition(".")
    field = of.model_fields.get(first)
    if field is None or not rest:
        return field is not None
    inner = section_in(field.annotation)
    return inner is not None and is_field(rest, inner)


def fields_named(entry: str) -> Iterator[tuple[type[Section], str]]:
    for file, keys in re.findall(r"\b(Run|Study) file: ((?:`[\w.]+`(?:, )?)+)", entry):
        yield from ((RunConfig if file == "Run" else StudyConfig, key) for key in re.findall(r"`([\w.]+)`", keys))


def links(entry: str) -> list[tuple[str, str]]:
    """(name, file) of every link into the code."""
    return re.findall(r"\[`(\w+)`\]\(([\w./]+\.py)\)", entry)


def test_the_glossary_is_read() -> None:
    assert (
        len(ENTRIES) == TERMS.count("\n- **") > 80
        and {"adapter", "pack", "verdict", "router", "study"} <= ENTRIES.keys()
    )
    assert {"luck", "turned away", "has the last word"} <= set(retired_words())


@pytest.mark.parametrize("term", ENTRIES)
def test_a_term_has_a_home_in_the_code(term: str) -> None:
    fields, names = list(fields_named(ENTRIES[term])), links(ENTRIES[term])
    assert fields or names
    assert [key for section, key in fields if not is_field(key, section)] == []
    assert [(name, file) for name, file in names if name not in defined(GLOSSARY.parent / file)] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=named)
def test_a_page_links_only_to_names_that_exist(page: Path) -> None:
    assert [link for link in links(page.read_text("utf-8")) if link[0] not in defined(page.parent / link[1])] == []


def test_a_home_that_does_not_exist_is_seen() -> None:
    assert not is_field("router.turned_away", RunConfig) and not is_field("name.first", RunConfig)
    assert links("[`Stranger`](../src/multitune/routing/router.py)") == [
        ("Stranger", "../src/multitune/routing/router.py")
    ]
    assert "Stranger" not in defined(ROOT / "src/multitune/routing/router.py")


@pytest.mark.parametrize("path", our_texts(), ids=named)
def test_a_retired_word_stays_out(path: Path) -> None:
    assert retired_in(f"{named(path)} {path.read_text('utf-8')}") == STILL_KNOWN.get(named(path), set())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def beyond_luck(): ...", {"luck"}),
        ("class StrangerScore: ...", {"stranger"}),
        ("a text\nthat is turned\naway", {"turned away"}),
        ("turned-away", {"turned away"}),
        ("Plucky deskside strangeness, rivalry; the last word that names a split", set[str]()),
    ],
)
def test_a_retired_word_is_seen_however_it_is_written(text: str, words: set[str]) -> None:
    assert retired_in(text) == words


@pytest.mark.parametrize("folder", ["src", "benchmarks", "scripts", "examples"])
def test_a_value_is_named_for_what_it_is(folder: str) -> None:
    vague = set[str]()
    for path in (ROOT / folder).rglob("*.py"):
        with path.open("rb") as file:
            tokens = [token for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME]
        vague |= {f"{named(path)}:{token.start[0]}" for token in tokens if token.string.lstrip("_") in VAGUE_NAMES}
    assert sorted(vague) == []
