"""Where base and data are local, no command asks the network for anything."""

import json
import os
import subprocess
import sys
from pathlib import Path

# Python's own audit events see every look-up and connection, whichever library makes them.
WATCH = """
import json, sys

def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        print("ASKED", event, arguments, file=sys.stderr)
        raise OSError("the network is refused here")

sys.addaudithook(refuse)
"""
COMMANDS = """
from multitune.cli.main import app
for command in json.loads(sys.argv[1]):
    print("DONE", command[0], app(command, standalone_mode=False) or 0, file=sys.stderr)
"""


def watched(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # As a user starts it: nothing tells the hub's client that it is offline.
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    command = [sys.executable, "-c", WATCH + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_watch_sees_a_look_up() -> None:
    found = watched("import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')")
    assert "ASKED socket.getaddrinfo" in found.stderr


def test_a_whole_run_asks_the_network_for_nothing(run_file: Path, tmp_path: Path) -> None:
    folder, out = str(tmp_path / "runs" / "tiny"), str(tmp_path / "out")
    commands = [
        ["audit", str(run_file)],
        ["check", str(run_file)],
        ["train", str(run_file)],
        ["eval", folder],
        ["select", folder],
        ["report", folder],
        ["generate", folder, "say w1"],
        ["export", folder, "--adapter", "shared", "--to", out],
        ["verify", folder, "--against", out],
        ["runs", "list", str(tmp_path / "runs")],
    ]
    found = watched(COMMANDS, json.dumps(commands))
    assert "ASKED" not in found.stderr, found.stderr
    assert [line for line in found.stderr.splitlines() if line.startswith("DONE")] == [
        f"DONE {command[0]} 0" for command in commands
    ]
