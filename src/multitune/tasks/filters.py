"""What templates may do with a column besides what Jinja has: entities, names of classes, options, sets of labels."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from multitune.core.errors import TaskError
from multitune.core.text import written_list
from multitune.tasks.output_parsing import NO_LABEL


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, or no text."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def spans(tokens: Sequence[str], tags: Sequence[Any], names: Sequence[str] = ()) -> str:
    """The entities of a tagged sentence, one `span, TYPE` per line, or `none` if there are none.

    A template writes `{{ tokens | spans(ner_tags) }}`.

    Args:
        tokens: the words, in order.
        tags: one per word, in any of the IO, BIO and BIOES schemes: `O`, `B-ORG`, `I-ORG`, `ORG`.
        names: of the tags, where these are numbers.

    Raises:
        TaskError: not one text tag per token, or a number without a name.
    """
    if len(tokens) != len(tags):
        raise TaskError(f"spans: {len(tokens)} tokens but {len(tags)} tags. Each token needs one tag")
    found: list[tuple[list[str], str]] = []
    previous = "O"
    for token, number in zip(tokens, tags, strict=True):
        tag: Any = named(number, names) if names else number
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


def named(number: Any, names: Sequence[str]) -> str:
    """The name of a class that is stored as a number.

    A template writes `{{ label | named(["no", "yes"]) }}`.

    Raises:
        TaskError: no number of a name; -1 often stands for a row without a label.
    """
    if type(number) is not int or not 0 <= number < len(names):
        raise TaskError(f"named: {number!r} is no number from 0 to {len(names) - 1}. Correct or remove the row")
    return names[number]


def option(options: Sequence[Any], answer: Any, first: int = 0) -> Any:
    """The option that an answer means.

    A template writes `{{ choices | option(answer) }}`.

    Args:
        options: of the row.
        answer: a number, a letter of A, B, C, … in either case, or the option itself.
        first: the number of the first option.

    Raises:
        TaskError: it means none of them, or could mean two.
    """
    text = str(answer).strip()
    places = [at for at, one in enumerate(options) if not isinstance(answer, int) and str(one).strip() == text]
    if text.isdecimal() and 0 <= int(text) - first < len(options):
        places.append(int(text) - first)
    elif len(text) == 1 and text.isascii() and text.isalpha() and ord(text.upper()) - ord("A") < len(options):
        places.append(ord(text.upper()) - ord("A"))
    if not places:
        raise TaskError(f"option: {answer!r} is none of {len(options)} options, counted from {first}. Correct the row")
    if len(set(places)) > 1:
        raise TaskError(f"option: {answer!r} is an option itself and the place of another. Write {{{{ answer }}}}")
    return options[places[0]]


def labels(value: Any, separator: str = "\n", names: Sequence[str] = ()) -> str:
    """The labels of a row, one per line, or `none` if there are none: what an answer of kind labels is.

    A template writes `{{ tags | labels }}`, `{{ tags | labels(";") }}`, or `{{ {"spam": spam, "ad": ad} | labels }}`.

    Args:
        value: a list, also one that is written as text; a text; or a mapping from label to whether it applies.
        separator: what parts the labels of a text.
        names: of the labels, where these are numbers.

    Raises:
        TaskError: no such value, or one of its items is no label.
    """
    if is_missing(value):
        raise TaskError(
            "labels: there is nothing. Where that means no label, write `| default([], true) | labels`; "
            "else take the row out"
        )
    if isinstance(value, Mapping):
        given: list[Any] = [
            name for name, applies in cast(Mapping[str, Any], value).items() if _applies(name, applies)
        ]
    elif isinstance(value, str):
        written = value.strip()
        is_list = written.startswith("[") and written.endswith("]")
        given = _written_list(written) if is_list else [part for part in written.split(separator) if part.strip()]
    elif isinstance(value, list | tuple | set):
        given = list(cast(Sequence[Any], value))
    else:
        given = [value]
    found = [named(one, names) if names else _label(one) for one in given]
    return "\n".join(label for label in found if label) or NO_LABEL


def _applies(name: str, value: Any) -> bool:
    if value not in (0, 1, "0", "1", "true", "false", "True", "False"):
        raise TaskError(f"labels: {name!r} is {value!r}, where 0 or 1 says whether it applies. Correct the row")
    return value in (1, "1", "true", "True")


def _written_list(text: str) -> list[Any]:
    found = written_list(text)
    if found is None:
        raise TaskError(
            f"labels: {text!r:.80} is no list as JSON or Python writes it, with commas. Write the column as a list"
        )
    return found


def _label(value: Any) -> str:
    if is_missing(value) or not isinstance(value, str | int | float):
        raise TaskError(f"labels: {value!r:.60} is no label. Correct the row, or write `| map(attribute=…) | list`")
    return " ".join(str(value).split())
