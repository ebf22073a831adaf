"""What ships is what was measured: an export that answers otherwise than the record of its run is refused."""

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from typer.testing import CliRunner, Result

import multitune
from multitune.cli.main import app
from multitune.core.bases import resolve_base
from multitune.core.errors import AdapterError, InputError, VerificationError
from multitune.core.run_folder import RunFolder
from multitune.deployment import verify as module
from multitune.deployment.export import Form, export_adapter
from multitune.model.files import read_pairs
from multitune.model.gguf import base_config
from multitune.model.gguf_lora import write_gguf_lora
from tests.chat_server import model_behind, serving
from tests.conftest import unseal

ADAPTER = "shared"


@pytest.fixture(scope="session")
def run(run_fields: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that learned enough to answer otherwise than its base."""
    folder = tmp_path_factory.mktemp("verify")
    fields = {
        **run_fields,
        "adapters": ["shared", "per_task"],
        "output": str(folder),
        "train": {**run_fields["train"], "epochs": 6, "learning_rate": 0.01},
    }
    return multitune.train(fields).path


def verified(run: Path, target: Path | str, *options: str) -> Result:
    found = CliRunner().invoke(app, ["verify", str(run), "--against", str(target), "--adapter", ADAPTER, *options])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def exported(run: Path, target: Path, form: Form = "peft", adapter: str = ADAPTER) -> Path:
    export_adapter(RunFolder(run), adapter, target, form)
    return target


@pytest.mark.parametrize("form", ["peft", "merged", "gguf"])
def test_a_good_export_of_each_form_is_verified_as_it_is_written(run: Path, tmp_path: Path, form: str) -> None:
    options = ["--adapter", ADAPTER, "--to", str(tmp_path / "out"), "--as", form]
    done = CliRunner().invoke(app, ["export", str(run), *options], catch_exceptions=False)
    assert done.exit_code == 0 and "verified: " in done.output
    assert ("checked by weights, not by answers" in done.output) == (form == "gguf")
    again = verified(run, tmp_path / "out")
    assert again.exit_code == 0, again.output


def test_an_export_that_was_not_to_be_verified_says_nothing_of_it(run: Path, tmp_path: Path) -> None:
    options = ["--adapter", ADAPTER, "--to", str(tmp_path / "out"), "--no-verify"]
    assert "verified" not in CliRunner().invoke(app, ["export", str(run), *options], catch_exceptions=False).output


def test_zeroed_weights_answer_like_the_base(run: Path, tmp_path: Path) -> None:
    file = exported(run, tmp_path / "out") / "adapter_model.safetensors"
    save_file({name: w * 0 if "lora_B" in name else w for name, w in load_file(file).items()}, file)
    found = verified(run, tmp_path / "out")
    assert found.exit_code == 1 and "rows of 'copy' like the base" in found.output


def test_another_scale_makes_right_answers_more_or_less_likely(run: Path, tmp_path: Path) -> None:
    file = exported(run, tmp_path / "out") / "adapter_config.json"
    settings = json.loads(file.read_text("utf-8"))
    (tmp_path / "out" / "multitune.json").unlink()
    file.write_text(json.dumps({**settings, "lora_alpha": 2 * settings["lora_alpha"]}), "utf-8")
    found = verified(run, tmp_path / "out")
    assert found.exit_code == 1 and "nats more or less likely" in found.output


def test_an_export_whose_settings_were_changed_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    file = exported(run, tmp_path / "out") / "adapter_config.json"
    settings = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**settings, "lora_alpha": 2 * settings["lora_alpha"]}), "utf-8")
    with pytest.raises(AdapterError, match=r"adapter_config\.json: it was changed since it was written"):
        verified(run, tmp_path / "out")


def test_a_swapped_adapter_is_named(run: Path, tmp_path: Path) -> None:
    found = verified(run, exported(run, tmp_path / "out", adapter="copy"))
    assert found.exit_code == 1 and "it holds the weights of 'copy'" in found.output


def test_another_chat_template_in_a_merged_folder_is_named(run: Path, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out", "merged")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for m in messages %}general {{ m['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    found = verified(run, folder)
    assert found.exit_code == 1 and "its chat template or tokenizer reads" in found.output


def test_a_gguf_file_of_another_adapter_differs_in_its_weights(run: Path, tmp_path: Path) -> None:
    found = verified(run, exported(run, tmp_path / "out", "gguf", "copy") / "copy.gguf", "--json")
    record = json.loads(found.stdout)
    assert (found.exit_code, record["verdict"], record["by"]) == (1, "differs", "weights")
    assert record["weights"] > 0.1


def test_a_gguf_file_of_zeros_adds_nothing_to_the_base(run: Path, tmp_path: Path) -> None:
    pairs = read_pairs(run / "adapters" / ADAPTER)
    zeros = {name: replace(pair, b=pair.b * 0) for name, pair in pairs.items()}
    write_gguf_lora(zeros, base_config(resolve_base(multitune.open_run(run).config.base)), tmp_path / "zeros.gguf")
    found = verified(run, tmp_path / "zeros.gguf")
    assert found.exit_code == 1 and "it adds nothing to the base" in found.output


def test_a_refused_export_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: RunFolder, name: str, target: Path, form: Form, card: str | None = None) -> str:
        return export_adapter(folder, "copy", target, form, card)

    monkeypatch.setattr(module, "export_adapter", broken)
    with pytest.raises(VerificationError, match=r"does not answer as 'shared'.*The export was deleted"):
        multitune.open_run(run).export(ADAPTER, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_of_a_run_whose_data_is_gone_stays_and_says_so(run: Path, tmp_path: Path) -> None:
    copy = unseal(Path(shutil.copytree(run, tmp_path / "run")))
    (copy / "config.yaml").write_text((copy / "config.yaml").read_text("utf-8").replace("copies.jsonl", "gone.jsonl"))
    assert "not verified: " in multitune.open_run(copy).export(ADAPTER, tmp_path / "out")
    assert (tmp_path / "out" / "adapter_config.json").is_file()


def test_the_base_that_is_loaded_serves_the_verification(run: Path, tmp_path: Path) -> None:
    opened = multitune.open_run(run)
    before = opened.generate("say w1 w7", ADAPTER, 3)
    opened.export(ADAPTER, tmp_path / "out")
    assert opened.verify(tmp_path / "out").same
    assert opened.generate("say w1 w7", ADAPTER, 3) == before


def test_a_server_of_the_merged_model_answers_as_the_record_says(run: Path, tmp_path: Path) -> None:
    with serving(model_behind(str(exported(run, tmp_path / "out", "merged")), "float32")) as server:
        for _ in range(2):  # no answer of the first time is taken from a cache
            found = verified(run, server.url, "--model", "served", "--json")
            assert found.exit_code == 0, found.output
    assert len(server.requests) == 2 * sum(task["rows"] for task in json.loads(found.stdout)["tasks"])


def test_a_server_of_the_base_answers_like_the_base(run: Path, base_folder: Path) -> None:
    with serving(model_behind(str(base_folder), "float32")) as server:
        found = verified(run, server.url, "--model", "served")
    assert found.exit_code == 1 and "like the base" in found.output


def test_a_server_that_is_not_there_gives_one_sentence(run: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(VerificationError, match=r"is the server up\?.*Start it, or give another address") as raised:
        multitune.open_run(run).verify(url)
    assert raised.value.exit_code == 2 and "kept" not in str(raised.value)


def test_what_is_no_target_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no PEFT folder .* Give what `multitune export` made"):
        multitune.open_run(run).verify(tmp_path)
