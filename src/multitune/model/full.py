"""A whole model as an ordinary folder, which transformers reads."""

from pathlib import Path
from typing import Any

from multitune.core.bases import NO_CODE
from multitune.core.files import write_folder
from multitune.model.backbone import Backbone


def save_full(backbone: Backbone, folder: Path, tokenizer: Any) -> None:
    """Write the model as it is now, atomically.

    Raises:
        StorageError: the disk is full or not writable; a folder that was there before stays as it was.
    """

    def save(part: Path) -> None:
        backbone.model.save_pretrained(part)
        tokenizer.save_pretrained(part)

    write_folder(folder, {}, {}, save=save)


def read_full(backbone: Backbone, folder: Path) -> None:
    """Put the weights of a saved model back into the backbone that they were saved from."""
    from transformers import AutoModelForCausalLM

    stored = AutoModelForCausalLM.from_pretrained(folder, dtype=backbone.dtype, **NO_CODE)
    backbone.model.load_state_dict(stored.state_dict())
