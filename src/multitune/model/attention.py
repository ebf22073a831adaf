"""Attention over a pack of token tries: query q sees key k when k <= q < end[k], and nothing else is computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from multitune.core.records import Pack

NAME = "multitune_trie"
CHUNK = 64  # queries side by side; few enough to skip other branches, enough to keep the matmuls busy
KEYS = 64  # keys come in multiples of this, the last ones masked: kernels are compiled once per shape
BLOCK = 64  # depths of queries side by side, where neighbours must not matter
QUERIES = 4  # fewer side by side are multiplied by other kernels, which add in another order


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Chunks of consecutive queries that all see about as many keys: their ancestors and themselves."""

    queries: torch.Tensor  # int64 (chunk * query,)
    keys: torch.Tensor  # int64 (chunk * key,)
    distance: torch.Tensor  # int64 (chunk, query, key) how far a key lies behind a query in its row; < 0 is not seen

    def bias(self, window: int | None, key_heads: int, query: torch.Tensor) -> torch.Tensor:
        """What is added to scores, (key_head * chunk, group * query, key): 0 where a key is seen, -inf elsewhere."""
        seen = self.distance >= 0 if window is None else (self.distance >= 0) & (self.distance < window)
        bias = query.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
        return bias.repeat(key_heads, query.shape[1] // key_heads, 1)

    def asked(self, x: torch.Tensor, key_heads: int) -> torch.Tensor:
        """A value of each query, (head, token, width), as (key_head * chunk, group * query, width)."""
        return self._side_by_side(x, self.queries, key_heads)

    def seen(self, x: torch.Tensor) -> torch.Tensor:
        """A value of each key, (key_head, token, width), as (key_head * chunk, key, width)."""
        return self._side_by_side(x, self.keys, x.shape[0])

    def _side_by_side(self, x: torch.Tensor, tokens: torch.Tensor, key_heads: int) -> torch.Tensor:
        # Token by token, as the projections wrote it: whole rows are copied.
        rows = x.transpose(0, 1).index_select(0, tokens)
        parts = rows.view(self.distance.shape[0], -1, key_heads, x.shape[0] // key_heads, x.shape[-1])
        return parts.permute(2, 0, 3, 1, 4).reshape(key_heads * len(parts), -1, x.shape[-1])

    def by_token(self, parts: torch.Tensor, key_heads: int) -> torch.Tensor:
        """Back from the shape of `asked` to (token of `queries`, head, width)."""
        chunks, queries, _ = self.distance.shape
        parts = parts.view(key_heads, chunks, -1, queries, parts.shape[-1])
        return parts.permute(1, 3, 0, 2, 4).reshape(chunks * queries, -1, parts.shape[-1])


@dataclass(frozen=True, slots=True)
class TrieAttention:
    """Which keys each query of one pack sees; passed to the model as the keyword `trie`.

    One product per bucket and not per chunk: a pack of many short rows is two or three large products.
    """

    buckets: tuple[_Bucket, ...]
    batch_invariant: bool = False
    _biases: dict[tuple[int | None, int, int], tuple[torch.Tensor, ...]] = field(
        default_factory=dict[tuple[int | None, int, int], tuple[torch.Tensor, ...]]
    )

    @classmethod
    def by_path(cls, pack: Pack, device: torch.device) -> "TrieAttention":
        """The same, with sums whose order depends on a token's own row alone, whatever else the pack holds.

        How many keys are laid out for a query depends on its depth, and the key at depth k lies in place k, because
        queries side by side lie on one path of the trie. In `of` they do not, and keys of other branches lie between.
        """
        alike: dict[tuple[int, int], list[_Chunk]] = {}
        for chunk in _path_chunks(pack.position, pack.end):
            alike.setdefault((len(chunk.queries), chunk.distance.shape[1]), []).append(chunk)
        return cls(tuple(_stacked(chunks, device) for chunks in alike.values()), batch_invariant=True)

    @classmethod
    def behind(cls, paths: Sequence[np.ndarray], new: Sequence[int], device: torch.device) -> "TrieAttention":
        """Queries are the last tokens of each path, whose tokens lie anywhere among the keys; sums as by `by_path`.

        Args:
            paths: int64 (token,) places of a row's tokens among all keys, each.
            new: how many of the last tokens of each path are queries; those of one path stand side by side.
            device: where the model computes.
        """
        alike: dict[tuple[int, int], list[_Chunk]] = {}
        first = 0
        for path, count in zip(paths, new, strict=True):
            depths = np.arange(len(path) - count, len(path))
            queries, first = np.arange(first, first + count), first + count
            for block in range(int(depths[0]) // BLOCK, int(depths[-1]) // BLOCK + 1):
                inside = slice(*np.searchsorted(depths, (block * BLOCK, (block + 1) * BLOCK)))
                chunk = _path_chunk(queries[inside], depths[inside], path)
                alike.setdefault((len(chunk.queries), chunk.distance.shape[1]), []).append(chunk)
        return cls(tuple(_stacked(chunks, device) for chunks in alike.values()), batch_invariant=True)

    @classmethod
    def of(cls, pack: Pack, device: torch.device) -> "TrieAttention":
        """The buckets of a pack; costs O(token * chunk) in the model, never O(token ** 2)."""
        alike: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
        for start in range(0, len(pack), CHUNK):
            query = np.arange(start, min(start + CHUNK, len(pack)))
            seen = np.flatnonzero(pack.end[: query[-1] + 1] > start)
            alike.setdefault((len(query), _rounded(len(seen))), []).append((query, seen))
        return cls(tuple(_bucket(pack, chunks, width, device) for (_, width), chunks in alike.items()))

    def biases(self, window: int | None, key_heads: int, query: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One bias per bucket, the same for all layers alike; a sliding window is measured along the row."""
        layer = (window, key_heads, query.shape[1])
        if layer not in self._biases:
            self._biases[layer] = tuple(bucket.bias(window, key_heads, query) for bucket in self.buckets)
        return self._biases[layer]


def laid_out_keys(pack: Pack) -> int:
    """Keys that `TrieAttention.of` lays out for each query of a pack, summed over its queries."""
    total = 0
    for start in range(0, len(pack), CHUNK):
        stop = min(start + CHUNK, len(pack))
        total += (stop - start) * _rounded(int((pack.end[:stop] > start).sum()))
    return total


def _rounded(keys: int) -> int:
    """Up to a multiple of KEYS, and of an eighth of the next power of two: few buckets, little waste."""
    step = max(KEYS, (1 << (keys - 1).bit_length()) // 8)
    return -(-keys // step) * step


def _bucket(pack: Pack, chunks: Sequence[tuple[np.ndarray, np.ndarray]], width: int, device: torch.device) -> _Bucket:
    queries = np.stack([query for query, _ in chunks])  # (chunk, query)
    keys = np.stack([np.pad(seen, (0, width - len(seen))) for _, seen in chunks])  # (chunk, key)
    real = np.arange(width) < np.array([len(seen) for _, seen in chunks])[:, None]
    visible = (keys[:, None] <= queries[..., None]) & (queries[..., None] < pack.end[keys][:, None]) & real[:, None]
    distance = np.where(visible, pack.position[queries][..., None] - pack.position[keys][:, None], -1)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    return _Bucket(tensor(queries.reshape(-1)), tensor(keys.reshape(-1)), tensor(distance))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Queries on one path of a trie, and the keys they see."""

    queries: np.ndarray  # int64 (query,) the last one repeated up to a power of two
    keys: np.ndarray  # int64 (key,)
    distance: np.ndarray  # int64 (query, key) as in _Bucket


def _path_chunks(position: np.ndarray, end: np.ndarray) -> Iterator[_Chunk]:
    """A pack's tokens from leaf to leaf, cut where BLOCK depths end."""
    leaves = np.flatnonzero(end == np.arange(1, len(end) + 1))
    lone = leaves[position[leaves] == 0]  # such as what fills a slice up
    for start in range(0, len(lone), CHUNK):
        queries = _repeated(lone[start : start + CHUNK])
        yield _Chunk(queries, _padded(queries, KEYS), np.where(np.eye(len(queries), KEYS, dtype=bool), 0, -1))
    path = np.empty(int(position.max()) + 1, dtype=np.int64)  # the open one, by depth
    first = 0
    for leaf in leaves.tolist():
        nodes, first = np.arange(first, leaf + 1), leaf + 1
        depths = position[nodes]
        path[depths] = nodes
        if depths[-1] == 0:
            continue
        for block in range(int(depths[0]) // BLOCK, int(depths[-1]) // BLOCK + 1):
            inside = slice(*np.searchsorted(depths, (block * BLOCK, (block + 1) * BLOCK)))
            yield _path_chunk(nodes[inside], depths[inside], path)


def _path_chunk(queries: np.ndarray, depths: np.ndarray, path: np.ndarray) -> _Chunk:
    """Queries at some depths of one block, and the path they lie on, int64 (depth,)."""
    width = _width(int(depths[-1]))
    distance = _repeated(depths)[:, None] - np.arange(width)
    return _Chunk(_repeated(queries), _padded(path[: int(depths[-1]) + 1], width), np.maximum(distance, -1))


def _width(depth: int) -> int:
    """Keys laid out for a query at some depth: the next multiple of BLOCK, and of a quarter of a power of two."""
    step = max(BLOCK, (1 << depth.bit_length()) // 4)
    return (depth // step + 1) * step


def _repeated(values: np.ndarray) -> np.ndarray:
    """With its last value again, up to a power of two and at least QUERIES: few shapes, which all add alike."""
    return np.pad(values, (0, max(QUERIES, 1 << (len(values) - 1).bit_length()) - len(values)), mode="edge")


def _padded(keys: np.ndarray, width: int) -> np.ndarray:
    return np.pad(keys, (0, width - len(keys)))


def _stacked(chunks: Sequence[_Chunk], device: torch.device) -> _Bucket:
    def tensor(parts: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(parts)).to(device)

    queries, keys = tensor([chunk.queries for chunk in chunks]), tensor([chunk.keys for chunk in chunks])
    return _Bucket(queries.view(-1), keys.view(-1), tensor([chunk.distance for chunk in chunks]))


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
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        return _capped(query, key, value, seen, scale, softcap).transpose(1, 2), None
    _require_window(module, options)
    heads = key.shape[1]
    biases = trie.biases(options.get("sliding_window"), heads, query)
    if softcap is None:
        return _TrieFunction.apply(query, key, value, (trie, biases, scale)), None  # pyright: ignore[reportReturnType]
    out = query.new_zeros(query.shape[2], query.shape[1], value.shape[-1])  # (token, head, width)
    for bucket, bias in zip(trie.buckets, biases, strict=True):
        parts = bucket.asked(query[0], heads), bucket.seen(key[0]), bucket.seen(value[0])
        out = out.index_copy(0, bucket.queries, bucket.by_token(_capped(*parts, bias, scale, softcap), heads))
    return out[None], None  # (1, token, head, width)


class _TrieFunction(torch.autograd.Function):
    """softmax(q kᵀ) v bucket by bucket, with the gradients of shared keys summed in float32.

    Through autograd every bucket would make, clear and add a gradient as large as all keys.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plan: tuple[TrieAttention, tuple[torch.Tensor, ...], float],
    ) -> torch.Tensor:
        trie, biases, scale = plan
        heads = key.shape[1]
        out = query.new_empty(query.shape[2], query.shape[1], value.shape[-1])  # (token, head, width)
        weights: list[torch.Tensor] = []
        for bucket, bias in zip(trie.buckets, biases, strict=True):
            asked, keys, values = bucket.asked(query[0], heads), bucket.seen(key[0]), bucket.seen(value[0])
            # Scaled and masked inside the product, before it is rounded to the compute type.
            turned = keys.transpose(1, 2)
            if trie.batch_invariant:  # for a transposed one MKL picks kernels by the number of queries
                turned = turned.contiguous()
            scores = torch.baddbmm(bias, asked, turned, alpha=scale)
            weights.append(torch.softmax(scores, dim=-1))
            out[bucket.queries] = bucket.by_token(weights[-1] @ values, heads)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.trie, ctx.scale = trie, scale
        return out[None]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        query, key, value, *weights = ctx.saved_tensors
        heads = key.shape[1]
        grad_out = grads[0][0].transpose(0, 1)  # (head, token, width)
        grad_query = query.new_empty(query.shape[2], query.shape[1], query.shape[-1])  # (token, head, width)
        # Branches add up in float32: a shared key gets one summand per chunk.
        grad_key = torch.zeros(key.shape[1:], dtype=torch.float32, device=key.device)
        grad_value = torch.zeros(value.shape[1:], dtype=torch.float32, device=value.device)
        for bucket, weight in zip(ctx.trie.buckets, weights, strict=True):
            asked, grad = bucket.asked(query[0], heads), bucket.asked(grad_out, heads)
            grad_weight = grad @ bucket.seen(value[0]).transpose(1, 2)
            through_softmax = torch.ops.aten._softmax_backward_data
            grad_score = through_softmax(grad_weight, weight, -1, weight.dtype).mul_(ctx.scale)
            grad_query[bucket.queries] = bucket.by_token(grad_score @ bucket.seen(key[0]), heads)
            for total, part in (
                (grad_key, grad_score.transpose(1, 2) @ asked),
                (grad_value, weight.transpose(1, 2) @ grad),
            ):
                total.index_add_(1, bucket.keys, part.view(heads, -1, part.shape[-1]).float())
        return grad_query.transpose(0, 1)[None], grad_key[None].to(key.dtype), grad_value[None].to(value.dtype), None


def _require_window(module: torch.nn.Module, options: dict[str, Any]) -> None:
    """Refuse a model whose window stands in its mask alone, which a trie replaces (Qwen2-MoE, Llama 4)."""
    config: Any = getattr(module, "config", None)
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if "sliding_window" not in options and (windowed or getattr(config, "attention_chunk_size", None)):
        raise ValueError("its attention window is in its mask alone")


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
    """Attention whose scores are capped: softcap * tanh(score / softcap) before the softmax (Gemma 2).

    All (…, token, width), with as many keys' heads as queries' heads; `mask` as in scaled_dot_product_attention.
    """
    scores = torch.tanh((query @ key.transpose(-1, -2)) * (scale / softcap)) * softcap
    # The lowest finite score and not -inf: a padded query sees no key at all, and 0 / 0 would spread.
    lowest = torch.finfo(scores.dtype).min
    scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype) @ value


AttentionInterface.register(NAME, trie_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
