"""All pairs of 256-bit hashes within a Hamming radius: exact, by multi-index hashing.

Pigeonhole: cut 256 bits into b bands; two hashes that differ in at most r = q·b + a bits (a < b) agree within q bits
in one of the first a + 1 bands, or within q − 1 bits in one of the others (Norouzi, Punjani, Fleet: "Fast exact search
in Hamming space with multi-index hashing", arXiv 1307.2982). So each band is looked up under every mask of so many bits
and the candidates are checked on all 256. With 16 bands and r = 31, 17 masks a band: 0.2 % of all pairs are checked.
Beyond the radius where that stops paying, faiss compares everything.
"""

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

BITS = 256
_CHUNK = 1 << 18  # candidates at a time: 20 MB
_FLAT_PAYS = 0.02  # share of all pairs; checking a candidate costs 20–50 times what faiss needs for a pair
_FLAT_RESULTS = 4_000_000

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]]


def pairs_within(hashes: NDArray[np.uint8], radius: int, width: int | None = None) -> Iterator[Pairs]:
    """Every pair of rows of `hashes` (n × 32, uint8) at most `radius` bits apart, as (i, j, distance), i ≠ j.

    In blocks; a pair may come more than once. Memory: about 150 bytes a hash besides the block. `width`: bits per band;
    by default 16, and 22 from a million hashes on.
    """
    n = len(hashes)
    width = width or (16 if n < 1_000_000 else 22)
    bands = list(_bands(radius, width))
    share = sum(sum(comb(size, k) for k in range(flips + 1)) / 2**size / 2 for _, size, flips in bands)
    if n < 2:
        return
    if share > _FLAT_PAYS:
        yield from pairs_by_comparing(hashes, radius)
        return
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for start, size, flips in bands:
        yield from _band(words, _keys(hashes, start, size), _masks(size, flips), radius)


def _bands(radius: int, width: int) -> Iterator[tuple[int, int, int]]:
    """(first bit, bits, bits that may differ) of each band that must be looked at."""
    count = -(-BITS // width)
    edges = np.linspace(0, BITS, count + 1).astype(int)
    q, a = divmod(radius, count)
    for i in range(count):
        flips = q if i <= a else q - 1
        if flips >= 0:
            yield int(edges[i]), int(edges[i + 1] - edges[i]), flips


def _keys(hashes: NDArray[np.uint8], start: int, size: int) -> NDArray[np.uint32]:
    """Bits [start, start + size) of each hash as a number."""
    first = min(start // 8, BITS // 8 - 8)
    window = np.ascontiguousarray(hashes[:, first : first + 8]).view(">u8").ravel().astype(np.uint64)
    shift = np.uint64(first * 8 + 64 - start - size)
    return ((window >> shift) & np.uint64(2**size - 1)).astype(np.uint32)


def _masks(size: int, flips: int) -> list[int]:
    return [sum(1 << bit for bit in chosen) for k in range(flips + 1) for chosen in combinations(range(size), k)]


def _band(words: NDArray[np.uint64], keys: NDArray[np.uint32], masks: list[int], radius: int) -> Iterator[Pairs]:
    """Pairs whose keys differ by one of the masks. Rows are sorted by key, so a bucket is a run."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    head, tail = np.ascontiguousarray(words[order, :2]), np.ascontiguousarray(words[order, 2:])
    buckets, starts = np.unique(keys, return_index=True)
    ends = np.append(starts[1:], len(keys))
    for mask in masks:
        wanted = keys ^ np.uint32(mask)
        at = np.minimum(np.searchsorted(buckets, wanted), len(buckets) - 1)
        there = (buckets[at] == wanted) & (wanted >= keys)  # each pair of buckets once
        low = starts[at] if mask else np.arange(1, len(keys) + 1)  # in one bucket, each pair of rows once
        count = np.where(there, ends[at] - low, 0)
        for i, j in _spelled_out(low, count):
            distance = np.bitwise_count(head[i] ^ head[j]).sum(1, dtype=np.uint16)
            near = np.flatnonzero(distance <= radius)  # half of the bits rule out nearly all
            i, j = i[near], j[near]  # noqa: PLW2901
            distance = distance[near] + np.bitwise_count(tail[i] ^ tail[j]).sum(1, dtype=np.uint16)
            near = distance <= radius
            if near.any():
                yield order[i[near]], order[j[near]], distance[near]


def _spelled_out(
    low: NDArray[np.int64], count: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs (i, low[i] + k) for k < count[i], about `_CHUNK` at a time, at least one i at a time."""
    total = np.cumsum(count)
    start, n = 0, len(count)
    while start < n:
        before = int(total[start - 1]) if start else 0
        if total[-1] == before:
            return
        stop = max(start + 1, int(np.searchsorted(total, before + _CHUNK, side="right")))
        here = count[start:stop]
        i = np.repeat(np.arange(start, stop), here)
        shift = np.repeat(low[start:stop] - (total[start:stop] - here - before), here)
        yield i, np.arange(len(i)) + shift
        start = stop


def pairs_by_comparing(hashes: NDArray[np.uint8], radius: int) -> Iterator[Pairs]:
    """The same pairs, each once, by faiss' comparison of everything with everything."""
    import faiss

    index = faiss.IndexBinaryFlat(BITS)
    index.add(np.ascontiguousarray(hashes))  # pyright: ignore[reportCallIssue]
    start, step = 0, 256
    while start < len(hashes):
        block = np.ascontiguousarray(hashes[start : start + step])
        limits, distances, found = index.range_search(block, radius + 1)  # pyright: ignore[reportCallIssue]
        i = np.repeat(np.arange(start, start + len(block)), np.diff(limits.astype(np.int64)))
        once = found > i
        yield i[once], found[once], distances[once].astype(np.uint16)
        start += step
        step = int(np.clip(step * _FLAT_RESULTS / 4 / max(len(found), 1), 1, 4096))
