"""Recipes for launchers are files that parse, and start what exists."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parent.parent / "examples" / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
FILES = sorted(LAUNCH.iterdir())


def test_every_recipe_is_a_script_or_yaml_beside_one_page() -> None:
    assert {path.suffix for path in FILES} == {".md", ".sh", ".sbatch", ".yaml"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_a_script(path: Path) -> None:
    checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_job_of_kubernetes_starts_as_many_pods_as_nodes() -> None:
    service, job = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text("utf-8"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (service["kind"], job["kind"], spec["completionMode"]) == ("Service", "Job", "Indexed")
    command = pod["containers"][0]["command"]
    assert f"--nnodes={spec['completions']}" in command and spec["parallelism"] == spec["completions"]
    assert f"--master-addr={job['metadata']['name']}-0.{service['metadata']['name']}" in command
    assert pod["subdomain"] == service["metadata"]["name"]


def test_the_commands_of_skypilot_are_bash() -> None:
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text("utf-8"))
    for part in ("setup", "run"):
        checked = subprocess.run(["bash", "-n"], input=task[part], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_options_of_torchrun_and_accelerate_exist(path: Path) -> None:
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    launcher = "accelerate launch" if path.name == "accelerate.sh" else "torchrun"
    parser = launch_command_parser() if path.name == "accelerate.sh" else get_args_parser()
    known = {option for action in parser._actions for option in action.option_strings} | {"--resume", "--set"}
    _, _, started = "\n".join(lines).partition(launcher)
    used = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", started))
    assert used and used <= known
