"""Whether a Hugging Face id can be had, found out in seconds: its libraries retry for most of a minute."""

import sys
from difflib import get_close_matches
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any, Literal

from multitune.core.errors import DataNotFoundError, InputError, ModelError

Kind = Literal["model", "dataset"]
TIMEOUT_SECONDS = 8.0


def names_a_path(text: str, folder: Path) -> bool:
    """Whether a text such as `data/tweets` means a path that starts at the folder, even if there is no such file.

    It does if its own folder exists, or one whose name is nearly the same: a typo is no id of the hub.
    """
    path = Path(text).expanduser()
    if path.is_absolute() or (folder / path).exists():
        return True
    first = path.parts[0] if len(path.parts) > 1 else ""
    return bool(first) and bool(_folders_like(first, folder))


def nearest_path(path: Path) -> str:
    """What a path that does not exist may have meant, as the tail of a message; empty where nothing is near."""
    there = path.parent
    while not there.is_dir() and there != there.parent:
        path, there = there, there.parent
    near = get_close_matches(path.name, sorted(glob("*", root_dir=there)), n=1, cutoff=0.6)
    return f"Did you mean {there / near[0]}? " if near else ""


def _folders_like(name: str, folder: Path) -> list[str]:
    return get_close_matches(name, [one.rstrip("/") for one in glob("*/", root_dir=folder)], n=1, cutoff=0.8)


@cache
def require_on_hub(name: str, kind: Kind, place: str, revision: str | None = None) -> None:
    """Ask once whether an id exists. Where the hub cannot be reached, a downloaded copy is used without asking again.

    Args:
        name: the id.
        kind: of repository.
        place: who asks, for messages, such as `base`.
        revision: commit or tag.

    Raises:
        ModelError, DataNotFoundError: no such id, or the hub cannot be reached and nothing was downloaded before.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    failed: type[InputError] = ModelError if kind == "model" else DataNotFoundError
    if constants.HF_HUB_OFFLINE or Path(name).exists():
        return
    ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
    try:
        ask(name, revision=revision, timeout=TIMEOUT_SECONDS)
    except GatedRepoError:  # what it takes to get in is told by whoever downloads it
        return
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise failed(
            f"{place}: there is no {kind} {name!r} on the hub, and no such path here. Check the name; for a private "
            "one, `hf auth login`"
        ) from error
    except HfHubHTTPError:  # busy, or another fault of the server: the download retries
        return
    except Exception as error:  # no connection; the client's own classes change with its version
        if not _is_downloaded(name, kind):
            raise failed(
                f"{place}: {name!r} is no path here, and the hub cannot be reached to look for it "
                f"({type(error).__name__}). Check the path, or the connection"
            ) from error
        _go_offline(constants)


def _is_downloaded(name: str, kind: Kind) -> bool:
    from huggingface_hub import constants

    if (Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}").is_dir():
        return True
    if kind == "model":
        return False
    from datasets import config

    return (Path(config.HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir()


def _go_offline(constants: Any) -> None:
    """As HF_HUB_OFFLINE=1, which is read only when the libraries are loaded."""
    constants.HF_HUB_OFFLINE = True
    if datasets := sys.modules.get("datasets"):
        datasets.config.HF_HUB_OFFLINE = True
