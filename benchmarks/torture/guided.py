"""`python -m benchmarks.torture.guided READER`: a reader of files that others wrote, fuzzed along its branches.

Where tests/test_fuzz.py draws values at random, atheris keeps inputs that reach code which none before reached. What a
reader raises, other than its own InputError, ends the run, and the input lies in crash-…; options of libFuzzer go on,
such as `-max_total_time=600`. Needs `pip install atheris` (Linux).
"""

import contextlib
import importlib
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # no need of the project's own
with atheris.instrument_imports(include=["multitune"]):
    from multitune.config.load import load_config
    from multitune.core.errors import InputError
    from multitune.data.formats import read_rows
    from multitune.model.files import CONFIG, read_config
    from multitune.tasks.template import Template

FOLDER = Path(tempfile.mkdtemp(prefix="guided-"))
RUN_FILE = (
    b"base: some/base\ntasks:\n  - {name: t, data: t.jsonl, prompt: '{{ a }}', answer: '{{ b }}', kind: generate}\n"
)


def run_file(data: bytes) -> None:
    """A config, whole or with bytes behind a good one."""
    file = FOLDER / "run.yaml"
    file.write_bytes(data if data[:1] == b"#" else RUN_FILE + data)
    load_config(file)


def data_file(data: bytes) -> None:
    """Rows; the first byte says in which format."""
    name = ("x.jsonl", "x.json", "x.csv", "x.tsv", "x.parquet", "x.xlsx")[(data[0] if data else 0) % 6]
    (FOLDER / name).write_bytes(data[1:])
    list(read_rows(FOLDER / name, "task 't'"))


def template(data: bytes) -> None:
    """A template, rendered with one row."""
    Template(data.decode("utf-8", "replace") or " ", "task 't': prompt").render({"a": "x", "b": [1, {"c": None}]})


def adapter_config(data: bytes) -> None:
    """Settings of an adapter, whole or added to good ones."""
    with contextlib.suppress(ValueError):
        more = json.loads(data)
        data = json.dumps(
            {"peft_type": "LORA", "r": 2, "lora_alpha": 4, **more} if isinstance(more, dict) else more
        ).encode()
    (FOLDER / CONFIG).write_bytes(data)
    read_config(FOLDER)


READERS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (run_file, data_file, template, adapter_config)
}


def main() -> None:
    """Fuzz the reader that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(f"python -m benchmarks.torture.guided READER, one of: {', '.join(READERS)}")
    reader = READERS[sys.argv.pop(1)]
    logging.disable()
    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        with contextlib.suppress(InputError):
            reader(data)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
