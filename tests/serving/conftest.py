"""A served run in a process of its own; an engine on the tiny base with two adapters, and requests to it."""

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.data.tokenizer import ChatFormat
from multitune.model.bank import AdapterBank
from multitune.serving.engine import Engine, EngineOptions
from multitune.serving.requests import Delta, FinishReason, GenerationRequest
from multitune.serving.sampling import SamplingOptions, TokenLogprob
from tests.cli.conftest import finished, run_fields
from tests.conftest import byte_tokenizer, tiny_model

__all__ = ["finished", "run_fields"]

EOS = 1
GREEDY = SamplingOptions(temperature=0)


@dataclass
class Asked:
    """A request, and what was delivered to it."""

    request: GenerationRequest
    deltas: "queue.Queue[Delta]" = field(default_factory=queue.Queue)
    text: str = ""
    tokens: list[TokenLogprob] = field(default_factory=list)
    prompt: list[TokenLogprob] = field(default_factory=list)
    finish: FinishReason | None = None
    error: str = ""

    def next(self) -> Delta:
        delta = self.deltas.get(timeout=60)
        self.text += delta.text
        self.tokens += [delta.token] if delta.token else []
        self.prompt += delta.prompt
        self.finish, self.error = delta.finish, delta.error
        return delta

    def wait(self) -> "Asked":
        while self.finish is None:
            self.next()
        return self

    @property
    def ids(self) -> list[int]:
        """Without the token that ends the answer."""
        return [one.token for one in self.tokens if one.token != EOS]


def asked(adapter: str, prompt: Sequence[int], max_tokens: int = 8, **how: Any) -> Asked:
    found: list[Asked] = []
    tokens = np.array(prompt, dtype=np.int32)
    how.setdefault("sampling", GREEDY)
    found.append(
        Asked(GenerationRequest(adapter, tokens, max_tokens, lambda delta: found[0].deltas.put(delta), **how))
    )
    return found[0]


def answer(engine: Engine, *requests: Asked) -> list[Asked]:
    """All of them at once."""
    engine.submit([one.request for one in requests])
    return [one.wait() for one in requests]


@pytest.fixture
def engine(bank: AdapterBank, chat: ChatFormat) -> Generator[Engine]:
    engine = Engine(bank, chat.tokenizer, chat.stop_ids, EngineOptions(cache_tokens=2048))
    yield engine
    engine.close()


@contextmanager
def serving(run: Path, *options: str, says: str = "") -> Generator[str]:
    """The address of a run that another process serves; on stderr it says this, or nothing."""
    command = [sys.executable, "-m", "multitune.cli.main", "serve", str(run), "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as server:
        assert server.stdout and server.stderr
        line = server.stdout.readline()
        try:
            assert line, server.stderr.read()
            yield line.split(" at ")[1].split("/v1")[0]
        finally:
            server.send_signal(signal.SIGTERM)
            _, errors = server.communicate(timeout=60)
        assert server.returncode == 0 and says in errors and bool(says) == bool(errors), errors


@pytest.fixture(scope="session")
def server(finished: Path) -> Generator[str]:
    with serving(finished) as url:
        yield url


@pytest.fixture(scope="session")
def byte_run(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose base reads and writes any text."""
    folder, tokenizer = tmp_path_factory.mktemp("bytes"), byte_tokenizer()
    tiny_model(vocabulary=len(tokenizer), positions=1024).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    train = {**run_fields["train"], "max_length": 64, "pack_tokens": 256}
    fields = {**run_fields, "base": str(folder / "base"), "train": train, "output": str(folder / "runs")}
    (folder / "run.json").write_text(json.dumps(fields), "utf-8")
    result = CliRunner().invoke(app, ["train", str(folder / "run.json")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "runs" / "tiny"


@pytest.fixture(scope="session")
def byte_server(byte_run: Path) -> Generator[str]:
    with serving(byte_run) as url:
        yield url
