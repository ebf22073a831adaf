"""Files damaged one at a time: a command then ends with the same results, or names the file and changes nothing."""

import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from benchmarks.torture.rig import Before, Outcome, Try, asked_and_ended, run
from benchmarks.torture.workplace import Workplace, differences, results

Damage = Callable[[Path, random.Random], None]
# In what is printed: times, sizes, ports, dates.
PASSING = re.compile(r"[\d.]+ ?(ms|s|min|k?B)\b|127.0.0.1:\d+|\d{4}-\d\d-\d\d \d\d:\d\d|.*(bytes|seconds)\": .*")


def flip(path: Path, chance: random.Random) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def other_digit(path: Path, chance: random.Random) -> None:
    """Change one digit to another: the file stays what it is, and says something else."""
    data = bytearray(path.read_bytes())
    places = [place for place, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if places:
        place = chance.choice(places)
        data[place] = 0x30 + (data[place] - 0x30 + chance.randint(1, 9)) % 10
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    """Leave the first half."""
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path, chance: random.Random) -> None:
    """Leave a file of no bytes."""
    os.truncate(path, 0)


def other_json(path: Path, chance: random.Random) -> None:
    """Put JSON in its place that is something else."""
    path.write_text(chance.choice(["{}", "[]", "null", "17", '"text"', '{"a": [1, {"b": null}]}', "[" * 9000]))


def folder(path: Path, chance: random.Random) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def pipe(path: Path, chance: random.Random) -> None:
    """Put a FIFO in its place, into which nobody writes."""
    path.unlink()
    os.mkfifo(path)


DAMAGES: tuple[Damage, ...] = (flip, other_digit, cut, emptied, other_json, folder, pipe)


@dataclass(frozen=True, slots=True)
class Reader:
    """A command that reads a folder in some state."""

    name: str
    state: str  # which of the workplace's kept ones it begins in
    arguments: tuple[str, ...]
    damaged: Path  # the folder whose files are
    ends_with: Path | None = None  # the folder whose results are compared; None: what it prints is
    before: Before | None = None


@dataclass(frozen=True, slots=True)
class Quiet:
    """A reader in peace: what it printed, and what its folder held then."""

    reader: Reader
    printed: str
    results: dict[str, str]


def readers(place: Workplace) -> list[Reader]:
    """All commands that read what others wrote, each from a state that it is used in."""
    run_, study, search = place.run, place.home / "studies" / "pairs", place.runs / "tiny.tune"
    file, out = str(place.file), place.home / "out"
    serve = ("serve", str(run_), "--port", "0", "--learning", "observe")
    again, study_again = ("train", file, "--resume"), ("study", str(place.study_file))
    return [
        Reader("train --resume", "stopped", again, run_, run_),
        Reader("train --resume, finished", "trained", again, run_, run_),
        Reader("train, warm cache", "cache", ("train", file), place.cache, run_),
        Reader("eval", "trained", ("eval", str(run_)), run_, run_),
        Reader("select", "trained", ("select", str(run_)), run_, run_),
        Reader("add", "trained", ("add", str(place.joining), "--to", str(run_)), run_, run_),
        Reader("export", "trained", ("export", str(run_), "--adapter", "shared", "--to", str(out)), run_, out),
        Reader("generate", "trained", ("generate", str(run_), "say w1 w2", "--max-new-tokens", "4"), run_),
        Reader("runs export", "trained", ("runs", "export", str(run_), "--as", "json"), run_),
        Reader("runs list", "trained", ("runs", "list", str(place.runs)), run_),
        Reader("report", "trained", ("report", str(run_)), run_),
        Reader("serve", "served", serve, run_, before=asked_and_ended(place.output)),
        Reader("study", "stopped study", study_again, study, study),
        Reader("study, finished", "study", study_again, study, study),
        Reader("tune", "tune", place.tune(3), search, search),
    ]


def in_peace(reader: Reader, place: Workplace) -> Quiet:
    """Run a command on a whole folder, twice: what it ends with has to be the same."""
    outcomes: list[Quiet] = []
    for _ in range(2):
        place.restore(reader.state)
        done = run(reader.arguments, reader.before)
        if done.code != 0:
            raise SystemExit(f"{reader.name} failed in peace:\n{done.output}")
        outcomes.append(Quiet(reader, *ended_with(reader, done)))
    one, other = outcomes
    if one != other:
        changed = differences(one.results, other.results)
        raise SystemExit(f"{reader.name} in peace ends otherwise each time: {changed}\n{one.printed}\n{other.printed}")
    return other


def ended_with(reader: Reader, done: Outcome) -> tuple[str, dict[str, str]]:
    """What a command printed, without times, sizes and ports, or what it wrote."""
    if reader.ends_with is not None:
        return "", results(reader.ends_with)
    return PASSING.sub("", done.output), {}


def kind_of(path: Path) -> str:
    """Files of one kind are read by the same code: those of the same name, or ending."""
    return path.suffix if path.suffix in {".jsonl", ".arrow"} else path.name


def chosen(files: Sequence[Path], chance: random.Random) -> Path:
    """One of some files, every kind as likely as every other."""
    kinds = sorted({kind_of(path) for path in files})
    kind = chance.choice(kinds)
    return chance.choice([path for path in files if kind_of(path) == kind])


def damaged(quiet: Quiet, damage: Damage, chance: random.Random, place: Workplace) -> Try:
    """Damage one file and run the command."""
    reader = quiet.reader
    place.restore(reader.state)
    files = [path for path in sorted(reader.damaged.rglob("*")) if path.is_file() and path.name != "lock"]
    path = chosen(files, chance)
    damage(path, chance)
    left = path.read_bytes() if path.is_file() else None
    done = run(reader.arguments, reader.before)
    where = path.relative_to(reader.damaged).as_posix()
    return Try(reader.name, f"a file: {damage.__name__.replace('_', ' ')}", where, _finding(quiet, path, left, done))


def _finding(quiet: Quiet, path: Path, left: bytes | None, done: Outcome) -> str:
    """Which law an outcome breaks."""
    if done.fault:
        return f"{done.fault}: {done.output[-1500:]}"
    reader = quiet.reader
    pages = [page.read_text("utf-8", "replace") for page in reader.damaged.rglob("report.html") if page.is_file()]
    named = any(name in text for text in (done.output, *pages) for name in (path.name, str(path.parent)))
    if done.code != 0:
        return "" if named else f"no file is named: {done.output[-600:]}"
    if named:
        return ""
    printed, after = ended_with(reader, done)
    if printed != quiet.printed:
        lines = unified_diff(quiet.printed.splitlines(), printed.splitlines(), n=0, lineterm="")
        return f"prints something else in silence: {' / '.join(lines)[:600]}"
    if reader.ends_with == reader.damaged and (not path.is_file() or path.read_bytes() == left):
        where = path.relative_to(reader.damaged).as_posix()  # it was not needed, and stays as it is
        after[where] = quiet.results.get(where, "")
    for name in [name for name in after if name.startswith("routing/v0002/")]:  # a damaged version is made anew
        if after[name] == quiet.results.get(name.replace("v0002", "v0001")):
            del after[name]
    other = [name for name in differences(quiet.results, after) if after.get(name) or quiet.results.get(name)]
    return f"other results in silence: {', '.join(other)}" if other else ""


def tries(quiet: Sequence[Quiet], seed: int, place: Workplace) -> Iterator[Try]:
    """Tries without end, each from a seed of its own: every damage and command in turn."""
    number = 0
    while True:
        for damage in DAMAGES:
            for one in quiet:
                yield damaged(one, damage, random.Random(f"damage {seed}/{number}"), place)
                number += 1
