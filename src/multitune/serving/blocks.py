"""Which places of the key-value store belong to whom: blocks of tokens, and prompts' blocks that are kept for others.

Source: paged attention, Kwon et al. 2023, arXiv:2309.06180, with its cache of prefixes keyed by the adapter as well.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from multitune.model.slot_cache import SCRATCH

BLOCK = 16  # tokens


def prefix_keys(adapter: str, prompt: np.ndarray) -> list[bytes]:
    """A key for each whole block of a prompt: a digest of the adapter, the block's tokens and all tokens before them.

    The last token is in none, because it must be read to predict the next.
    """
    keys: list[bytes] = []
    key = adapter.encode()
    for end in range(BLOCK, len(prompt), BLOCK):
        key = blake2b(key + prompt[end - BLOCK : end].tobytes(), digest_size=16).digest()
        keys.append(key)
    return keys


@dataclass(slots=True)
class BlockPool:
    """Blocks of the store: free, held by requests, or kept for the prompt that begins alike until room is needed."""

    tokens: int  # of the store, scratch included
    _free: list[int] = field(init=False)
    _holders: dict[int, int] = field(default_factory=dict[int, int])  # block -> requests that hold it
    _kept: dict[bytes, int] = field(default_factory=dict[bytes, int])  # key -> block
    _key_of: dict[int, bytes] = field(default_factory=dict[int, bytes])  # block -> key
    _idle: "OrderedDict[int, None]" = field(default_factory=OrderedDict[int, None])  # kept and not held, oldest first

    def __post_init__(self) -> None:
        self._free = list(range(self.tokens // BLOCK - 1, SCRATCH // BLOCK - 1, -1))

    @property
    def capacity(self) -> int:
        """Tokens of all blocks."""
        return (self.tokens // BLOCK - SCRATCH // BLOCK) * BLOCK

    @property
    def used(self) -> float:
        """Share of the blocks that requests hold."""
        return len(self._holders) * BLOCK / self.capacity

    def cached(self, keys: Sequence[bytes]) -> list[int]:
        """The kept blocks that a prompt with these keys begins with."""
        found: list[int] = []
        for key in keys:
            if key not in self._kept:
                break
            found.append(self._kept[key])
        return found

    def take(self, cached: Sequence[int], tokens: int) -> list[int] | None:
        """Blocks for a request of so many tokens, the first ones those that are kept; None if there is no room."""
        fresh = -(-tokens // BLOCK) - len(cached)
        idle = sum(block in self._idle for block in cached)
        if fresh > len(self._free) + len(self._idle) - idle:
            return None
        for block in cached:
            self._idle.pop(block, None)
            self._holders[block] = self._holders.get(block, 0) + 1
        taken = [self._fresh() for _ in range(fresh)]
        return [*cached, *taken]

    def _fresh(self) -> int:
        if not self._free:
            oldest, _ = self._idle.popitem(last=False)
            del self._kept[self._key_of.pop(oldest)]
            self._free.append(oldest)
        block = self._free.pop()
        self._holders[block] = 1
        return block

    def keep(self, key: bytes, block: int) -> None:
        """Keep a block that was read for prompts that begin alike."""
        if key not in self._kept:
            self._kept[key] = block
            self._key_of[block] = key

    def give_back(self, blocks: Sequence[int]) -> None:
        """A request holds its blocks no longer; the end of a prompt goes before its beginning."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if not self._holders[block]:
                del self._holders[block]
                if block in self._key_of:
                    self._idle[block] = None
                else:
                    self._free.append(block)


def places(blocks: Sequence[int], tokens: int) -> np.ndarray:
    """Where the tokens of a request lie in the store, int64 (token,)."""
    starts = np.array(blocks, dtype=np.int64)[:, None] * BLOCK
    return (starts + np.arange(BLOCK)).reshape(-1)[:tokens]
