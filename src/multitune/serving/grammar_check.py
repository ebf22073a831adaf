"""Whether a grammar can be afforded: a process of its own compiles it first, whose time and memory end before ours.

A schema of one line can take minutes or all memory to compile (`multipleOf` of a large number, many patterns of one
text), and the library's own limits do not hold that. The process holds the tokenizer and forks for each grammar.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

SECONDS = 2  # of processor time that a grammar may take to compile and to begin
BYTES = 64 << 20  # of memory
PATIENCE = 60  # seconds by the clock, should it wait for something
# Of the library, for each step of an answer: some milliseconds, and some megabytes in all.
STEP_FUEL, STEP_ITEMS, LEXER_STATES = 100_000, 50_000, 20_000


def tokenizer_of(plain: str, stop_ids: Sequence[int]) -> Any:
    """The library's own form of a tokenizer.

    Args:
        plain: of the tokenizers library, as JSON.
        stop_ids: tokens that end an answer.

    Raises:
        ValueError: it does not say which bytes a token stands for.
    """
    from llguidance import LLTokenizer

    return LLTokenizer(plain, eos_token=list(stop_ids))


def compiled(tokenizer: Any, grammar: str) -> Any:
    """A matcher at the beginning of an answer; `is_error` says if the grammar is wrong."""
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(
        step_lexer_fuel=STEP_FUEL, step_max_items=STEP_ITEMS, max_lexer_states=LEXER_STATES, verbose_errors=False
    )
    return LLMatcher(tokenizer, grammar, log_level=0, limits=limits)


@dataclass(slots=True)
class GrammarCheck:
    """The process that compiles first; it starts with the first grammar, and is for one thread."""

    plain: str  # tokenizer, as JSON
    stop_ids: Sequence[int]
    _process: "subprocess.Popen[str] | None" = None

    def fault(self, grammar: str) -> str:
        """What is wrong with a grammar; empty if nothing is.

        Raises:
            OSError: the process cannot be started.
        """
        for _ in range(2):  # it may have been killed between two grammars
            process = self._process or self._start()
            try:
                return _asked(process, grammar)
            except (OSError, ValueError):
                self.close()
        raise OSError("the process that compiles grammars ends at once")

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a Ctrl-C is for the server
        )
        assert self._process.stdin
        _write(self._process.stdin, [self.plain, list(self.stop_ids)])
        return self._process


def _asked(process: "subprocess.Popen[str]", grammar: str) -> str:
    assert process.stdin and process.stdout
    _write(process.stdin, grammar)
    return str(json.loads(process.stdout.readline()))


def _write(to: IO[str], value: Any) -> None:
    to.write(json.dumps(value) + "\n")
    to.flush()


def main() -> None:
    """Answer each grammar that comes in with its fault, until no more come."""
    plain, stop_ids = json.loads(sys.stdin.readline())
    tokenizer = tokenizer_of(plain, stop_ids)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _compile_and_exit(tokenizer, json.loads(line))
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            _write(sys.stdout, f"takes more than {SECONDS} seconds or {BYTES >> 20} MB to compile. Make it simpler")


def _compile_and_exit(tokenizer: Any, grammar: str) -> None:
    """In a process of its own: write the fault, and end."""
    import resource  # not on Windows

    import psutil

    room = psutil.Process().memory_info().vms + BYTES
    with suppress(ValueError, OSError):  # not on every system
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(PATIENCE)
    matcher = compiled(tokenizer, grammar)
    if not matcher.is_error():
        matcher.compute_bitmask()
    _write(sys.stdout, str(matcher.get_error() or ""))
    os._exit(0)


if __name__ == "__main__":
    main()
