"""What is tortured: a tiny base, three tasks, a run of every kind of adapter, a task that joins, a study, a search."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.numpy import load, save

from benchmarks.torture.rig import Outcome, asked_and_ended, kill_once, run
from tests.conftest import tiny_model, word_tokenizer

# Times, what is made of times (`ratio` is of seconds), and the size of a log that holds some (`events`).
TIMED = re.compile(r"seconds|_at$|^date$|^created|^made|^command$|tokens_per|^ratio$|^events$|^seal$")
# Another place, another time, another process: none of them is a result.
PASSED_OVER = ("lock", "versions.json", "report.html", "README.md", "journal.log", "state.sqlite")  # how names begin


@dataclass(frozen=True, slots=True)
class Subject:
    """A command that changes a folder, and how it goes on after it was stopped."""

    name: str
    arguments: tuple[str, ...]
    again: Callable[[], tuple[str, ...]]
    folder: Path  # that holds the results
    prepare: Callable[[], None]  # puts everything back to where the command begins


class Workplace:
    """All files below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"  # all that commands write: runs and cache
        self.runs, self.cache = self.home / "runs", self.home / "cache"
        self.kept = root / "kept"  # copies to go back to
        self.file, self.joining, self.study_file = root / "run.yaml", root / "join.yaml", root / "study.yaml"
        self.run = self.runs / "tiny"
        os.environ["MULTITUNE_CACHE"] = str(self.cache)
        self.output = root / "output.txt"  # of the command that runs
        os.environ["TORTURE_OUTPUT"] = str(self.output)
        self._write()

    def _write(self) -> None:
        base = self.root / "base"
        tiny_model().save_pretrained(base)
        word_tokenizer().save_pretrained(base)
        colours = [{"text": f"w{i} w{(7 * i) % 40}", "label": ["red", "blue"][i % 2]} for i in range(40)]
        copies = [{"text": f"w{(3 * i) % 40} w{i}"} for i in range(40)]
        joins = [{"text": f"w{(5 * i) % 40} w{i}", "label": ["blue", "red"][i % 2]} for i in range(40)]
        for name, rows in (("colours", colours), ("copies", copies), ("joins", joins)):
            (self.root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        task = {"prompt": "say {{ text }}", "answer": "{{ label }}", "kind": "classify"}
        copy: dict[str, Any] = {
            "name": "copy",
            "prompt": "copy {{ text }}",
            "answer": "{{ text }}",
            "kind": "generate",
        }
        copy["max_new_tokens"] = 3
        general = {**copy, "name": "chat", "prompt": "general {{ text }}", "share": 0.2}
        fields: dict[str, Any] = {
            "name": "tiny",
            "output": str(self.runs),
            "base": str(base),
            "tasks": [{**task, "name": "colours", "data": "colours.jsonl"}, {**copy, "data": "copies.jsonl"}],
            "general": [{**general, "data": "copies.jsonl"}],
            "adapters": ["shared", "residual"],
            "cross_task_duplicates": "allow",
            "lora": {"rank": 2, "alpha": 4},
            "train": {"max_steps": 4, "batch_size": 8, "pack_tokens": 128, "max_length": 32, "validate_every": 2},
            "evaluate": {"resamples": 100, "limit": 4, "select_limit": 4},
            "dtype": "float32",
            "device": "cpu",
        }
        self.fields = fields
        self.file.write_text(yaml.safe_dump(fields), "utf-8")
        joining = {"base": str(base), "tasks": [{**task, "name": "joins", "data": "joins.jsonl"}]}
        self.joining.write_text(yaml.safe_dump(joining), "utf-8")
        study = {"run": "run.yaml", "output": str(self.home / "studies"), "name": "pairs", "search": "listed"}
        study |= {"combinations": [["colours", "copy"]], "alone": ["equal_passes"]}
        self.study_file.write_text(yaml.safe_dump(study), "utf-8")

    def keep(self, name: str) -> None:
        """Remember all that commands wrote."""
        shutil.rmtree(self.kept / name, ignore_errors=True)
        shutil.copytree(self.home, self.kept / name)

    def restore(self, name: str | None) -> None:
        """Go back to there; to nothing but the folder where None."""
        for path in self.home.iterdir() if self.home.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self.home.mkdir(exist_ok=True)
        if name is not None:
            shutil.copytree(self.kept / name, self.home, dirs_exist_ok=True)

    def must(self, *arguments: str) -> Outcome:
        """A command that has to succeed."""
        done = run(arguments)
        if done.code != 0:
            raise SystemExit(f"multitune {' '.join(arguments)} failed in peace:\n{done.output}")
        return done

    def tune(self, trials: int) -> tuple[str, ...]:
        """The search of so many trials."""
        ranges = ("train.learning_rate=0.0001,0.001", "lora.rank=2,4")
        return (
            "tune",
            str(self.file),
            "--trials",
            str(trials),
            *(part for one in ranges for part in ("--range", one)),
        )

    def keep_more(self) -> None:
        """Keep a run and a study that were stopped, and a study, a search and a server's use at their end."""

        def stopped(name: str, folder: Path, *arguments: str) -> None:
            self.restore("cache")
            run(arguments, kill_once(self.home, lambda: any(folder.rglob("checkpoint-before"))))
            if not any(folder.rglob("checkpoint-before")):
                raise SystemExit(f"multitune {' '.join(arguments)} was not killed behind its second checkpoint")
            self.keep(name)

        stopped("stopped", self.run, "train", str(self.file))
        stopped("stopped study", self.home / "studies", "study", str(self.study_file))
        for name, arguments in (("study", ("study", str(self.study_file))), ("tune", self.tune(2))):
            self.restore("cache")
            self.must(*arguments)
            self.keep(name)
        self.restore("trained")
        done = run(("serve", str(self.run), "--port", "0", "--learning", "observe"), asked_and_ended(self.output))
        if done.code != 0:
            raise SystemExit(f"multitune serve failed in peace:\n{done.output}")
        self.keep("served")

    def subjects(self) -> list[Subject]:
        """The commands that are killed; a finished run is kept as `trained`, a warm cache as `cache`."""
        self.restore(None)
        self.must("check", str(self.file))
        self.keep("cache")
        self.must("train", str(self.file))
        self.keep("trained")
        train, tune = ("train", str(self.file)), self.tune(2)
        add, select = ("add", str(self.joining), "--to", str(self.run)), ("select", str(self.run))
        study, name = ("study", str(self.study_file)), "tiny"

        def resumed() -> tuple[str, ...]:
            return (*train, "--resume") if (self.run / "config.yaml").is_file() else train

        def added() -> tuple[str, ...]:
            """It may have been killed behind its last write; to add the task again is then refused."""
            changes = [json.loads(path.read_text("utf-8")) for path in self.run.glob("routing/v*/change.json")]
            ended = any(change["added"] == "joins" for change in changes)
            return ("report", str(self.run)) if ended else add

        def from_nothing() -> None:
            self.restore(None)

        def from_cache() -> None:
            self.restore("cache")

        def from_trained() -> None:
            self.restore("trained")

        return [
            Subject("train", train, resumed, self.runs / name, from_cache),
            Subject("train, cold cache", train, resumed, self.runs / name, from_nothing),
            Subject("add", add, added, self.run, from_trained),
            Subject("select", select, lambda: select, self.run, from_trained),
            Subject("study", study, lambda: study, self.home / "studies" / "pairs", from_cache),
            Subject("tune", tune, lambda: tune, self.runs / f"{name}.tune", from_cache),
        ]


def results(folder: Path) -> dict[str, str]:
    """Place in a folder -> digest of what was found, without times and what happened on the way."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if not path.is_file() or path.name.startswith(PASSED_OVER) or place.startswith(("tracking/", "trials/")):
            continue
        data = path.read_bytes()
        data = _events(data) if path.name == "events.jsonl" else _without_times(path, data)
        found[place] = hashlib.sha256(data).hexdigest()[:16]
    return found


def _without_times(path: Path, data: bytes) -> bytes:
    try:
        if path.suffix == ".json":
            return json.dumps(_timeless(json.loads(data)), sort_keys=True).encode()
        return save(_timeless(load(data))) if path.suffix == ".safetensors" else data
    except (ValueError, SafetensorError):  # damaged, and left so
        return data


def _events(data: bytes) -> bytes:
    try:
        events = [json.loads(line) for line in data.splitlines()]
    except ValueError:  # damaged, and left so
        return data
    steps = [_timeless(event) for event in events if event["kind"] in ("step", "validation", "frozen", "evaluated")]
    return json.dumps(steps, sort_keys=True).encode()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if not TIMED.search(key)}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Places that hold something else."""
    return sorted(place for place in {*before, *after} if before.get(place) != after.get(place))
