"""Near duplicates: MinHash-LSH proposes pairs of texts, and the exact Jaccard index of their shingles decides."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import rensa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from multitune.core.text import text_key

SHINGLE = 5  # bytes; longer shingles would miss short texts with a typo or two
LEAST_BYTES = 24  # shorter texts, such as "3 apples" and "4 apples", are compared as a whole alone
PERMUTATIONS, BAND = 64, 4  # 16 bands of 4: a pair at Jaccard 0.7 is proposed with probability 0.99
SEED = 17
SPARE = 5.0  # standard deviations by which two signatures may agree less than texts that are near do
TEXTS = 10_000  # hashed at once
PAIRS = 2**14  # compared at once
_BITS = 8 * SHINGLE  # of the 64, the others hold the number of a pair

Texts = Callable[[], Iterable[str]]


def near_clusters(numbers: np.ndarray, texts: Texts, jaccard: float) -> np.ndarray:
    """The cluster of each row, int64 (row,): texts that are equal or near, directly or through each other.

    Args:
        numbers: uint64 (row,) equal where the texts are.
        texts: gives what the rows show, in order, each time that it is called.
        jaccard: least index of the sets of shingles of two texts that are near.
    Source: Broder 1997, "On the resemblance and containment of documents".
    """
    _, first, node = np.unique(numbers, return_index=True, return_inverse=True)
    chosen = np.zeros(len(numbers), dtype=bool)
    chosen[first] = True
    order = np.flatnonzero(chosen)  # the rows whose texts are compared, ascending
    signatures = _signatures(_keys(texts(), chosen))
    pairs = _proposed(_bands(signatures))  # (pair, 2) places in `order`
    pairs = pairs[_possible(pairs, signatures, jaccard)]
    near = pairs[_confirmed(pairs, order, texts, jaccard)]
    left, right = node[order[near[:, 0]]], node[order[near[:, 1]]]
    size = len(first)
    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(size, size))
    _, cluster = connected_components(graph, directed=False)
    return cluster[node].astype(np.int64)


def _keys(texts: Iterable[str], chosen: np.ndarray) -> Iterator[bytes]:
    """The texts that are compared: without case and spacing, as UTF-8."""
    for text, is_chosen in zip(texts, chosen.tolist(), strict=True):
        if is_chosen:
            yield text_key(text).encode("utf-8", "replace")


def _shingles(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All shingles of some texts, uint64 (shingle,), and how many each text has, int64 (text,)."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    joined = np.frombuffer(b"".join(texts) + bytes(SHINGLE), np.uint8).astype(np.uint64)
    starts = len(joined) - SHINGLE
    windows = np.zeros(starts, dtype=np.uint64)
    for at in range(SHINGLE):
        windows |= joined[at : at + starts] << np.uint64(8 * (SHINGLE - 1 - at))
    inside = np.ones(starts + 1, dtype=bool)
    ends = np.cumsum(sizes)
    for back in range(1, SHINGLE):  # those that reach into the next text
        inside[(ends - back)[sizes >= back]] = False
    return windows[inside[:starts]], np.maximum(sizes - (SHINGLE - 1), 0)


def _signatures(texts: Iterable[bytes]) -> np.ndarray:
    """uint32 (text, permutation): equal with probability jaccard; 0 for texts too short to compare."""
    found: list[np.ndarray] = []
    batch: list[bytes] = []
    for text in texts:
        batch.append(text)
        if len(batch) == TEXTS:
            found.append(_batch_signatures(batch))
            batch = []
    return np.concatenate([*found, _batch_signatures(batch)])


def _batch_signatures(texts: list[bytes]) -> np.ndarray:
    found = np.zeros((len(texts), PERMUTATIONS), dtype=np.uint32)
    long = np.flatnonzero(np.fromiter((len(text) >= LEAST_BYTES for text in texts), bool, len(texts)))
    if not len(long):
        return found
    shingles, counts = _shingles([texts[place] for place in long.tolist()])
    mixed = (shingles ^ (shingles >> np.uint64(23))) * np.uint64(0x9E3779B97F4A7C15)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    digest = rensa.RMinHash.digest_matrix_from_flat_token_hashes  # pyright: ignore[reportAttributeAccessIssue]
    found[long] = np.array(digest(mixed, offsets, PERMUTATIONS, SEED).to_rows(), dtype=np.uint32)
    return found


def _bands(signatures: np.ndarray) -> np.ndarray:
    """uint64 (text, band): equal in a band with probability jaccard ** BAND; 0 for texts too short to compare."""
    factors = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64)
    bands = np.zeros((len(signatures), PERMUTATIONS // BAND), dtype=np.uint64)
    for first in range(0, len(signatures), TEXTS):
        part = signatures[first : first + TEXTS].astype(np.uint64).reshape(-1, PERMUTATIONS // BAND, BAND)
        bands[first : first + TEXTS] = (part * factors).sum(axis=2, dtype=np.uint64) | np.uint64(1)
    bands[~signatures.any(axis=1)] = 0
    return bands


def _proposed(bands: np.ndarray) -> np.ndarray:
    """int64 (pair, 2): texts with an equal band, each with the next and with the first of its bucket.

    The number of pairs so stays linear where many texts are alike; clusters are joined through the chain.
    """
    size = len(bands)
    if not size:
        return np.zeros((0, 2), dtype=np.int64)
    pairs: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        values = band[order]
        same = np.flatnonzero((values[1:] == values[:-1]) & (values[1:] > 0)) + 1
        starts = np.concatenate([[True], values[1:] != values[:-1]])
        head = np.maximum.accumulate(np.where(starts, np.arange(size), 0))
        pairs.append(np.concatenate([order[same - 1], order[head[same]]]) * size + np.tile(order[same], 2))
    found = _distinct(np.concatenate(pairs))
    return np.stack([found // size, found % size], axis=1)


def _possible(pairs: np.ndarray, signatures: np.ndarray, jaccard: float) -> np.ndarray:
    """Whether a pair agrees as often as one at this Jaccard index may, bool (pair,): most that share a band do not."""
    least = PERMUTATIONS * jaccard - SPARE * (PERMUTATIONS * jaccard * (1.0 - jaccard)) ** 0.5
    agreed = np.zeros(len(pairs), dtype=np.int64)
    for first in range(0, len(pairs), PAIRS):
        left, right = (signatures[side] for side in pairs[first : first + PAIRS].T)
        agreed[first : first + PAIRS] = (left == right).sum(axis=1)
    return agreed >= least


def _confirmed(pairs: np.ndarray, order: np.ndarray, texts: Texts, jaccard: float) -> np.ndarray:
    """Whether the Jaccard index of each pair is high enough, bool (pair,)."""
    wanted = np.zeros(int(order[-1]) + 1 if len(order) else 0, dtype=bool)
    needed = np.unique(pairs)
    wanted[order[needed]] = True
    kept = dict(zip(needed.tolist(), _keys(islice(texts(), len(wanted)), wanted), strict=True))
    found = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), PAIRS):
        part = pairs[start : start + PAIRS]
        left, right = (_numbered([kept[place] for place in side]) for side in part.T.tolist())
        common = np.bincount((np.intersect1d(left, right, True) >> np.uint64(_BITS)).astype(np.int64), None, len(part))
        sizes = (np.bincount((side >> np.uint64(_BITS)).astype(np.int64), None, len(part)) for side in (left, right))
        found[start : start + PAIRS] = common >= jaccard * (sum(sizes) - common)
    return found


def _numbered(texts: list[bytes]) -> np.ndarray:
    """Different shingles of some texts, each with the place of its text in the bits above it, uint64 (shingle,)."""
    shingles, counts = _shingles(texts)
    return _distinct(shingles | (np.repeat(np.arange(len(texts), dtype=np.uint64), counts) << np.uint64(_BITS)))


def _distinct(values: np.ndarray) -> np.ndarray:
    """The different values in ascending order; by sorting, which is faster here than the hashing of np.unique."""
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values
