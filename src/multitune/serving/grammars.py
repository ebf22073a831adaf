"""Structured outputs: what an answer must be, as a mask over the vocabulary that moves with the tokens chosen."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from multitune.core.errors import InputError
from multitune.core.extras import missing_extra
from multitune.serving.grammar_check import GrammarCheck, compiled, tokenizer_of

ConstraintKind = Literal["json", "regex", "grammar"]
KEPT = 32  # compiled grammars; whoever asks again waits for nothing
# Of JSON; without a bound a model that has lost its way writes spaces until the answer is cut.
WHITESPACE = r"[\x20\x0A\x0D\x09]{1,20}"


class GrammarError(InputError):
    """What an answer must be cannot be served; `field` of the request says it."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class GrammarLimitError(InputError):
    """In the middle of an answer, to go on costs too much or leads nowhere."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must be: JSON of a schema, or a text of a regular expression or of a Lark grammar."""

    kind: ConstraintKind
    text: str
    field: str = field(compare=False)  # of the request, that says so


@dataclass(slots=True)
class TokenMask:
    """The tokens that may come next in one answer; for the engine's thread."""

    _matcher: Any

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (vocab,) with minus infinity where no token may come; those that were given stay as they are.

        Raises:
            GrammarLimitError: none may.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.zeros(len(logits), dtype=bool)
        known = np.unpackbits(bits, bitorder="little")[: len(logits)]
        allowed[: len(known)] = known
        if self._matcher.is_error() or not allowed.any():
            raise self._error()
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), float("-inf"))

    def accept(self, token: int) -> bool:
        """Take a token that was chosen, and say whether the answer is complete: nothing may follow.

        Raises:
            GrammarLimitError: to go on costs too much.
        """
        if not self._matcher.consume_token(token):
            raise self._error()
        return bool(self._matcher.is_stopped())

    def _error(self) -> GrammarLimitError:
        return GrammarLimitError(
            f"structured outputs: the answer cannot go on ({_short(self._matcher.get_error())}). Make the schema, "
            "the regular expression or the grammar simpler"
        )


@dataclass(frozen=True, slots=True)
class Grammar:
    """A constraint for one tokenizer; any number of answers begin with it."""

    _matcher: Any

    def begin(self) -> TokenMask:
        """The mask of one answer, at its beginning."""
        return TokenMask(self._matcher.deep_copy())


@dataclass(slots=True)
class Grammars:
    """Compiles constraints, each once and on a thread of its own."""

    tokenizer: Any
    stop_ids: Sequence[int]  # tokens that end an answer
    _kept: "OrderedDict[Constraint, Grammar | str]" = field(default_factory=OrderedDict)  # a text: what is wrong
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "multitune-grammars"))
    _reader: Any = None  # the library's own form of the tokenizer
    _check: GrammarCheck | None = None

    async def grammar(self, constraint: Constraint) -> Grammar:
        """A constraint, compiled.

        Raises:
            GrammarError: it is wrong, takes too much time or memory, or the base's tokenizer cannot be constrained.
            MissingExtraError: the library is not installed.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._grammar, constraint)

    def close(self) -> None:
        """End the thread and its process."""
        self._thread.shutdown(cancel_futures=True)
        if self._check:
            self._check.close()

    def _grammar(self, constraint: Constraint) -> Grammar:
        found = self._kept.pop(constraint, None) or self._compiled(constraint)
        self._kept[constraint] = found
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        if isinstance(found, str):
            raise GrammarError(found, constraint.field)
        return found

    def _compiled(self, constraint: Constraint) -> Grammar | str:
        try:
            check = self._check or self._start()
        except ImportError as error:
            raise missing_extra("structured outputs", "serve") from error
        except ValueError as error:
            return f"the base's tokenizer cannot be constrained ({error}). Ask without it"
        try:
            grammar = _written(constraint)
            fault = check.fault(grammar)
        except ValueError as error:
            grammar, fault = "", str(error)
        if fault:
            return f"is no {_NAMES[constraint.kind]} that can be served: {_short(fault)}"
        return Grammar(compiled(self._reader, grammar))

    def _start(self) -> GrammarCheck:
        if not self.tokenizer.is_fast:
            raise ValueError("it does not say which bytes a token stands for")
        library = copy(self.tokenizer.backend_tokenizer)
        library.no_padding()
        library.no_truncation()
        plain = library.to_str()
        self._reader = tokenizer_of(plain, self.stop_ids)
        self._check = GrammarCheck(plain, self.stop_ids)
        return self._check


_NAMES = {"json": "JSON schema", "regex": "regular expression", "grammar": "grammar"}


def _written(constraint: Constraint) -> str:
    """As the library takes it.

    Raises:
        ValueError: a schema is no JSON, or a grammar is written neither as Lark's nor as GBNF.
    """
    from llguidance import LLMatcher, grammar_from

    if constraint.kind == "json":
        return LLMatcher.grammar_from_json_schema(constraint.text, overrides={"whitespace_pattern": WHITESPACE})
    return grammar_from(constraint.kind, constraint.text)


def _short(error: str) -> str:
    """An error of the library on one line, without what it says of its own state."""
    return " ".join(error.partition("<non-verbose/>")[0].split())[:300] or "no token fits"
