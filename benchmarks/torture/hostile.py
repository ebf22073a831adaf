"""What could be handed to a user to do harm: run files, data, templates, adapters, servers, each met by a command."""

import gzip
import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import yaml

from benchmarks.torture.limits import at_most
from benchmarks.torture.rig import Try, run
from benchmarks.torture.workplace import Workplace
from tests.hostile_server import REFUSED, TAKEN, server

MEMORY = 3 << 30  # bytes that no input may take more than
LONGEST = 3000  # characters of an output that is still a message
SECONDS = 180.0  # after which an input counts as one without end, however busy the machine

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 40)}]}}\n" for i in range(1, 9))
CONFIGS: dict[str, bytes] = {
    "aliases": ALIASES.encode(),
    "merges": MERGES.encode(),
    "a million keys": b"".join(b"k%d: 1\n" % i for i in range(1_000_000)),
    "digits": b"seed: " + b"9" * 200_000,
    "hexadecimal digits": b"seed: 0x" + b"f" * 200_000,
    "base sixty": b"seed: 1" + b":59" * 50_000,
    "brackets": b"[" * 200_000,
    "braces": b"{a: " * 50_000,
    "indentation": b"".join(b" " * i + b"a:\n" for i in range(2_000)),
    "an alias within itself": b"a: &a [*a]",
    "an object of Python": b"!!python/object/apply:os.system ['touch harmed']",
    "binary": bytes(range(256)) * 64,
    "UTF-16": "tasks: []".encode("utf-16"),
    "long line": b"name: " + b"x" * 4_000_000,
}
TEMPLATES: dict[str, str] = {
    "loop": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "brackets": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    "lists": "{{ " + "[" * 5_000 + "]" * 5_000 + " }}",
    "blocks": "{% if 1 %}" * 3_000 + "{% endif %}" * 3_000,
    "product": "{{ 'x' * 10000000000 }}",
    "product of a list": "{{ [1] * 10000000000 }}",
    "power": "{{ 9 ** 999999999 }}",
    "power of a power": "{{ 10 ** 10 ** 10 }}",
    "recursion": "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    "length": "{% for a in range(90000) %}{{ text * 1000 }}{% endfor %}",
    "centred": "{{ text.center(20000000000) }}",
    "filter of a width": "{{ text | center(20000000000) }}",
    "indentation": "{{ text | indent(20000000000, first=true) }}",
    "format of a width": "{{ '{:>20000000000}'.format(text) }}",
    "percent of a width": "{{ '%20000000000s' | format(text) }}",
    "doubling": "{% set ns = namespace(t='xx') %}{% for a in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}"
    "{{ ns.t }}",
    "list of a range": "{{ range(99999) | list | batch(1) | list | length }}{{ lipsum(n=99999) }}",
    "replacing": "{{ ('x' * 10000) | replace('x', 'y' * 1000000) }}",
    "joining": "{{ range(90000) | join('y' * 1000000) }}",
    "classes": "{{ text.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__.os.system('touch harmed') }}",
    "attribute by name": "{{ text | attr('__class__') }}",
    "files": "{% include '/etc/passwd' %}",
    "format of an attribute": "{{ '{0.__class__.__init__.__globals__}'.format(text) }}",
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """One input, and the command that meets it."""

    kind: str  # config, data, template, adapter or server
    name: str
    lay: Callable[[Workplace], tuple[str, ...]]  # puts it in its place; the arguments of the command
    codes: tuple[int, ...] = (1, 2)
    sends: Any = None  # of a server


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _gzip_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(16):
            file.write(b" " * 10_000_000 + b"\n")


def _parquet_bomb(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.nulls(400_000_000, pyarrow.int8())}), path)


def _cut_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["w1"] * 1000, "label": ["red"] * 1000}), path)
    os.truncate(path, path.stat().st_size // 2)


ROW = b'{"text": "w1", "label": "red"}\n'
DATA: dict[str, tuple[str, Callable[[Path], object]]] = {
    "FIFO": ("rows.jsonl", os.mkfifo),
    "/dev/zero": ("rows.jsonl", lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": ("rows.jsonl", lambda path: path.symlink_to(path)),
    "gzip bomb": ("rows.jsonl.gz", _gzip_bomb),
    "Parquet bomb": ("rows.parquet", _parquet_bomb),
    "cut Parquet": ("rows.parquet", _cut_parquet),
    "cut gzip": ("rows.jsonl.gz", _bytes(gzip.compress(ROW * 1000)[:-20])),
    "no gzip": ("rows.jsonl.gz", _bytes(ROW)),
    "no Parquet": ("rows.parquet", _bytes(b"PAR1" + b"\xff" * 1000 + b"PAR1")),
    "Latin-1": ("rows.jsonl", _bytes('{"text": "é", "label": "red"}\n'.encode("latin-1"))),
    "UTF-16 without a mark": ("rows.csv", _bytes("text,label\nw1,red\n".encode("utf-16-le"))),
    "zero bytes": ("rows.jsonl", _bytes(b"\0" * 100_000)),
    "deep JSON": ("rows.jsonl", _bytes(b'{"text": ' + b"[" * 200_000)),
    "a number of digits": ("rows.jsonl", _bytes(b'{"text": ' + b"9" * 200_000 + b', "label": "red"}\n')),
    "a quote without end": ("rows.csv", _bytes(b'text,label\n"w1' + b",red\nw" * 300_000)),
    "columns": ("rows.csv", _bytes(b",".join(b"c%d" % i for i in range(300_000)) + b"\n")),
    "half a surrogate": ("rows.jsonl", _bytes(b'{"text": "\\ud83d", "label": "red"}\n' * 40)),
    "a huge array": ("rows.json", _bytes(b"[" + b"1," * 3_000_000 + b"1]")),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "regular expression of alphas": {"alpha_pattern": {"(([a-z0-9._]+)+)+!": 4}},
    "regular expression of ranks": {"rank_pattern": {"(([a-z0-9._]+)+)+!": 4}},
    "regular expression of targets": {"target_modules": "(([a-z0-9._]+)+)+!"},
    "a broken regular expression": {"alpha_pattern": {"(": 4}},
    "an absurd rank": {"r": 10**30},
    "a rank that is text": {"r": "many"},
    "an alpha that is no number": {"lora_alpha": float("nan")},
    "an alpha beyond numbers": {"lora_alpha": 10**400},
    "an alpha that is a list": {"lora_alpha": [4]},
    "DoRA": {"use_dora": True},
    "a base that is a path": {"base_model_name_or_path": "/etc/passwd"},
}


def _header(described: dict[str, Any], size: int | None = None) -> bytes:
    text = json.dumps(described).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text


def _weights(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = folder / "adapter_model.safetensors"
        save_file(change(load_file(file)), file)

    return spoil


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")


def _raw(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "adapter_model.safetensors").write_bytes(data)


def _instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        file.unlink()
        make(file)

    return spoil


ENTRY = {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}
ADAPTERS: dict[str, Callable[[Path], object]] = {
    "pickle": _pickled,
    "NaN": _weights(lambda tensors: {name: one * float("nan") for name, one in tensors.items()}),
    "infinity": _weights(lambda tensors: {name: one / 0 for name, one in tensors.items()}),
    "turned shapes": _weights(lambda tensors: {name: one.T.contiguous() for name, one in tensors.items()}),
    "one more dimension": _weights(lambda tensors: {name: one[None] for name, one in tensors.items()}),
    "other layers": _weights(lambda tensors: {name.replace("layers.0", "layers.7"): t for name, t in tensors.items()}),
    "whole numbers": _weights(lambda tensors: {name: one.long() for name, one in tensors.items()}),
    "half of the pairs": _weights(lambda tensors: dict(list(tensors.items())[::2])),
    "no tensors": _weights(lambda tensors: {}),
    "a header of exabytes": _raw(_header({}, 1 << 60)),
    "a tensor of exabytes": _raw(_header({"base_model.model.x.lora_A.weight": ENTRY})),
    "a deep header": _raw(struct.pack("<Q", 100_000) + b"[" * 100_000),
    "FIFO": _instead(os.mkfifo),
    "/dev/zero": _instead(lambda file: file.symlink_to("/dev/zero")),
    "settings without end": lambda folder: (folder / "adapter_config.json").write_text("[" * 300_000),
}


def inputs() -> Iterator[Hostile]:
    """All of them."""
    for name, data in CONFIGS.items():
        yield Hostile("config", name, lambda place, data=data: ("check", _written(place, "run-hostile.yaml", data)))
    for name, make in {"FIFO": os.mkfifo, "/dev/zero": lambda path: path.symlink_to("/dev/zero")}.items():
        yield Hostile("config", name, lambda place, make=make: ("check", _made(place, "run-hostile.yaml", make)))
    for name, (file, make) in DATA.items():
        codes = (0, 1, 2) if name in ("half a surrogate", "a number of digits") else (1, 2)  # text is text
        yield Hostile(
            "data", name, lambda place, file=file, make=make: _check(place, data=_made(place, file, make)), codes
        )
    for name, source in TEMPLATES.items():
        yield Hostile("template", name, lambda place, source=source: _check(place, prompt=source))
    for name, settings in SETTINGS.items():
        harmless = ("a base that is a path", "regular expression of ranks", "regular expression of targets")
        codes = (0, 1, 2) if name in harmless or "rank" in name else (1, 2)  # what is not used does no harm
        yield Hostile("adapter", name, lambda place, new=settings: _verify(place, _setting(new)), codes)
    for name, spoil in ADAPTERS.items():
        yield Hostile("adapter", name, lambda place, spoil=spoil: _verify(place, spoil))
    for name, sends in {**REFUSED, **TAKEN}.items():
        yield Hostile("server", name, lambda place: _ask(place), (1, 2) if name in REFUSED else (0,), sends)


def _written(place: Workplace, name: str, data: bytes) -> str:
    return _made(place, name, _bytes(data))


def _made(place: Workplace, name: str, make: Callable[[Path], object]) -> str:
    path = place.root / name
    path.unlink(missing_ok=True)
    make(path)
    return str(path)


def _check(place: Workplace, **changes: str) -> tuple[str, ...]:
    fields = {**place.fields, "tasks": [{**place.fields["tasks"][0], **changes}], "adapters": "shared"}
    return ("check", _written(place, "run-hostile.yaml", yaml.safe_dump(fields).encode()))


def _setting(changes: dict[str, Any]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changes}), "utf-8")

    return spoil


def _verify(place: Workplace, spoil: Callable[[Path], object]) -> tuple[str, ...]:
    """As PEFT saves it, without what we know of it."""
    out = place.home / "out"
    place.must("export", str(place.run), "--adapter", "shared", "--to", str(out), "--no-verify")
    (out / "multitune.json").unlink()
    spoil(out)
    return ("verify", str(place.run), "--against", str(out))


def _ask(place: Workplace) -> tuple[str, ...]:
    asked = ("compare", str(place.run), "openai:m", "--limit", "2", "--max-tokens", "4000")
    return (*asked, "--timeout", "2", "--yes", "--api-base")


def meet(one: Hostile, place: Workplace) -> Try:
    """Let a command meet an input."""
    place.restore("trained")
    arguments = one.lay(place)
    return Try(arguments[0], f"hostile {one.kind}", one.name, _finding(one, arguments, place))


def _finding(one: Hostile, arguments: tuple[str, ...], place: Workplace) -> str:
    """Which law was broken; empty where none."""
    with nullcontext("") if one.sends is None else server(one.sends) as address:
        done = run((*arguments, address) if address else arguments, at_most(MEMORY), SECONDS)
    if done.fault:
        return f"{done.fault}: {done.output[-1500:]}"
    if done.code not in one.codes:
        return f"exit code {done.code}: {done.output[-600:]}"
    if "ran out of memory" in done.output:
        return f"takes more than {MEMORY >> 30} GB: {done.output[-600:]}"
    if len(done.output) > LONGEST and done.code:
        return f"{len(done.output):,} characters of output: {done.output[:300]}"
    if Path("harmed").exists() or (place.root / "harmed").exists():
        return "code of the input was run"
    return ""
