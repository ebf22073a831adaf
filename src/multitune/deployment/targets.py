"""What a run is checked against: a PEFT or model folder, a GGUF file, or a server, each as a language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multitune.core.bases import BASE, BaseRef
from multitune.core.errors import InputError, MultituneError, VerificationError
from multitune.core.hub_folders import fetch, is_on_hub
from multitune.core.records import Prediction
from multitune.core.results.verification import Target
from multitune.core.run_folder import RunFolder
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.evaluation.external import ComparisonTask, answers_of
from multitune.inference.api import ApiModel
from multitune.inference.budget import Caps, Ledger
from multitune.inference.chat import open_endpoint
from multitune.inference.local import LocalModel
from multitune.inference.openai_client import OpenAIClient, RetryPolicy
from multitune.inference.predict import longest_answer
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import CONFIG, load_adapter, require_base
from multitune.training.prepare import PreparedRun

RETRIES = 2  # of a server that does not answer
TOKENIZER = "tokenizer_config.json"


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenAI-compatible server."""

    url: str
    model: str
    key_env: str | None = None


def form_of(target: str, place: str = "--against") -> tuple[Target, Path]:
    """What a target is, and its folder or file; one of the hub is fetched, and nothing is loaded.

    Args:
        target: a folder, a file, an address, or `hub:OWNER/NAME`.
        place: where the user named it, for messages.

    Raises:
        InputError: it is none of the forms.
    """
    path = fetch(target, place) if is_on_hub(target) else Path(target)
    if target.startswith(("http://", "https://")):
        return "server", path
    if path.is_dir():
        files = sorted(path.glob("*.gguf"))
        if (path / CONFIG).is_file():
            return "peft", path
        if (path / "config.json").is_file():
            return "merged", path
        path = files[0] if len(files) == 1 else path
    if path.is_file() and path.suffix == ".gguf":
        return ("gguf_lora" if _is_adapter(path, place) else "gguf"), path
    raise InputError(
        f"{place} {target}: is no PEFT folder (adapter_config.json), no model folder (config.json), no .gguf file "
        "no http:// address and no hub:OWNER/NAME. Give what `multitune export` made, or the address of a server"
    )


def _is_adapter(path: Path, place: str) -> bool:
    from gguf import GGUFReader, Keys

    try:
        return Keys.Adapter.TYPE in GGUFReader(path).fields
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{place} {path}: damaged ({error}). Export it again") from error


def open_folder(path: Path, form: Target, run: PreparedRun, backbone: Backbone | None) -> LocalModel:
    """An exported adapter on the run's base, or a whole model, which reads prompts by its own tokenizer if it has one.

    Args:
        path: a PEFT folder, a model folder or a GGUF file.
        form: which of them.
        run: whose base and settings are taken.
        backbone: the run's base, without a bank; loaded when None and needed.

    Raises:
        InputError: it is damaged, or made for another base.
    """
    config = run.config
    ref = BaseRef(str(path), str(path.parent), path.name) if form == "gguf" else BaseRef(str(path), str(path))
    chat = run.chat
    if form != "peft" or (path / TOKENIZER).is_file():
        chat = ChatFormat(load_tokenizer(ref), config.system)
    if form != "peft":
        return LocalModel(AdapterBank(load_backbone(ref, config.device, config.dtype)), BASE, chat, config)
    bank = AdapterBank(backbone or load_backbone(run.ref, config.device, config.dtype, config.quantization))
    try:
        load_adapter(bank, path, "target")
    except MultituneError:
        bank.close()
        raise
    return LocalModel(bank, "target", chat, config)


def open_own(folder: RunFolder, adapter: str, run: PreparedRun) -> LocalModel:
    """An adapter of the run itself, on the base that it was trained on."""
    config, path = run.config, folder.adapters[adapter]
    if config.method == "full":
        tuned = load_backbone(BaseRef(adapter, str(path)), config.device, config.dtype)
        return LocalModel(AdapterBank(tuned), BASE, run.chat, config)
    bank = AdapterBank(load_backbone(run.ref, config.device, config.dtype, config.quantization))
    require_base(bank.backbone, path)
    load_adapter(bank, path, adapter)
    return LocalModel(bank, adapter, run.chat, config)


def ask_server(
    server: Server, tasks: Sequence[ComparisonTask], place: str = "--against"
) -> Mapping[str, list[Prediction]]:
    """Task -> what a server answers now; no answer is taken from or put into the response cache.

    Args:
        server: to ask.
        tasks: whose rows it answers.
        place: where the user named it, for messages.

    Raises:
        VerificationError: it cannot be reached, or is busy or broken beyond the retry policy.
        RefusedError: a wrong key, an unknown model, or a request that it does not take.
    """
    client = OpenAIClient(open_endpoint(server.model, server.url, server.key_env), RetryPolicy(retries=RETRIES))
    model = ApiModel(client, Ledger(Caps()), parameters={})
    for task in tasks:
        model.read_as(task.item.name, task.run.chat, task.run.config.system)
    try:
        return answers_of(model, tasks)
    except MultituneError as error:
        cause: BaseException = error
        while cause.__cause__ is not None and isinstance(cause.__cause__, MultituneError):
            cause = cause.__cause__  # without what a comparison says of kept answers
        if isinstance(cause, InputError):
            raise type(cause)(f"{place} {cause}") from error
        raise VerificationError(f"{place} {cause}. Start it, or give another address") from error


def written_freely(model: LocalModel, task: ComparisonTask) -> list[str]:
    """What a local model writes where a task's labels are else picked by likelihood, as a server must write them."""
    stops = task.item.data.task.config.stop
    return [one.text for one in model.generate(task.examples, longest_answer(task.item), stops)]
