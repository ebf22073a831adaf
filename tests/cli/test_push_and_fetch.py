"""An adapter is pushed to a hub and fetched from it: private, with its card, as recorded, and nothing by halves.

The client is the real one; the hub is tests/hub_server.py.
"""

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.core.bases import public_name, resolve_base
from multitune.core.errors import InputError, ModelError, RefusedError, VerificationError
from multitune.core.hub import require_on_hub
from multitune.core.hub_folders import fetch
from multitune.data.tokenizer import load_tokenizer
from multitune.model.backbone import load_backbone
from multitune.run import Run
from tests.hub_server import TOKEN, Hub, Repository, hub_server, sha

PLACE = "hub:team/tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Hub]:
    """A hub that can be reached, with a token, and an empty cache."""
    with hub_server() as found:
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        require_on_hub.cache_clear()
        yield found
        require_on_hub.cache_clear()


def made(hub: Hub) -> list[str]:
    """What was written to the hub."""
    return [asked for asked in hub.asked if "repos/create" in asked or "/commit/" in asked]


def test_a_push_is_private_has_its_card_and_verifies_from_there(hub: Hub, finished: Path) -> None:
    done = Run(finished).export("shared", PLACE)
    model = hub.models["team/tiny"]
    assert model.private and model.messages == ["shared of tiny as peft"]
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= model.files.keys()
    assert model.files["README.md"].startswith(b"---")
    assert done.startswith("verified: hub:team/tiny answers") and done.endswith(f"pushed: {hub.url}/team/tiny")
    assert Run(finished).verify(f"{PLACE}@main", "shared").same
    assert not Run(finished).verify(PLACE, "colours").same


def test_a_second_push_is_a_commit_and_the_first_can_still_be_fetched(hub: Hub, finished: Path) -> None:
    for adapter in ("shared", "colours"):
        assert "pushed" in Run(finished).export(adapter, PLACE, verify=False)
    first, last = (fetch(f"{PLACE}{at}", "--against") for at in (f"@{sha(1)}", ""))
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in (first, last)]
    assert weights == [commit["adapter_model.safetensors"] for commit in hub.models["team/tiny"].commits[1:]]
    assert weights[0] != weights[1]


def test_the_command_pushes_in_public_only_where_that_is_said(hub: Hub, finished: Path) -> None:
    command = ["export", str(finished), "--adapter", "shared", "--no-verify", "--to", PLACE]
    done = CliRunner().invoke(app, [*command, "--public"], catch_exceptions=False)
    assert done.exit_code == 0 and f"pushed: {hub.url}/team/tiny" in done.output
    assert not hub.models["team/tiny"].private
    with pytest.raises(RefusedError, match=r"exists and is public\. Give --public to push to it"):
        Run(finished).export("shared", PLACE, verify=False)
    assert len(made(hub)) == 2


def test_what_does_not_answer_as_recorded_is_not_pushed(hub: Hub, finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    weights = run / "adapters" / "shared" / "adapter_model.safetensors"
    save_file({name: tensor * 3 for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(VerificationError, match="does not answer as"):
        Run(run).export("shared", PLACE)
    assert made(hub) == [] and hub.models == {}


def test_what_cannot_be_pushed_is_refused_before_anything_is_made(
    hub: Hub, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(finished)
    with pytest.raises(InputError, match=r"is no name on the hub\. Write it as hub:OWNER/NAME"):
        run.export("shared", "hub:tiny")
    with pytest.raises(InputError, match="Leave out @main"):
        run.export("shared", f"{PLACE}@main")
    with pytest.raises(InputError, match=r"--public: .* is a folder here"):
        run.export("shared", finished / "out", public=True)
    with pytest.raises(RefusedError, match=r"answers 403 .* right to write there"):
        run.export("shared", "hub:others/tiny", verify=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(RefusedError, match="answers 401"):
        run.export("shared", PLACE)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RefusedError, match="Run `hf auth login`, or set HF_TOKEN"):
        run.export("shared", PLACE)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(RefusedError, match="the hub cannot be reached"):
        run.export("shared", PLACE)
    assert hub.models == {} and not (finished / "out").exists()


def test_files_of_another_form_are_not_mixed_with_an_export(hub: Hub, finished: Path) -> None:
    hub.models["team/tiny"] = Repository(True, [{".gitattributes": b"", "config.json": b"{}"}])
    with pytest.raises(RefusedError, match=r"holds config.json, which is no file of this export"):
        Run(finished).export("shared", PLACE, verify=False)
    assert len(hub.models["team/tiny"].commits) == 1


def test_code_and_pickles_of_others_are_not_fetched(hub: Hub) -> None:
    files = {"config.json": b"{}", "modeling.py": b"", "pytorch_model.bin": b"", "a.safetensors": b"", "t.pkl": b""}
    hub.models["others/open"] = Repository(False, [files])
    folder = fetch("hub:others/open", "--against")
    assert sorted(path.name for path in folder.iterdir()) == ["a.safetensors", "config.json"]


@pytest.mark.parametrize(
    ("name", "told"), [("hub:team/none", "no such repository"), ("hub:others/open@v9", "no such revision")]
)
def test_what_is_not_there_is_told(hub: Hub, finished: Path, name: str, told: str) -> None:
    hub.models["others/open"] = Repository(False)
    with pytest.raises(ModelError, match=f"--against {name}: there is {told}"):
        Run(finished).verify(name)


def test_a_base_may_be_named_as_one_of_the_hub(hub: Hub, base_folder: Path, monkeypatch: Any, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in base_folder.iterdir()}
    hub.models["others/base"] = Repository(False, [files])
    ref = resolve_base("hub:others/base")
    assert len(load_tokenizer(ref)) == len(load_tokenizer(resolve_base(str(base_folder))))
    assert load_backbone(ref, device="cpu").model.config.hidden_size == 32
    assert public_name("hub:others/base") == "others/base"
    with pytest.raises(ModelError, match="takes no revision"):
        resolve_base("hub:others/base@main")
    (tmp_path / "others" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="a folder others/base is here as well"):
        resolve_base("hub:others/base")
