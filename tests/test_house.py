"""The house keeps its own rules: sizes, docstrings, types, imports, and pages that say what is there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from scripts import architecture

ROOT = Path(__file__).parent.parent
SOURCES = architecture.sources()
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
FACE = {"AdapterBank", "MultituneError", "RunConfig", "Task", "evaluate", "load_config", "train"}
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


def test_a_function_has_at_most_60_lines(tree: ast.Module) -> None:
    assert [f.name for f in functions(tree) if (f.end_lineno or 0) - f.lineno >= 60] == []


def test_a_function_has_at_most_six_parameters(tree: ast.Module) -> None:
    assert [f.name for f in functions(tree) if len(parameters(f)) > 6] == []


def test_a_signature_is_typed_in_full(tree: ast.Module) -> None:
    untyped = [
        f.name for f in functions(tree) if f.returns is None or any(a.annotation is None for a in parameters(f))
    ]
    assert untyped == []


def test_what_is_public_has_a_docstring(tree: ast.Module) -> None:
    assert [node.name for node in public(tree) if not ast.get_docstring(node)] == []


def test_a_file_is_named_for_what_it_holds(source: Path) -> None:
    assert source.stem not in {"utils", "util", "helpers", "helper", "manager", "misc", "common"}


@pytest.mark.parametrize("room", architecture.ROOMS)
def test_a_rooms_init_is_empty(room: str) -> None:
    assert (architecture.PACKAGE / room / "__init__.py").read_text(encoding="utf-8") == ""


def test_every_room_has_its_place_in_the_order() -> None:
    assert {path.parent.name for path in architecture.PACKAGE.glob("*/__init__.py")} == set(architecture.ROOMS)


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
    links = re.findall(r"\]\((?!\w+:|#)([^)#]+)", page.read_text(encoding="utf-8"))
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


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_no_test_is_skipped(path: Path) -> None:
    names = {
        node.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)
    }
    assert names.isdisjoint({"skip", "skipif", "xfail", "importorskip"})
