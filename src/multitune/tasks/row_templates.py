"""How a row reads: its prompt and answer, the turns of its conversation, the options of its choice."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from multitune.config.task import TaskConfig
from multitune.core.errors import TaskError, suggest
from multitune.core.records import Message
from multitune.core.text import normal_form
from multitune.tasks.conversation import learned_turns, read_messages, read_tools, shown, turn_text, without_weight
from multitune.tasks.filters import is_missing
from multitune.tasks.identity import content_hash
from multitune.tasks.output_parsing import free_text
from multitune.tasks.template import Template, list_template

Row = Mapping[str, Any]
LISTS = ("messages", "tools", "options")  # fields of a task that name a list of a row


@dataclass(frozen=True, slots=True)
class Pair:
    """What the model reads, and what it should say."""

    prompt: str  # empty for plain text
    answer: str
    chat: str = ""  # as of Example
    options: tuple[str, ...] = ()
    conversation: str = ""  # hash of the conversation, where several of its turns are learned


@final
class RowTemplates:
    """The templates of a task, which make prompts and answers of rows."""

    def __init__(self, config: TaskConfig) -> None:
        """Compile them.

        Raises:
            TaskError: one is no valid Jinja.
        """
        self._config = config
        self._place = f"task {config.name!r}"
        self._prompt = Template(config.prompt, f"{self._place}: prompt")
        self._answer = Template(config.answer, f"{self._place}: answer")
        self._variants = [
            Template(text, f"{self._place}: prompt_variants[{at}]") for at, text in enumerate(config.prompt_variants)
        ]
        self._check_variants()
        given = {field: getattr(config, field) for field in LISTS}
        self._lists = {
            field: list_template(source, f"{self._place}: {field}") for field, source in given.items() if source
        }

    @property
    def columns(self) -> tuple[frozenset[str], frozenset[str]]:
        """Columns that the prompt and the answer name; none of a conversation."""
        return self._prompt.columns, self._answer.columns

    @property
    def shows(self) -> tuple[frozenset[str], frozenset[str]]:
        """Names that the prompt and the answer read of a row."""
        if "messages" in self._lists:
            return self._lists["messages"].names, self._lists["messages"].names
        return (self._answer if self._config.kind == "text" else self._prompt).names, self._answer.names

    def check(self, columns: Collection[str]) -> None:
        """Compare what the templates need with the columns that rows have.

        Raises:
            TaskError: a name is no column.
        """
        for template in (self._prompt, *self._variants, self._answer, *self._lists.values()):
            template.check(columns)
        for setting, column in (("id", self._config.id), ("group", self._config.group)):
            if column is not None and column not in columns:
                raise TaskError(
                    f"{self._place}: {setting} is {column!r}, which is no column. {suggest(column, sorted(columns))}"
                )

    def pairs(self, row: Row, where: str) -> Iterator[Pair]:
        """The prompt and the answer of a row; of a conversation, those of each turn that is learned.

        Raises:
            TaskError: a column is missing, or a row gives no prompt or no answer; `where` says which row.
        """
        if "messages" in self._lists:
            yield from self._turns(row, where)
            return
        prompt = "" if self._config.kind == "text" else self._filled(self._prompt, row, where)
        answer, options = self._filled(self._answer, row, where), self._options(row, where)
        if options and normal_form(answer) not in options:
            raise TaskError(
                f"{self._place}: {where} has the answer {answer!r}, which is none of its options "
                f"({', '.join(map(repr, options))}). Correct the row, or write `| option(answer)` behind the options "
                "where the answer is a number or a letter"
            )
        yield Pair(prompt, answer, options=options)

    def variant(self, number: int, row: Row, where: str) -> str:
        """The prompt of a row in the words of one of its variants.

        Raises:
            TaskError: a column is missing, or the row gives no prompt.
        """
        return self._filled(self._variants[number], row, where)

    def question(self, row: Row, where: str) -> Pair:
        """What is asked for a row, which needs no answer.

        Raises:
            TaskError: a column is missing, or a row asks nothing.
        """
        for template in (self._prompt, *self._lists.values()):
            template.check(row)
        if self._config.kind == "text":
            raise TaskError(f"{self._place}: kind text has no prompt to answer. Give the run a text instead")
        if "messages" not in self._lists:
            return Pair(self._filled(self._prompt, row, where), "", options=self._options(row, where))
        messages, tools = self._conversation(row, where)
        history = messages[:-1] if messages[-1]["role"] == "assistant" else messages
        if all(message["role"] == "system" for message in history):
            raise TaskError(f"{self._place}: {where} asks nothing. Give it a turn of the user")
        return Pair(shown(history, tools), "", _chat(history, tools))

    def cell(self, row: Row, column: str, where: str) -> str:
        """The text of a column.

        Raises:
            TaskError: there is none.
        """
        value = row.get(column)
        if is_missing(value):
            raise TaskError(f"{self._place}: {where} has nothing in the column {column!r}. Correct or remove the row")
        return str(value)

    def _filled(self, template: Template, row: Row, where: str) -> str:
        try:
            text = template.render(row)
        except TaskError as error:
            raise TaskError(f"{error} [{where}]") from error
        # The indentation of an answer that is text, such as a line of code, belongs to it.
        kept = template is self._answer and self._config.kind in ("generate", "text")
        text = free_text(text) if kept else text.strip()
        part = "answer" if template is self._answer else "prompt"
        skip = f"Correct the row, or leave out all such rows: data.required: [{_listed(template.columns)}]"
        if not text:
            raise TaskError(f"{self._place}: {where} gives an empty {part}. {skip}")
        if empty := template.lacks(row):
            raise TaskError(
                f"{self._place}: {where} has nothing in {', '.join(empty)}, which is all that the {part} shows. {skip}"
            )
        return text

    def _check_variants(self) -> None:
        """Refuse variants that show other columns: rows are told apart, and leaks found, by what the prompt shows."""
        shown = self._prompt.names
        if other := next((one for one in self._variants if one.names != shown), None):
            raise TaskError(
                f"{other.place}: it shows {_listed(other.names)}, and the prompt {_listed(shown)}. A variant says the "
                "same in other words: show the same columns"
            )

    def _turns(self, row: Row, where: str) -> Iterator[Pair]:
        messages, tools = self._conversation(row, where)
        try:
            places = learned_turns(messages, self._config.turns)
        except TaskError as error:
            raise TaskError(f"{self._place}: {where}: {error}") from error
        whole = content_hash(shown(messages, tools)) if len(places) > 1 else ""
        for at in places:
            reply = without_weight(messages[at])
            # A reply that is more than a text is written by the template.
            chat = _chat(messages[:at], tools, reply if len(reply) > 2 else None)
            yield Pair(shown(messages[:at], tools), turn_text(reply), chat, conversation=whole)

    def _conversation(self, row: Row, where: str) -> tuple[list[Message], list[Any]]:
        messages, tools = (self._list(field, row, where) for field in ("messages", "tools"))
        try:
            return read_messages(messages), read_tools(tools)
        except TaskError as error:
            raise TaskError(f"{self._place}: {where}: {error}") from error

    def _options(self, row: Row, where: str) -> tuple[str, ...]:
        """The options of a row; () for other kinds than choice."""
        if self._config.kind != "choice":
            return ()
        given = self._list("options", row, where)
        are_plain = isinstance(given, list) and all(isinstance(one, str | int | float) for one in given)
        options = tuple(normal_form(str(one)).strip() for one in given) if are_plain else ()
        if len(options) < 2 or not all(options) or len(set(options)) < len(options):
            raise TaskError(
                f"{self._place}: {where} has the options {given!r:.80}. Give it a list of two or more different texts"
            )
        return options

    def _list(self, field: str, row: Row, where: str) -> Any:
        """The value of `messages`, `tools` or `options`; None where the task has none."""
        if field not in self._lists:
            return None
        try:
            return json.loads(self._lists[field].render(row))
        except TaskError as error:
            raise TaskError(f"{error} [{where}]") from error


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "no column"


def _chat(history: Sequence[Message], tools: Sequence[Any], reply: Message | None = None) -> str:
    """What a chat template reads, as JSON; nothing where the prompt is a question alone."""
    if len(history) == 1 and set(history[0]) == {"role", "content"} and not tools and reply is None:
        return ""
    fields = {"messages": list(map(without_weight, history)), "tools": tools, "reply": reply}
    return json.dumps({key: value for key, value in fields.items() if value}, ensure_ascii=False)
