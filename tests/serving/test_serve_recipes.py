"""The unit of systemd and the image start `serve` as the command line takes it, stop it in time, and look after it."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from multitune.cli.main import app
from multitune.serving.access import OPEN
from multitune.serving.server import GRACE

ROOT = Path(__file__).parent.parent.parent
SERVE = ROOT / "examples" / "serving"
IMAGE = [
    (line.partition(" ")[0], line.partition(" ")[2].strip())
    for line in re.sub(
        r"\\\n\s*", "", re.sub(r"^#.*\n", "", (SERVE / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    ).splitlines()
    if line
]


def options(command: list[str]) -> dict[str, Any]:
    """What the command line makes of a command, which is not run."""
    assert Path(command[0]).name == "multitune"
    verb = typer.main.get_command(app).commands[command[1]]  # pyright: ignore[reportAttributeAccessIssue]
    assert verb.name == "serve"
    return verb.make_context("serve", command[2:]).params


def of(instruction: str) -> list[str]:
    """What the image says by an instruction, each time."""
    return [rest for name, rest in IMAGE if name == instruction]


COMPOSE = yaml.safe_load((SERVE / "compose.yaml").read_text("utf-8"))


@pytest.fixture
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read_string((SERVE / "multitune.service").read_text("utf-8"))
    return parser


def test_the_unit_serves_this_machine_alone(unit: ConfigParser) -> None:
    given = options(shlex.split(unit["Service"]["ExecStart"]))
    assert given["host"] == "127.0.0.1" and given["run"].is_relative_to(unit["Service"]["WorkingDirectory"])


def test_the_unit_has_no_rights_to_spare_and_gives_requests_their_time(unit: ConfigParser) -> None:
    service = unit["Service"]
    assert service["User"] not in ("root", "0") and service["NoNewPrivileges"] == "yes"
    assert service["ReadWritePaths"] == service["WorkingDirectory"] and service["ProtectSystem"] == "strict"
    assert int(service["TimeoutStopSec"]) > GRACE
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert service["EnvironmentFile"].startswith("/etc/") and "--api-key" not in service["ExecStart"]
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_the_command_of_the_image_is_taken_and_its_port_is_the_one_that_is_shown() -> None:
    (command,), (port,) = of("CMD"), of("EXPOSE")
    given = options(json.loads(command))
    assert (given["host"], given["port"]) == ("0.0.0.0", int(port))
    assert f"{given['run']}:ro" in (SERVE / "README.md").read_text("utf-8")


def test_the_image_asks_for_health_at_its_port() -> None:
    (check,), (port,) = of("HEALTHCHECK"), of("EXPOSE")
    program, flag, code = json.loads(check.partition("CMD")[2])
    assert (program, flag) == ("python", "-c") and compile(code, "HEALTHCHECK", "exec")
    assert re.findall(r"HTTPConnection\('127\.0\.0\.1', (\d+)", code) == [port]
    assert set(re.findall(r"'(/\w*)'", code)) == {"/health"} <= set(OPEN)


@pytest.mark.parametrize(("path", "code"), [("/health", 0), ("/nothing", 1)])
def test_the_check_of_health_tells_a_server_from_none(byte_server: str, path: str, code: int) -> None:
    (check,), (port,) = of("HEALTHCHECK"), of("EXPOSE")
    text = json.loads(check.partition("CMD")[2])[2]
    asked = text.replace(port, byte_server.rpartition(":")[2]).replace("/health", path)
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_the_image_runs_as_a_user_that_it_makes_once_the_package_is_installed() -> None:
    names = [name for name, _ in IMAGE]
    (user,) = of("USER")
    install, made = of("RUN")
    assert user not in ("root", "0") and made.endswith(f" {user}")
    assert names.index("RUN") < names.index("USER") < names.index("CMD")
    assert "pip install" in install and install.endswith("'.[serve]'")


def test_the_image_copies_what_the_package_is_built_of_and_nothing_of_it_is_ignored() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    copied = {source for line in of("COPY") for source in line.split()[:-1]}
    needed = {project["readme"], *(file.partition("/")[0] for file in project["license-files"])}
    assert needed | {"pyproject.toml", "src"} <= copied and "serve" in project["optional-dependencies"]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    (everything, *rules) = (SERVE / "Dockerfile.dockerignore").read_text("utf-8").split()
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert everything == "*" and kept == copied
    assert not any(fnmatch(source, rule) for source in copied for rule in rules if not rule.startswith("!"))


def test_the_router_of_the_compose_file_asks_its_neighbour_and_alone_has_a_port() -> None:
    vllm, router = COMPOSE["services"]["vllm"], COMPOSE["services"]["router"]
    given = options(shlex.split(router["command"]))
    (port,) = router["ports"]
    assert port == f"127.0.0.1:{given['port']}:{given['port']}" and "ports" not in vllm
    flags = shlex.split(re.sub(r"\$\{.*?\}", "BASE", vllm["command"]))
    assert given["upstream"] == f"http://vllm:{flags[flags.index('--port') + 1]}/v1" and given["key_env"] is None
    assert router["depends_on"] == {"vllm": {"condition": "service_healthy"}}
    assert flags[flags.index("--port") + 1] in vllm["healthcheck"]["test"][-1]


def test_both_services_see_the_run_at_one_path_and_read_only() -> None:
    vllm, router = COMPOSE["services"]["vllm"], COMPOSE["services"]["router"]
    assert vllm["volumes"][0] == router["volumes"][0]
    source, _, rest = vllm["volumes"][0].partition("}:")
    assert source.startswith("${RUN_FOLDER:?") and rest == f"{options(shlex.split(router['command']))['run']}:ro"
    kept = {volume.partition(":")[0] for one in (vllm, router) for volume in one["volumes"][1:]}
    assert kept == set(COMPOSE["volumes"])
    assert router["image"] in (SERVE / "README.md").read_text("utf-8")


def test_empty_keys_of_the_compose_file_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    router = COMPOSE["services"]["router"]
    for name, value in router["environment"].items():
        assert value == f"${{{name}:-}}"
        monkeypatch.setenv(name, "")
    given = options(shlex.split(router["command"]))
    assert not given["api_key"] and not given["admin_key"]
