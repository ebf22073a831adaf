"""What a router sees of a text: one vector, from the frozen backbone (no adapter) or from a sentence encoder."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from multitune.core.bases import NO_CODE
from multitune.core.errors import ConfigError, ModelError
from multitune.data.control_tokens import TextEncoder
from multitune.model.backbone import Backbone
from multitune.model.embedding_table import EmbeddingTable

FIRST_TOKENS = 512  # of a text that runs through layers or an encoder; the embedding table reads all
BATCH = 16  # texts at once there


class Features(Protocol):
    """Texts to vectors. Two with the same `key` give the same vectors."""

    key: str

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 (text, width); a text without a token is all zeros."""
        ...


class EmbeddingFeatures:
    """The mean of a text's token embeddings: a look-up, no forward pass."""

    def __init__(self, table: EmbeddingTable, tokenizer: Any) -> None:
        self.key = f"embedding of {table.fingerprint}"
        self._encoder = TextEncoder(tokenizer)
        self._table = table.weight

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 (text, width)."""
        rows = self._encoder.text_ids(texts)
        table = self._table
        out = np.zeros((len(rows), table.shape[1]), dtype=np.float32)
        for place, ids in enumerate(rows):
            if ids:
                chosen = table[torch.tensor(ids, device=table.device)]
                out[place] = chosen.mean(0, dtype=torch.float32).cpu().numpy()
        return out


class LayerFeatures:
    """The mean output of one layer of the bare backbone, without the first token, which carries no meaning.

    Source for leaving it out: massive activations, Sun et al. 2024, arXiv:2402.17762.
    """

    def __init__(self, backbone: Backbone, tokenizer: Any, layer: int) -> None:
        layers = backbone.model.config.get_text_config().num_hidden_layers
        if not 1 <= layer <= layers:
            raise ConfigError(f"router.features is 'layer:{layer}', but this base has layers 1 to {layers}")
        self.key = f"layer {layer} of {backbone.fingerprint}"
        self._backbone, self._encoder, self._layer = backbone, TextEncoder(tokenizer), layer

    @torch.no_grad()
    def of(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 (text, width)."""
        rows = [ids[:FIRST_TOKENS] for ids in self._encoder.text_ids(texts)]
        width = self._backbone.model.config.get_text_config().hidden_size
        out = np.zeros((len(rows), width), dtype=np.float32)
        order = sorted((i for i, ids in enumerate(rows) if ids), key=lambda i: len(rows[i]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            out[batch] = self._means([rows[i] for i in batch])
        return out

    def _means(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        longest = max(map(len, rows))
        ids, mask = torch.zeros(len(rows), longest, dtype=torch.int64), torch.zeros(len(rows), longest)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        device = self._backbone.device
        with self._backbone.routes.over((), 1):
            answer = self._backbone.model(
                input_ids=ids.to(device), attention_mask=mask.to(device), output_hidden_states=True, use_cache=False
            )
        hidden = answer.hidden_states[self._layer].float().cpu()  # (row, token, width)
        if longest > 1:
            mask[:, 0] = (mask.sum(1) == 1).float()  # a text of one token has no other
        return ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()


class EncoderFeatures:
    """The mean output of any sentence encoder that transformers loads."""

    def __init__(self, name: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name, **NO_CODE)
            self._model: Any = AutoModel.from_pretrained(name, **NO_CODE).eval()
        except (OSError, ValueError, KeyError) as error:
            first_line = str(error).strip().split("\n")[0]
            raise ModelError(f"router.features: no encoder could be loaded from {name!r}: {first_line}") from error
        self.key = f"encoder {name}"

    @torch.no_grad()
    def of(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 (text, width)."""
        parts: list[np.ndarray] = []
        for start in range(0, len(texts), BATCH):
            inputs = self._tokenizer(
                list(texts[start : start + BATCH]),
                padding=True,
                truncation=True,
                max_length=FIRST_TOKENS,
                split_special_tokens=True,  # control tokens in a text are text
                return_tensors="pt",
            )
            hidden, mask = self._model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
            parts.append(((hidden * mask).sum(1) / mask.sum(1).clamp_min(1)).float().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self._model.config.hidden_size), dtype=np.float32)


def open_features(name: str, base: Backbone | EmbeddingTable, tokenizer: Any) -> Features:
    """`embedding`, `layer:N` (from 1) or `encoder:` and a hub id or folder.

    Args:
        name: one of these.
        base: of the run; a layer needs it whole.
        tokenizer: of the base.

    Raises:
        ConfigError, ModelError: nothing of that name.
    """
    kind, _, rest = name.partition(":")
    if kind == "encoder":
        return EncoderFeatures(rest)
    if kind == "layer":
        assert isinstance(base, Backbone), "a layer is read of a whole base"
        return LayerFeatures(base, tokenizer, int(rest))
    return EmbeddingFeatures(EmbeddingTable.of(base) if isinstance(base, Backbone) else base, tokenizer)
