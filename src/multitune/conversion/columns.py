"""Prompts and answers over the columns that other tools name: instructions, conversations, and formats of your own."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multitune.tasks.expressions import column, optional, shown

LAST_ANSWER = "a row's last message is the answer, all before it the prompt; earlier answers carry no loss"


@dataclass(frozen=True, slots=True)
class Templates:
    """How a row reads, as the fields of a task; `note` says what differs from the tool it comes from."""

    prompt: str
    answer: str
    note: str = ""


def instruction(
    prompt: Sequence[str], answer: str, *, between: str = "\n\n", system: str = "", history: str = ""
) -> Templates:
    """Rows with a column for what is asked and one for the answer.

    Args:
        prompt: columns, one below the other; all but the first may be missing or empty.
        answer: the column of the answer.
        between: what stands between the prompt's columns.
        system: a column with instructions that stand before the prompt.
        history: a column with pairs of earlier questions and answers.
    """
    notes: list[str] = []
    text = shown(prompt[0]) + "".join(optional(name, before=between) for name in prompt[1:])
    if history:
        pairs = f"{column(history)} | default([], true)"
        text = f'{{% for pair in {pairs} %}}{{{{ pair[0] ~ "\\n" ~ pair[1] ~ "\\n\\n" }}}}{{% endfor %}}{text}'
        notes.append(f"the pairs of {history!r} stand in the prompt; their answers carry no loss")
    if system:
        text = optional(system, after="\n\n") + text
        notes.append(f"{system!r} stands at the head of the prompt: `system` is one for all rows of a run")
    return Templates(text, shown(answer), "; ".join(notes))


def conversation(messages: str, role: str = "role", content: str = "content", system: str = "system") -> Templates:
    """Rows with a list of messages: the last is the answer, all before it are the prompt.

    Args:
        messages: the column with the list.
        role: key of who speaks.
        content: key of what is written.
        system: the role of instructions.
    """
    who, what = (f"[{json.dumps(key)}]" for key in (role, content))
    name = column(messages)
    turns = f'{name}[:-1] | rejectattr({json.dumps(role)}, "equalto", {json.dumps(system)}) | list | length'
    speaker = f'message{who} ~ ": " if {turns} > 1 else ""'
    prompt = (
        f"{{% for message in {name}[:-1] %}}"
        f'{{{{ "" if loop.first else "\\n\\n" }}}}{{{{ {speaker} }}}}{{{{ message{what} }}}}'
        "{% endfor %}"
    )
    return Templates(prompt, f"{{{{ {name}[-1]{what} }}}}", LAST_ANSWER)


def dialogue(prompt: str, completion: str) -> Templates:
    """Rows whose prompt and completion are lists of messages, with `role` and `content`."""
    before = conversation(prompt).prompt.replace("[:-1]", "")
    return Templates(before, f'{{{{ {column(completion)}[-1]["content"] }}}}', LAST_ANSWER)


def segments(name: str = "segments") -> Templates:
    """Rows of texts that carry loss or do not (`label`): those with loss are the answer, the others the prompt."""

    def joined(test: str) -> str:
        return f'{{{{ {column(name)} | {test}("label") | map(attribute="text") | join }}}}'

    note = "segments with `label: true` are the answer, in their order; all others stand before it, as the prompt"
    return Templates(joined("rejectattr"), joined("selectattr"), note)


def custom(form: str, names: Mapping[str, str], bare: str, head: str = "") -> Templates:
    """A format such as `[INST] {instruction} [/INST]`.

    Args:
        form: the format of rows with an `input`.
        names: instruction, input, output and, where rows have one, system -> column.
        bare: the format of rows without `input`.
        head: what stands before rows without a system column.
    """

    def filled(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: shown(names.get(match[1], match[1])), text).strip()

    text = filled(form)
    if "{input}" in form:
        text = f'{{% if {column(names["input"])} | default("") %}}{text}{{% else %}}{filled(bare)}{{% endif %}}'
    if "system" in names and "{system}" not in form:
        text = optional(names["system"], after="\n\n") + text
    elif head:
        before = json.dumps(f"{head}\n\n", ensure_ascii=False)
        text = f"{{{{ {before} }}}}{text}"
    marked = re.search(r"<\||\[/?INST\]|<s>|###|</s>", form)
    note = "its format holds marks of a chat template, which are plain text here; take them out" if marked else ""
    return Templates(text, shown(names["output"]), note)
