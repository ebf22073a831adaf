"""Commands stopped at random: kill -9 at file operations and at times, and a disk that is full from some write on."""

import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.torture.limits import few_open_files, little_memory, small_files, unnamed
from benchmarks.torture.rig import Outcome, Try, fail_at, kill_at, operations, run, start, wait
from benchmarks.torture.workplace import Subject, Workplace, differences, results

Kind = Literal["kill at an operation", "kill at a time", "disk full", "few open files", "little memory", "small files"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LIMITS = {"few open files": few_open_files, "little memory": little_memory, "small files": small_files}
MOST = 2  # times that one try is stopped before it may end


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A command left in peace: what it found, and how long it took."""

    subject: Subject
    results: dict[str, str]
    operations: int
    seconds: float


def undisturbed(subject: Subject, place: Workplace) -> Undisturbed:
    """Run a command in peace, twice: both must end with the same, or nothing could be said of a disturbed one."""
    subject.prepare()
    first, _ = operations(subject.arguments, place.home)
    before = results(subject.folder)
    subject.prepare()
    second, count = operations(subject.arguments, place.home)
    if first.code or second.code:
        raise SystemExit(f"{subject.name} failed in peace:\n{first.output}{second.output}")
    after = results(subject.folder)
    if different := differences(before, after):
        raise SystemExit(f"{subject.name} in peace ends with other results each time: {', '.join(different)}")
    return Undisturbed(subject, after, count, second.seconds)


def require_sight(peace: Undisturbed, place: Workplace) -> None:
    """Train with another seed and leave a file behind: a comparison that sees neither would see no fault either."""
    subject = peace.subject
    subject.prepare()
    place.must(*subject.arguments, "--set", "seed=18")
    (subject.folder / "left-over.json").write_text("{}", "utf-8")
    seen = differences(peace.results, results(subject.folder))
    if not any(name.startswith("adapters/") for name in seen) or "left-over.json" not in seen:
        raise SystemExit(f"another seed and a file left behind are not seen: {', '.join(seen) or 'nothing'}")


def stopped(peace: Undisturbed, kind: Kind, chance: random.Random, place: Workplace) -> Try:
    """Stop a command once or more, let it go on to its end, and compare."""
    subject, stops = peace.subject, list[str]()
    subject.prepare()
    arguments = subject.arguments
    for _ in range(chance.randint(1, MOST)):
        done, stop = _disturbed(arguments, peace, kind, chance, place)
        stops.append(stop)
        killed = done.code == -signal.SIGKILL and kind.startswith("kill")
        if fault := "" if killed else done.fault or unnamed(kind, done):
            return Try(subject.name, kind, ", ".join(stops), f"{fault}: {done.output[-1500:]}")
        arguments = subject.again()
    done = run(arguments)
    if done.code != 0:
        return Try(subject.name, kind, ", ".join(stops), f"does not go on: {done.fault}: {done.output[-1500:]}")
    after = results(subject.folder)
    other = differences(peace.results, after)
    return Try(subject.name, kind, ", ".join(stops), f"other results: {', '.join(other)}" if other else "")


def _disturbed(
    arguments: Sequence[str], peace: Undisturbed, kind: Kind, chance: random.Random, place: Workplace
) -> tuple[Outcome, str]:
    """How a command ended that was disturbed once, and when or by how much it was."""
    if kind == "kill at a time":
        moment = chance.uniform(0, peace.seconds)
        return wait(start(arguments), kill_after=moment), f"{moment:.2f} s"
    if kind in LIMITS:
        before, stop = LIMITS[kind](chance)
        return run(arguments, before), stop
    number = chance.randint(1, peace.operations)
    act = kill_at if kind == "kill at an operation" else fail_at
    return run(arguments, act(place.home, number)), f"operation {number}"


def tries(peace: list[Undisturbed], seed: int, place: Workplace) -> Iterator[Try]:
    """Tries without end, each from a seed of its own: every command and kind in turn."""
    number = 0
    while True:
        for kind in KINDS:
            for one in peace:
                yield stopped(one, kind, random.Random(f"{seed}/{number}"), place)
                number += 1
