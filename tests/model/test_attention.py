"""Laws of trie attention: equal to dense attention under the mask, whatever the chunk, window, cap or grouping."""

import numpy as np
import pytest
import torch

from multitune.core.records import Pack, PackRow, Segments
from multitune.mixture.packing import pack_rows
from multitune.model import attention

WIDTH = 8
WORST = 1e-5  # float32 against a dense computation in another order


@pytest.fixture(scope="module")
def pack(draw_rows) -> Pack:
    return pack_rows(draw_rows((0, 1)), 10_000)[0]


def tensors(tokens: int, heads: int, key_heads: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, h, tokens, WIDTH) for h in (heads, key_heads, key_heads)]
    return tuple(torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes)


def dense(
    parts: tuple[torch.Tensor, ...], pack: Pack, window: int | None = None, cap: float | None = None
) -> torch.Tensor:
    """The same in one product over all pairs; (1, token, head, width)."""
    query, key, value = parts
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    index, end, depth = np.arange(len(pack)), pack.end, pack.position
    seen = (index <= index[:, None]) & (index[:, None] < end)
    if window is not None:
        seen &= depth[:, None] - depth < window
    scores = query @ key.transpose(2, 3) * WIDTH**-0.5
    scores = scores if cap is None else torch.tanh(scores / cap) * cap
    return (scores.masked_fill(~torch.from_numpy(seen), -torch.inf).softmax(-1) @ value).transpose(1, 2)


def over_trie(parts: tuple[torch.Tensor, ...], pack: Pack, **options: object) -> torch.Tensor:
    trie = attention.TrieAttention.of(pack, torch.device("cpu"))
    module = torch.nn.Module()
    return attention.trie_attention(module, *parts, None, trie=trie, scaling=WIDTH**-0.5, **options)[0]


def gradients(output: torch.Tensor, parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    seed = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((output * seed).sum(), parts)


@pytest.fixture(params=[1, 7, 64, 256])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(attention, "CHUNK", request.param)
    return request.param


@pytest.fixture(params=[None, 5], ids=["no window", "window"])
def window(request: pytest.FixtureRequest) -> int | None:
    return request.param


@pytest.fixture(params=[None, 1.5], ids=["no cap", "cap"])
def cap(request: pytest.FixtureRequest) -> float | None:
    return request.param


def test_the_output_is_that_of_dense_attention(pack, chunk, window, cap):
    parts = tensors(len(pack), 4, 2)
    found = over_trie(parts, pack, sliding_window=window, softcap=cap)
    assert torch.allclose(found, dense(parts, pack, window, cap), atol=WORST)


def test_the_gradients_are_those_of_dense_attention(pack, chunk, window, cap):
    parts = tensors(len(pack), 4, 2)
    found = gradients(over_trie(parts, pack, sliding_window=window, softcap=cap), parts)
    expected = gradients(dense(parts, pack, window, cap), parts)
    assert all(torch.allclose(f, e, atol=WORST) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("key_heads", [1, 3, 9])
def test_any_grouping_of_the_heads_is_exact(pack, key_heads):
    parts = tensors(len(pack), 9, key_heads)
    assert torch.allclose(over_trie(parts, pack), dense(parts, pack), atol=WORST)


def test_every_token_asks_in_one_bucket_and_once(pack, chunk):
    trie = attention.TrieAttention.of(pack, torch.device("cpu"))
    asked = torch.cat([bucket.queries for bucket in trie.buckets])
    assert sorted(asked.tolist()) == list(range(len(pack)))


def test_a_chunk_gathers_few_keys_that_none_of_its_queries_sees(pack, chunk):
    trie = attention.TrieAttention.of(pack, torch.device("cpu"))
    for bucket in trie.buckets:
        seen = (bucket.distance >= 0).any(1).sum(1)  # (chunk,)
        wide = bucket.distance.shape[2]
        assert bool((wide - seen < max(attention.KEYS, wide / 4)).all())


def test_a_window_is_measured_along_the_row_and_not_along_the_pack(pack):
    trie = attention.TrieAttention.of(pack, torch.device("cpu"))
    query = len(pack) - 1  # its stem lies many tokens back, on the far side of the other branches
    bucket = next(b for b in trie.buckets if query in b.queries)
    place = bucket.queries.tolist().index(query)
    chunks, queries, keys = bucket.distance.shape
    bias = bucket.bias(4, 1, torch.zeros(1, 1, 1, WIDTH)).view(chunks * queries, keys)[place]
    of_chunk = bucket.keys.view(chunks, keys)[place // queries]
    seen = sorted((of_chunk[bias == 0]).tolist())
    assert pack.position[seen].tolist() == [pack.position[query] - back for back in (3, 2, 1, 0)]


@pytest.mark.parametrize("cap", [None, 1.5])
def test_without_a_trie_it_is_plain_causal_attention(pack, cap):
    parts = tensors(6, 4, 4)
    module = torch.nn.Module()
    found = attention.trie_attention(module, *parts, None, scaling=WIDTH**-0.5, softcap=cap, is_causal=True)[0]
    line = one_line(6)
    assert torch.allclose(found, dense(parts, line, cap=cap), atol=WORST)


def one_line(tokens: int) -> Pack:
    line = np.arange(tokens + 1, dtype=np.int32)
    return pack_rows([PackRow(Segments(line[:-1], line[-1:]), 0, 0)], tokens)[0]
