"""Where base and data are local, no command asks the network for anything."""

import os
import subprocess
import sys
from pathlib import Path

# Python's own audit events see every look-up and connection, whichever library makes them.
WATCH = """
import sys

def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        print("ASKED", event, arguments, file=sys.stderr)
        raise OSError("the network is refused here")

sys.addaudithook(refuse)
"""
RUN = "from multitune.cli.main import run; run()"


def call(*arguments: str, code: str = RUN) -> "subprocess.CompletedProcess[str]":
    # As a user starts it: nothing tells the hub's client that it is offline.
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    command = [sys.executable, "-c", WATCH + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_watch_sees_a_connection() -> None:
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    assert "ASKED socket.getaddrinfo" in call(code=code).stderr


def test_a_whole_run_asks_the_network_for_nothing(run_file: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "runs" / "tiny")
    for command in (
        ["check", str(run_file)],
        ["train", str(run_file)],
        ["eval", folder],
        ["select", folder],
        ["report", folder],
        ["generate", folder, "say w1"],
        ["export", folder, "--adapter", "shared", "--to", str(tmp_path / "out")],
        ["verify", folder, "--against", str(tmp_path / "out")],
        ["runs", "list", str(tmp_path / "runs")],
    ):
        done = call(*command)
        assert "ASKED" not in done.stderr, (command, done.stderr)
        assert done.returncode == 0, (command, done.stderr)
