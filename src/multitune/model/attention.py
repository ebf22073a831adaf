"""Attention over a pack of token tries: query q sees key k when k <= q < end[k], and nothing else is computed."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from multitune.core.records import Pack

NAME = "multitune_trie"
CHUNK = 256  # queries per product; small enough to skip other branches, large enough to keep the matmuls busy
KEYS = 128  # keys come in multiples of this, the last ones masked: kernels are compiled once per shape


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Consecutive queries and the keys that at least one of them sees: their ancestors and themselves."""

    start: int
    stop: int
    keys: torch.Tensor  # int64 (key,)
    mask: torch.Tensor  # bool (query, key)
    distance: torch.Tensor  # int64 (query, key) how far the key lies behind the query in its own row


@dataclass(frozen=True, slots=True)
class TrieAttention:
    """Which keys each query of one pack sees, cut into chunks; passed to the model as the keyword `trie`."""

    chunks: tuple[_Chunk, ...]
    _windows: dict[int, tuple[torch.Tensor, ...]] = field(default_factory=dict[int, tuple[torch.Tensor, ...]])

    @classmethod
    def of(cls, pack: Pack, device: torch.device) -> "TrieAttention":
        """The chunks of a pack; costs O(token * chunk), never O(token ** 2)."""
        end = torch.from_numpy(pack.end).to(device)
        position = torch.from_numpy(pack.position).to(device)
        index = torch.arange(len(pack), device=device)
        chunks: list[_Chunk] = []
        for start in range(0, len(pack), CHUNK):
            stop = min(start + CHUNK, len(pack))
            seen = (end[:stop] > start).nonzero().squeeze(1)
            keys = F.pad(seen, (0, -len(seen) % KEYS))
            query = index[start:stop, None]
            mask = (keys <= query) & (query < end[keys])
            mask[:, len(seen) :] = False
            chunks.append(_Chunk(start, stop, keys, mask, position[start:stop, None] - position[keys]))
        return cls(tuple(chunks))

    def masks(self, window: int | None) -> tuple[torch.Tensor, ...]:
        """One mask per chunk; a sliding window is measured along the row, as `position` counts it."""
        if window is None:
            return tuple(chunk.mask for chunk in self.chunks)
        if window not in self._windows:
            self._windows[window] = tuple(c.mask & (c.distance < window) for c in self.chunks)
        return self._windows[window]


def trie_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, head, token, width)
    key: torch.Tensor,  # (1, key_head, token, width)
    value: torch.Tensor,  # (1, key_head, token, width)
    attention_mask: torch.Tensor | None,
    **options: Any,  # what transformers passes on: scaling, softcap, sliding_window, trie, …
) -> tuple[torch.Tensor, None]:
    """The attention that transformers calls; without a `trie` it is PyTorch's own, for generation."""
    trie: TrieAttention | None = options.pop("trie", None)
    softcap: float | None = options.get("softcap")
    scale: float = options.get("scaling") or query.shape[-1] ** -0.5
    if trie is None:
        if softcap is None:
            return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        seen = _causal_or(attention_mask, query, key)
        return _capped(query, key, value, seen, scale, softcap).transpose(1, 2), None
    _require_window(module, options)
    masks = trie.masks(options.get("sliding_window"))
    if softcap is None:
        return _ChunkedAttention.apply(query, key, value, (trie, masks, scale)), None  # pyright: ignore[reportReturnType]
    outputs = [
        _capped(
            query[:, :, c.start : c.stop],
            key.index_select(2, c.keys),
            value.index_select(2, c.keys),
            mask,
            scale,
            softcap,
        )
        for c, mask in zip(trie.chunks, masks, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None  # (1, token, head, width)


class _ChunkedAttention(torch.autograd.Function):
    """softmax(q kᵀ) v chunk by chunk, with the gradients of shared keys summed in place.

    Through autograd every chunk would make, clear and add a gradient as large as all keys.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plan: tuple[TrieAttention, tuple[torch.Tensor, ...], float],
    ) -> torch.Tensor:
        trie, masks, scale = plan
        heads, tokens = query.shape[1:3]
        out = query.new_empty(1, tokens, heads, value.shape[-1])
        weights: list[torch.Tensor] = []
        for chunk, mask in zip(trie.chunks, masks, strict=True):
            asked, keys, values = _gather(query, key, value, chunk)
            scores = asked @ keys.transpose(1, 2)  # (key_head, group * query, key)
            shown = scores.view(key.shape[1], -1, *mask.shape)
            shown.mul_(scale).masked_fill_(~mask, float("-inf"))
            weights.append(torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype))
            attended = (weights[-1] @ values).view(heads, -1, value.shape[-1])
            out[0, chunk.start : chunk.stop] = attended.transpose(0, 1)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.trie, ctx.scale = trie, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        query, key, value, *weights = ctx.saved_tensors
        grad_query = torch.empty_like(query)
        # Branches add up in float32: a shared key gets one summand per chunk.
        grad_key = torch.zeros(key.shape[1:], dtype=torch.float32, device=key.device)
        grad_value = torch.zeros(value.shape[1:], dtype=torch.float32, device=value.device)
        for chunk, weight in zip(ctx.trie.chunks, weights, strict=True):
            asked, keys, values = _gather(query, key, value, chunk)
            grad = grads[0][0, chunk.start : chunk.stop].transpose(0, 1)  # (head, query, width)
            grad = grad.reshape(key.shape[1], -1, value.shape[-1])  # (key_head, group * query, width)
            grad_weight = grad @ values.transpose(1, 2)
            through_softmax = torch.ops.aten._softmax_backward_data
            grad_score = through_softmax(grad_weight.float(), weight.float(), -1, torch.float32)
            grad_score = grad_score.to(query.dtype).mul_(ctx.scale)
            part = (grad_score @ keys).view(query.shape[1], -1, query.shape[-1])
            grad_query[0, :, chunk.start : chunk.stop] = part
            grad_key.index_add_(1, chunk.keys, (grad_score.transpose(1, 2) @ asked).float())
            grad_value.index_add_(1, chunk.keys, (weight.transpose(1, 2) @ grad).float())
        return grad_query, grad_key[None].to(key.dtype), grad_value[None].to(value.dtype), None


def _gather(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, chunk: _Chunk
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A chunk's queries (key_head, group * query, width) and its keys and values (key_head, key, width)."""
    asked = query[0, :, chunk.start : chunk.stop].reshape(key.shape[1], -1, query.shape[-1])
    return asked, key[0].index_select(1, chunk.keys), value[0].index_select(1, chunk.keys)


def _require_window(module: torch.nn.Module, options: dict[str, Any]) -> None:
    """Refuse a model whose window stands in its mask alone, which a trie replaces (Qwen2-MoE, Llama 4)."""
    config: Any = getattr(module, "config", None)
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if "sliding_window" not in options and (windowed or getattr(config, "attention_chunk_size", None)):
        raise ValueError("it tells its attention window to its mask alone")


def _causal_or(mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    if mask is not None:
        return mask
    shape = (query.shape[2], key.shape[2])
    return torch.ones(shape, dtype=torch.bool, device=query.device).tril(key.shape[2] - query.shape[2])


def _capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    softcap: float,
) -> torch.Tensor:
    """Attention whose scores are capped: softcap * tanh(score / softcap) before the softmax (Gemma 2)."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = (query @ key.transpose(2, 3)) * scale
    scores = torch.tanh(scores / softcap) * softcap
    # The lowest finite score and not -inf: a padded query sees no key at all, and 0 / 0 would spread.
    lowest = torch.finfo(scores.dtype).min
    scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype) @ value


AttentionInterface.register(NAME, trie_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
