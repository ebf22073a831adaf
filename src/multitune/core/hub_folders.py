"""Folders of a Hugging Face hub, named `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION`: fetched, or pushed.

The token is whatever huggingface_hub finds: `hf auth login`, or the environment variable HF_TOKEN.
"""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from multitune.core.errors import InputError, ModelError, RefusedError, StorageError

PREFIX = "hub:"
NAMED = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
# Of what others put there, only what is read as data: no pickles, no code.
FETCHED = ("*.json", "*.jinja", "*.safetensors", "*.gguf", "*.model", "*.txt", "*.md")
OF_THE_HUB = {".gitattributes", "README.md"}  # files that a repository may hold besides what is pushed


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository of models, and the commit, branch or tag that is meant."""

    id: str
    revision: str | None = None


def is_on_hub(text: str | Path) -> bool:
    """Whether a text names a repository of the hub rather than a path."""
    return str(text).startswith(PREFIX)


def parse_hub_name(text: str, place: str) -> HubName:
    """The parts of `hub:OWNER/NAME@REVISION`.

    Args:
        text: with its prefix.
        place: where the user wrote it, for messages.

    Raises:
        InputError: it is not of that form.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    found = NAMED.fullmatch(text)
    try:
        if found:
            validate_repo_id(found["id"])
            return HubName(found["id"], found["revision"])
    except HFValidationError:
        pass
    raise InputError(f"{place} {text}: is no name on the hub. Write it as hub:OWNER/NAME, or hub:OWNER/NAME@REVISION")


def fetch(text: str, place: str) -> Path:
    """The folder of a repository, downloaded into the cache of huggingface_hub unless it is there.

    Raises:
        ModelError: there is no such repository or revision, this token may not read it, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    name = parse_hub_name(text, place)
    with _hub_faults(f"{place} {text}", ModelError):
        return Path(snapshot_download(name.id, revision=name.revision, allow_patterns=list(FETCHED)))


def require_place(text: str, public: bool, place: str) -> Callable[[Path, str], str]:
    """Find out whether a folder may be pushed before one is made; gives what pushes it.

    Args:
        text: `hub:OWNER/NAME`.
        public: whether everybody may read it. One that is public already is refused without this.
        place: where the user wrote it, for messages.

    Returns:
        Of (folder, message of the commit) -> address: makes the repository unless it is there, and pushes all files
        as one commit.

    Raises:
        InputError: no such form of name.
        RefusedError: no token, a token without the right, or a repository that is public already.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    name, api, where = parse_hub_name(text, place), HfApi(), f"{place} {text}"
    if name.revision:
        raise InputError(f"{where}: a push makes a new commit of the main branch. Leave out @{name.revision}")
    held: set[str] = set()
    with _hub_faults(where, RefusedError):
        api.whoami()
        try:
            info = api.model_info(name.id)
        except RepositoryNotFoundError:
            info = None
    if info is not None:
        held = {file.rfilename for file in info.siblings or ()} - OF_THE_HUB
        if not info.private and not public:
            raise RefusedError(f"{where}: exists and is public. Give --public to push to it, or choose another name")

    def push(folder: Path, message: str) -> str:
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if others := sorted(held - files):
            raise RefusedError(
                f"{where}: it holds {others[0]}, which is no file of this export, and both would be read as one "
                "model. Choose another name, or remove the file there"
            )
        with _hub_faults(where, RefusedError):
            api.create_repo(name.id, private=not public, exist_ok=True)
            api.upload_folder(repo_id=name.id, folder_path=folder, commit_message=message)
        return f"{api.endpoint}/{name.id}"

    return push


@contextmanager
def _hub_faults(where: str, failed: type[ModelError] | type[RefusedError]) -> Generator[None]:
    """Faults of the hub and of the way to it as one message with the remedy."""
    from huggingface_hub import errors

    # Of httpx, or of what a later version uses: the client raises it as it comes.
    unreachable = errors.HTTPError  # pyright: ignore[reportPrivateImportUsage]
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise failed(f"{where}: the hub needs a login. Run `hf auth login`, or set HF_TOKEN") from error
    except errors.GatedRepoError as error:
        raise failed(f"{where}: access is gated by its owner. Request it on the page of the repository") from error
    except errors.RevisionNotFoundError as error:
        raise failed(f"{where}: there is no such revision. Check what stands behind the @") from error
    except errors.RepositoryNotFoundError as error:
        raise failed(f"{where}: there is no such repository, or this token may not see it. Check the name") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        remedy = "Does the token have the right to write there?" if status in (401, 403) else "Try again later"
        raise failed(f"{where}: the hub answers {status} ({_first_line(error)}). {remedy}") from error
    except (unreachable, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise failed(f"{where}: the hub cannot be reached ({type(error).__name__}). Check the connection") from error
    except OSError as error:
        raise StorageError(f"{where}: {error}. Free some room, and run it again") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
