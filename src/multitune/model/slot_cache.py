"""Keys and values of many requests in one store of fixed size, written to and read from any places of it."""

from typing import Any

import numpy as np
import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

SCRATCH = 64  # the first places: 0 is never written, the others take what only fills a batch up


class SlotCache(Cache):
    """A transformers cache whose tokens lie where `write_to` says, instead of one behind the other."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        """Nothing is allocated before the first token comes.

        Args:
            tokens: that find room, scratch included.
            device: where the model computes.
        """
        self.tokens, self.device = tokens, device
        self.places: torch.Tensor = torch.empty(0, dtype=torch.int64)
        super().__init__(layer_class_to_replicate=lambda: _Layer(self))  # pyright: ignore[reportArgumentType]

    def write_to(self, places: np.ndarray) -> None:
        """Where the tokens of the next forward pass go, int64 (token,)."""
        self.places = torch.from_numpy(places).to(self.device)


class _Layer(CacheLayerMixin):
    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        # Token by token: attention gathers whole rows. Zeros, because masked keys must be numbers as well.
        tokens = self._cache.tokens
        self.keys = key_states.new_zeros(tokens, key_states.shape[1], key_states.shape[3])  # (token, head, width)
        self.values = value_states.new_zeros(tokens, value_states.shape[1], value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write (1, head, token, width) of the new tokens, and give those of all places."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        self.keys.index_copy_(0, self._cache.places, key_states[0].transpose(0, 1))
        self.values.index_copy_(0, self._cache.places, value_states[0].transpose(0, 1))
        return self.keys.transpose(0, 1)[None], self.values.transpose(0, 1)[None]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0  # the mask travels in `trie`

    def get_seq_length(self) -> int:
        return 0  # positions are given

    def get_max_length(self) -> int:
        return self._cache.tokens
