"""The house keeps its own rules: sizes, docstrings, types, imports, and pages that say what is there."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from scripts import architecture

ROOT = Path(__file__).parent.parent
SOURCES = architecture.sources()
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
FACE = {
    *("AdapterBank", "MixtureSampler", "MultituneError", "Run", "RunConfig", "Task"),
    *(
        "add",
        "check",
        "compare",
        "compare_predictions",
        "evaluate",
        "gate",
        "load_config",
        "open_run",
        "run_audit",
        "run_study",
        "select",
        "train",
        "tune",
    ),
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def parameters(function: Function) -> list[ast.arg]:
    """All parameters but self and cls."""
    arguments = function.args
    extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]
    return [argument for argument in every if argument.arg not in ("self", "cls")]


def public(tree: ast.Module) -> Iterator[Function | ast.ClassDef]:
    """Functions and classes of a module, and the methods of its public classes, whose name has no underscore."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (m for m in node.body if isinstance(m, Function) and not m.name.startswith("_"))


@pytest.fixture(params=SOURCES, ids=named)
def source(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def test_a_file_has_at_most_350_lines(source: Path) -> None:
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 350


def test_a_file_opens_with_one_sentence_that_says_what_it_is(source: Path) -> None:
    assert architecture.first_line(source).endswith(".")


def is_command(function: Function) -> bool:
    """Whether a function is a verb of the command line, whose parameters are its options."""
    return any(isinstance(node, ast.Attribute) and node.attr == "Option" for node in ast.walk(function.args))


def test_a_function_has_at_most_60_lines(tree: ast.Module) -> None:
    first = {f: f.body[0].lineno if is_command(f) else f.lineno for f in functions(tree)}
    assert [f.name for f, start in first.items() if (f.end_lineno or 0) - start >= 60] == []


def test_a_function_has_at_most_eight_parameters_and_the_later_ones_by_name(tree: ast.Module) -> None:
    many = [f for f in functions(tree) if not is_command(f) and len(parameters(f)) > 6]
    assert [f.name for f in many if len(parameters(f)) > 8] == []
    assert [f.name for f in many if len(parameters(f)) - len(f.args.kwonlyargs) > 6] == []


def test_a_signature_is_typed_in_full(tree: ast.Module) -> None:
    untyped = [
        f.name for f in functions(tree) if f.returns is None or any(a.annotation is None for a in parameters(f))
    ]
    assert untyped == []


def test_every_random_stream_has_a_name(source: Path, tree: ast.Module) -> None:
    made = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "default_rng" in ast.unparse(node.func)]
    assert made == [] or source == architecture.PACKAGE / "core" / "seeds.py", "take core.seeds.generator"


def test_what_is_public_has_a_docstring(tree: ast.Module) -> None:
    assert [node.name for node in public(tree) if not ast.get_docstring(node)] == []


def test_a_file_is_named_for_what_it_holds(source: Path) -> None:
    assert source.stem not in {"utils", "util", "helpers", "helper", "manager", "misc", "common"}


@pytest.mark.parametrize("room", architecture.ROOMS)
def test_a_rooms_init_is_empty(room: str) -> None:
    assert (architecture.PACKAGE / room / "__init__.py").read_text(encoding="utf-8") == ""


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {path.parent.name for path in architecture.PACKAGE.glob("*/__init__.py")}
    files = {path.stem for path in architecture.PACKAGE.glob("[!_]*.py")}
    assert sorted(architecture.layers()) == sorted(rooms | files)


def test_architecture_md_asks_of_each_room_once_and_in_the_order_of_imports() -> None:
    table = architecture.PAGE.read_text(encoding="utf-8").partition("| room |")[2].partition("\n\n")[0]
    rooms = re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)
    assert [room.removesuffix(".py") for room in rooms] == architecture.layers()
    assert [room for room in rooms if not (architecture.PACKAGE / room).exists()] == []


def test_imports_form_no_circle() -> None:
    graph = grimp.build_graph("multitune", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(list(TopologicalSorter(imports).static_order())) == len(graph.modules)  # raises CycleError on a circle


def test_architecture_md_lists_what_each_file_says_of_itself() -> None:
    assert architecture.PAGE.read_text(encoding="utf-8") == architecture.written(), "run: make architecture"


def test_the_face_shows_these_names_and_no_others() -> None:
    import multitune

    assert set(multitune.__all__) == FACE


@pytest.mark.parametrize("name", sorted(FACE))
def test_the_face_leads_to_what_it_names(name: str) -> None:
    import multitune

    assert not (architecture.PACKAGE / name).exists(), "importing a room of this name would hide it"
    assert callable(getattr(multitune, name))


def test_importing_multitune_loads_nothing_heavy() -> None:
    heavy = {"datasets", "scipy", "sklearn", "torch", "transformers"}
    code = "import multitune, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=named)
def test_a_page_names_only_make_targets_that_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(commands) <= targets


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=named)
def test_a_page_links_only_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_every_test_can_fail(path: Path) -> None:
    mute = [
        function.name
        for function in functions(ast.parse(path.read_text(encoding="utf-8")))
        if function.name.startswith("test_")
        and not any(
            isinstance(node, ast.Assert)
            or (isinstance(node, ast.Attribute) and node.attr.startswith(("assert", "raises", "warns")))
            for node in ast.walk(function)
        )
    ]
    assert mute == []


def test_no_two_test_files_have_one_name() -> None:
    names = [path.name for path in TESTS]  # pytest imports them by it, and refuses to collect a second one
    assert sorted(names) == sorted(set(names))


# Whatever keeps a test from running or from failing, as pytest and unittest name it.
SKIPPING = {
    *("skip", "skipif", "skipIf", "skipUnless", "skipTest", "SkipTest", "Skipped", "importorskip"),
    *("xfail", "expectedFailure", "deselect", "__test__", "collect_ignore", "collect_ignore_glob"),
    *("pytest_ignore_collect", "pytest_collection_modifyitems", "pytest_deselected", "pytest_runtest_setup"),
}
# What may skip, by file and name, and why.
MAY_SKIP = {
    "tests/reporting/conftest.py: skip": "Chromium is a program of the system, which no package of ours can install",
}


def skips(tree: ast.Module) -> list[str]:
    """Names in a file that keep tests from running, however they were imported or defined."""
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.FunctionDef(name=name):
                found.append(name)
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                found.append(name)
            case ast.ImportFrom(names=aliases):
                found += [alias.name for alias in aliases]
    return [name for name in found if name in SKIPPING]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=named)
def test_no_test_is_skipped(path: Path) -> None:
    found = [f"{named(path)}: {name}" for name in skips(ast.parse(path.read_text(encoding="utf-8")))]
    assert [place for place in found if place not in MAY_SKIP] == []
    assert len(found) <= 1, "one reason to skip, in one place"


@pytest.mark.parametrize(
    "code",
    [
        "import pytest\n@pytest.mark.skipif(True, reason='')\ndef test(): ...",
        "import pytest\n@pytest.fixture\ndef machine():\n    pytest.skip('none here')",
        "from pytest import skip as leave\ndef test():\n    leave('no')",
        "from unittest import SkipTest\ndef test():\n    raise SkipTest",
        "import pytest\nray = pytest.importorskip('ray')",
        "import pytest\npytestmark = [pytest.mark.xfail]",
        "import pytest\ngetattr(pytest, 'skip')('no')",
        "collect_ignore = ['test_slow.py']",
        "def pytest_collection_modifyitems(items):\n    items.clear()",
        "class TestAll:\n    __test__ = False",
    ],
)
def test_a_skip_is_seen_however_it_is_written(code: str) -> None:
    assert skips(ast.parse(code)) != []


def test_no_test_is_left_out_by_the_settings() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]
    assert settings["testpaths"] == ["tests"]
    harmless = {"testpaths", "pythonpath", "strict", "filterwarnings", "timeout"}
    assert settings.keys() <= harmless, "addopts can leave tests out"
    commands = [(ROOT / file).read_text("utf-8") for file in ("Makefile", ".ci/run")]
    assert [word for word in ("--ignore", "--deselect", "pytest -k", '-m "not') if word in "".join(commands)] == []


PLATFORM_ONLY = {
    *("_winapi", "fcntl", "grp", "msvcrt", "nt", "posix", "pty"),
    *("pwd", "resource", "syslog", "termios", "tty", "winreg", "winsound"),
}


def loaded_with(tree: ast.Module) -> Iterator[str]:
    """Names of the modules that a file imports when it is imported itself, by their first part."""
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        waiting += ast.iter_child_nodes(node)


def test_a_file_loads_on_every_system(tree: ast.Module) -> None:
    assert PLATFORM_ONLY.isdisjoint(loaded_with(tree))


def test_multitune_starts_where_there_is_no_fcntl(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "import multitune.core.events, multitune.core.run_folder, multitune.config.load, multitune.tasks.task\n"
        "from multitune.cli.main import app; app(['--version'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
