"""Prompts and answers as sandboxed Jinja over a row's columns, with every fault in the user's terms."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sized
from datetime import date, time, timedelta
from numbers import Number
from typing import Any, cast, final
from uuid import UUID

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from multitune.core.errors import TaskError, suggest
from multitune.core.untrusted import bound, raised_by, within_seconds
from multitune.tasks.conversation import is_conversation
from multitune.tasks.filters import is_missing, labels, named, option, spans

PLAIN = (str, Number, date, time, timedelta, UUID, Undefined)  # what prints as a reader would write it
OWN_NAMES = ("row", "self", "loop", "caller", "varargs", "kwargs")  # of Jinja, and the whole row
SHORT = 1 << 20  # characters that no bound is about
SINGLE_BRACES = re.compile(r"(?<!\{)\{\s*(\w+)\s*\}(?!\})")


class _NotText(Exception):
    """A template prints a value that is no text."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def _shown(value: Any) -> Any:
    # A null column must not teach the model to read or write the word "None".
    if is_missing(value):
        return ""
    if not isinstance(value, PLAIN):
        raise _NotText(value)
    return value


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which a key comes before a method and no product of two short terms takes all memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """A product or a power, if it is not too long."""
        most = bound("RENDER_CHARACTERS")
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            size = left.bit_length() * right
        else:
            times = max((term for term in (left, right) if isinstance(term, int)), default=0)
            size = times * max((len(term) for term in (left, right) if isinstance(term, Sized)), default=0)
        if size > most:
            raise TaskError(f"a product of more than {most} characters; {raised_by('RENDER_CHARACTERS')}")
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`order.items` is the row's `items`; the method of that name comes second."""
        if isinstance(obj, Mapping) and attribute in obj:
            return cast(Any, obj[attribute])
        return super().getattr(obj, attribute)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _environment() -> _Environment:
    environment = _Environment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    # Jinja's own `tojson` is for web pages: it writes < and & as escapes.
    cast(dict[str, Any], environment.filters).update(
        spans=spans, named=named, option=option, labels=labels, tojson=_json
    )
    return environment


_JINJA = _environment()


def list_template(source: str, place: str) -> "Template":
    """A template that writes the value of an expression, such as `messages` or `[sol1, sol2]`, as JSON.

    Raises:
        TaskError: it is no valid Jinja.
    """
    bare = source.strip()
    if bare.startswith("{{") and bare.endswith("}}"):
        bare = bare[2:-2]
    return Template(f"{{{{ ({bare}) | tojson }}}}", place)


def _subscripts(tree: nodes.Template) -> Iterator[str]:
    """The columns that are read as `row["Tweet text"]`."""
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and item.node.name == "row" and isinstance(item.arg, nodes.Const):
            yield str(item.arg.value)


@final
class Template:
    """One Jinja source over the columns of a row; `row` is the whole row, for names such as `row["Tweet text"]`."""

    def __init__(self, source: str, place: str) -> None:
        """Compile.

        Args:
            source: the Jinja text.
            place: what to call it in messages, such as `task 'tweets': prompt`.

        Raises:
            TaskError: the source is no valid Jinja.
        """
        self.place, self._source = place, source
        try:
            tree = _JINJA.parse(source)
            self._template = _JINJA.from_string(source)
        except TemplateSyntaxError as error:
            raise TaskError(f"{place}, line {error.lineno}: {error.message}. Correct the template") from error
        except _NotText as error:  # a constant
            raise TaskError(f"{place}: {_no_text(error.value, {})}") from error
        except (RecursionError, MemoryError, SyntaxError) as error:  # thousands of brackets
            raise TaskError(f"{place}: nested too deeply. Write it out flat") from error
        self.names = frozenset(meta.find_undeclared_variables(tree))  # of columns that it may read, and `row`
        self.needed = frozenset((self.names - {"row"}).intersection(_required(tree)))
        self.columns = (self.names - {"row"}) | set(_subscripts(tree))
        self._parts = _columns_and_text(tree)

    def __reduce__(self) -> tuple[type["Template"], tuple[str, str]]:
        """Compiled code does not travel between processes; its source does."""
        return Template, (self._source, self.place)

    def check(self, columns: Collection[str]) -> None:
        """Compare the names it needs with the columns there are, before any row is rendered.

        Raises:
            TaskError: a name is no column.
        """
        for name in sorted(self.needed.difference(columns, _JINJA.globals)):
            raise TaskError(f"{self.place}: the rows have no column {name!r}. {suggest(name, sorted(columns))}")
        plain = (name for name in SINGLE_BRACES.findall(self._source) if name in columns)
        if not self.names and (name := next(plain, None)):
            raise TaskError(f"{self.place}: {{{name}}} shows no column. Write it as {{{{ {name} }}}}")

    def lacks(self, row: Mapping[str, Any]) -> list[str]:
        """The columns that it reads, if a row has nothing in any of them."""
        if "row" in self.names or any(name in row and not is_missing(row[name]) for name in self.names):
            return []
        return sorted(self.names.intersection(row))

    def render(self, row: Mapping[str, Any]) -> str:
        """The text of one row, as it stands.

        Raises:
            TaskError: the row lacks a column, an expression fails on its values, or it reaches for what is unsafe.
        """
        if (text := self._joined(row)) is not None:
            return text
        try:
            with within_seconds(bound("RENDER_SECONDS")):
                text = self._template.render({"row": row, **row})
            if len(text) > (most := bound("RENDER_CHARACTERS")):
                raise TaskError(f"makes more than {most} characters of a row; {raised_by('RENDER_CHARACTERS')}")
            return text
        except TimeoutError as error:
            raise TaskError(f"{self.place}: {error}; {raised_by('RENDER_SECONDS')}") from error
        except TaskError as error:
            raise TaskError(f"{self.place}: {error}") from error
        except _NotText as error:
            raise TaskError(f"{self.place}: {_no_text(error.value, row)}") from error
        except TemplateError as error:
            raise TaskError(
                f"{self.place}: {(error.message or '').rstrip('.')}. Columns here: {', '.join(row)}"
            ) from error
        except Exception as error:  # an expression of the user's may fail in any way, such as 1 / 0
            raise TaskError(f"{self.place}: {type(error).__name__}: {error}. Fix the template or the row") from error

    def _joined(self, row: Mapping[str, Any]) -> str | None:
        """What Jinja would write, of a template and a row in which nothing needs it: ten times as fast."""
        if self._parts is None:
            return None
        pieces: list[str] = []
        for text, column in self._parts:
            value = row.get(column) if column else text
            if type(value) not in (str, int, bool):
                return None
            pieces.append(str(value))
        joined = "".join(pieces)
        return joined if len(joined) < SHORT else None


def _columns_and_text(tree: nodes.Template) -> tuple[tuple[str, str], ...] | None:
    """The parts of a template as (text, ""), or as ("", column); None where it does more than to show columns."""
    parts: list[tuple[str, str]] = []
    for output in tree.body:
        for node in output.nodes if isinstance(output, nodes.Output) else [output]:
            if isinstance(node, nodes.TemplateData):
                parts.append((node.data, ""))
            elif isinstance(node, nodes.Name) and node.name not in OWN_NAMES:
                parts.append(("", node.name))
            else:
                return None
    return tuple(parts)


def _no_text(value: Any, row: Mapping[str, Any]) -> str:
    """What is wrong with a value that a template prints, and what to write instead."""
    column = next((name for name, cell in row.items() if cell is value), None)
    printed = f"the column {column!r}" if column else "it"
    if isinstance(value, Mapping):
        keys = [str(key) for key in cast(Mapping[Any, Any], value)]
        remedy = f"Name one of its keys, such as .{keys[0]}, or write `| tojson`" if keys else "Write `| tojson`"
        return f"{printed} holds a mapping with the keys {', '.join(keys)}, which is no text. {remedy}"
    if isinstance(value, bytes | bytearray):
        return f"{printed} holds bytes, which are no text. Decode them in the data"
    if callable(value):
        name = getattr(value, "__name__", "it")
        return f"it prints the method {name!r}, which is no column. Write ['{name}'] for a key, or {name}() to call it"
    if is_conversation(value):
        remedy = f"Write `messages: {column or 'COLUMN'}` in place of prompt and answer"
        return f"{printed} holds a conversation, which is no text. {remedy}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"{printed} holds a list, which is no text: {value!r:.60}. Write [0], `| join(', ')` or `| tojson`"
    return (
        f"{printed} holds {type(value).__name__}, which is no text. Write `| list | join(', ')`, or what it should be"
    )


def _required(node: nodes.Node) -> Iterator[str]:
    """Names read outside of `default(...)`, `is defined` and whatever such a test decides on."""
    if _is_guard(node):
        return
    if isinstance(node, nodes.Name):
        yield node.name
    if isinstance(node, nodes.If | nodes.CondExpr) and _guards(node.test):
        return
    for child in node.iter_child_nodes():
        yield from _required(child)


def _guards(test: nodes.Node) -> bool:
    return _is_guard(test) or any(_is_guard(part) for part in test.find_all((nodes.Test, nodes.Filter)))


def _is_guard(node: nodes.Node) -> bool:
    return (isinstance(node, nodes.Test) and node.name in ("defined", "undefined")) or (
        isinstance(node, nodes.Filter) and node.name in ("default", "d")
    )
