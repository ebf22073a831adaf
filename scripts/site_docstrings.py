"""How docstrings of the package become pages of the site: an extension of griffe, which mkdocs.yml names.

Docstrings show their use as `>>>` lines, which Markdown would take for quotes. Fields of results are explained by the
comments beside them, which griffe does not read: they are shown as they stand in the code.
"""

import re
from pathlib import Path
from typing import Any

from griffe import Attribute, Class, Extension, Module, Object

RESULTS = "multitune.core.results."
EXAMPLE = re.compile(r"(?:^ *>>> .*\n?(?:^ *\S.*\n?)*)+", re.MULTILINE)


class Docstrings(Extension):
    """Examples in fences, and the fields of a result as one piece of code."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Examples of one docstring, fenced."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(lambda found: _fenced("pycon", found[0]), obj.docstring.value)

    def on_class_members(self, *, cls: Class, **_: Any) -> None:
        """The fields of a result go into its docstring."""
        if cls.path.startswith(RESULTS):
            public = [one for one in cls.attributes.values() if not one.is_private and "property" not in one.labels]
            _fold(cls, public)

    def on_module_members(self, *, mod: Module, **_: Any) -> None:
        """So do the words that fields of a module's results may hold; its constants and functions are its own."""
        if mod.path.startswith(RESULTS):
            _fold(mod, [one for one in mod.attributes.values() if str(one.value).startswith("Literal[")])
            for name in [*mod.attributes, *mod.functions]:
                mod.del_member(name)


def _fold(owner: Class | Module, attributes: list[Attribute]) -> None:
    if attributes and owner.docstring:
        code = "\n".join(_source(one) for one in attributes)
        owner.docstring.value = f"{owner.docstring.value}\n\n{_fenced('python', code)}"
    for one in attributes:
        owner.del_member(one.name)


def _source(attribute: Attribute) -> str:
    """The lines of an attribute, with the comment above it."""
    assert isinstance(attribute.filepath, Path)  # a list of them for namespace packages alone
    lines: list[str] = attribute.lines_collection[attribute.filepath]
    first, last = attribute.lineno or 1, attribute.endlineno or 1
    while lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return "\n".join(line.strip() if first == last else line[4:] for line in lines[first - 1 : last])


def _fenced(language: str, code: str) -> str:
    return f"```{language}\n{code.rstrip()}\n```\n"
