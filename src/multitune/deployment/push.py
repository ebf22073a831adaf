"""An adapter from its run onto a hub: exported, compared with the record, and pushed only if it answers alike."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from multitune.core.hub_folders import require_place
from multitune.core.run_folder import RunFolder
from multitune.deployment.export import Form

Export = Callable[
    [RunFolder, str, Path, Form], str
]  # into a new folder; says how it was verified and how it is loaded


def push(folder: RunFolder, adapter: str, to: str, form: Form, *, public: bool, export: Export) -> str:
    """Export an adapter, and push it to `hub:OWNER/NAME`; says how it was verified and where it is.

    The name and the token are looked at first: nothing is exported that could not be pushed.

    Raises:
        VerificationError: it does not answer as the record says; nothing was pushed.
        InputError: as of `export_adapter` and `require_place`.
    """
    send = require_place(to, public, "--to")
    with tempfile.TemporaryDirectory(prefix="multitune-push-") as parent:
        made = Path(parent) / adapter
        advice = export(folder, adapter, made, form)
        address = send(made, f"{adapter} of {folder.path.name} as {form}")
    return "\n".join(filter(None, [advice.replace(str(made), to), f"pushed: {address}"]))
