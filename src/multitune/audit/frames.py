"""The instruction that all prompts of a set share, so that texts under different instructions can be compared."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """The instruction around what the rows of a set show."""

    head: str
    tail: str

    def inside(self, prompt: str) -> str:
        """What a row shows: its prompt without the instruction that all rows share; the prompt if that is all."""
        text = prompt.removeprefix(self.head)
        return text.removesuffix(self.tail).strip() or prompt


def frame_of_template(template: str) -> Frame:
    """The text of a template before its first and after its last column."""
    parts = re.split(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", template, flags=re.DOTALL)
    return Frame(parts[0].lstrip(), parts[-1].rstrip()) if len(parts) > 1 else Frame("", "")


def frame_of_prompts(prompts: Iterator[str]) -> Frame:
    """What all prompts begin and end with, up to a line's end or a colon; of few prompts this says little."""
    start = end = next(prompts)
    for prompt in prompts:
        if not prompt.startswith(start):
            start = _common(start, prompt)
        if not prompt.endswith(end):
            end = _common(end[::-1], prompt[::-1])[::-1]
    head = re.match(r".*(?:\n|:\s)", start, flags=re.DOTALL)
    tail = re.search(r"\n.*", end, flags=re.DOTALL)
    return Frame(head.group() if head else "", tail.group() if tail else "")


def _common(one: str, other: str) -> str:
    """What both texts begin with."""
    size = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:size]
