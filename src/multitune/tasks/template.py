"""Prompts and answers as sandboxed Jinja over a row's columns, with every fault in the user's terms."""

from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from typing import Any, cast, final

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from multitune.core.errors import TaskError, suggest
from multitune.core.untrusted import bound, raised_by, within_seconds


def spans(tokens: Sequence[str], tags: Sequence[Any]) -> str:
    """The entities of a tagged sentence, one `span, TYPE` per line, or `none` if there are none.

    A template writes `{{ tokens | spans(ner_tags) }}`.

    Args:
        tokens: the words, in order.
        tags: one per word, in any of the IO, BIO and BIOES schemes: `O`, `B-ORG`, `I-ORG`, `ORG`.

    Raises:
        TaskError: not one text tag per token.
    """
    if len(tokens) != len(tags):
        raise TaskError(f"spans: {len(tokens)} tokens but {len(tags)} tags. Each token needs one tag")
    found: list[tuple[list[str], str]] = []
    previous = "O"
    for token, tag in zip(tokens, tags, strict=True):
        if not isinstance(tag, str):
            raise TaskError(f"spans: the tag {tag!r} is no text such as 'B-ORG'. Turn numbers into names first")
        prefix, dash, kind = tag.partition("-")
        kind = kind if dash else tag
        if kind != "O" and (kind != previous or prefix in ("B", "S", "U")):
            found.append(([], kind))
        if kind != "O":
            found[-1][0].append(str(token))
        previous = kind
    return "\n".join(f"{' '.join(words)}, {kind}" for words, kind in found) or "none"


def _shown(value: Any) -> Any:
    # A null column must not teach the model to read or write the word "None".
    return "" if value is None else value


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which no product of two short terms takes all memory."""

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


def _environment() -> _Environment:
    environment = _Environment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    cast(dict[str, Any], environment.filters)["spans"] = spans
    return environment


_JINJA = _environment()


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
        except (RecursionError, MemoryError, SyntaxError) as error:  # thousands of brackets
            raise TaskError(f"{place}: nested too deeply. Write it out flat") from error
        looked_up = meta.find_undeclared_variables(tree) - {"row"}
        self.needed = frozenset(looked_up.intersection(_required(tree)))

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

    def render(self, row: Mapping[str, Any]) -> str:
        """The text of one row, without white space at its ends.

        Raises:
            TaskError: the row lacks a column, an expression fails on its values, or it reaches for what is unsafe.
        """
        try:
            with within_seconds(bound("RENDER_SECONDS")):
                text = self._template.render({"row": row, **row}).strip()
            if len(text) > (most := bound("RENDER_CHARACTERS")):
                raise TaskError(f"makes more than {most} characters of a row; {raised_by('RENDER_CHARACTERS')}")
            return text
        except TimeoutError as error:
            raise TaskError(f"{self.place}: {error}; {raised_by('RENDER_SECONDS')}") from error
        except TaskError as error:
            raise TaskError(f"{self.place}: {error}") from error
        except TemplateError as error:
            raise TaskError(
                f"{self.place}: {(error.message or '').rstrip('.')}. Columns here: {', '.join(row)}"
            ) from error
        except Exception as error:  # an expression of the user's may fail in any way, such as 1 / 0
            raise TaskError(f"{self.place}: {type(error).__name__}: {error}. Fix the template or the row") from error


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
