"""All pairs of embeddings whose cosine is at least a threshold.

faiss finds candidates, and each is decided again here in float64. For float16 unit vectors that sum is exact (products
are multiples of 2⁻⁴⁸ and the sum is below 2⁵), so neither threads nor instruction sets decide who is a duplicate.

Up to `FLAT` embeddings every pair is compared. Beyond, each embedding is compared with those of the nearest `PROBES` of
about 4·√n lists around embeddings drawn with a fixed seed; a pair is found when either end looks where the other lies.
Measured recall: bench/dedup.py.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLAT = 30_000
PROBES = 16
_SEED = 0
_RESULTS = 2_000_000  # candidates in memory at a time, 16 bytes each
_CHECKED = 4096  # pairs checked at a time: 16 bytes × dimensions each
_SLACK = 1e-4  # above the rounding of a float32 product sum of 2,048 terms

Candidates = tuple[NDArray[np.int64], NDArray[np.int64]]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def pairs_above(vectors: NDArray[np.float16], threshold: float, flat: int = FLAT) -> Iterator[Pairs]:
    """Pairs of rows of `vectors` (n × d, float16, none zero) with cosine ≥ threshold, as (i, j, cosine), i ≠ j.

    In blocks; a pair may come more than once. Memory: 4·d bytes a row up to `flat` rows, 2·d beyond, and the block.
    """
    if len(vectors) < 2:
        return
    norms = np.concatenate([_squares(vectors[s : s + _CHECKED]) for s in range(0, len(vectors), _CHECKED)])
    bound = threshold * float(norms.min() if threshold >= 0 else norms.max()) - _SLACK * float(norms.max())
    for i, j in (_compared if len(vectors) <= flat else _listed)(vectors, bound):
        for start in range(0, len(i), _CHECKED):
            a, b = i[start : start + _CHECKED], j[start : start + _CHECKED]
            dot = np.einsum("ij,ij->i", vectors[a].astype(np.float64), vectors[b].astype(np.float64))
            cosine = dot / np.sqrt(norms[a] * norms[b])
            keep = cosine >= threshold
            if keep.any():
                yield a[keep], b[keep], cosine[keep]


def _squares(block: NDArray[np.float16]) -> NDArray[np.float64]:
    wide = block.astype(np.float64)
    return np.einsum("ij,ij->i", wide, wide)


def _compared(vectors: NDArray[np.float16], bound: float) -> Iterator[Candidates]:
    """Every pair once, by matrix products."""
    wide = vectors.astype(np.float32)
    start, step = 0, 256
    while start < len(wide):
        block = wide[start : start + step]
        i, j = np.nonzero(block @ wide[start:].T >= bound)
        once = j > i
        yield i[once] + start, j[once] + start
        start, step = start + step, _next_step(step, len(i), 1024)


def _next_step(step: int, found: int, most: int) -> int:
    return int(np.clip(step * _RESULTS / 4 / max(found, 1), 1, most))


def _listed(vectors: NDArray[np.float16], bound: float) -> Iterator[Candidates]:
    """Lists around drawn embeddings: nothing is trained, so nothing depends on threads or their order."""
    import faiss
    from faiss.contrib.ivf_tools import add_preassigned, range_search_preassigned

    n, d = vectors.shape
    lists = 1 << int(np.log2(4 * np.sqrt(n)))
    drawn = np.sort(np.random.default_rng(_SEED).choice(n, lists, replace=False))
    quantizer: Any = faiss.IndexFlatIP(d)
    quantizer.add(vectors[drawn].astype(np.float32))
    kind = faiss.ScalarQuantizer.QT_fp16
    index: Any = faiss.IndexIVFScalarQuantizer(quantizer, d, lists, kind, faiss.METRIC_INNER_PRODUCT, False)
    index.is_trained, index.nprobe = True, PROBES
    near, closeness = np.empty((n, PROBES), np.int64), np.empty((n, PROBES), np.float32)
    for start in range(0, n, _CHECKED):
        here = slice(start, min(start + _CHECKED, n))
        block = vectors[here].astype(np.float32)
        closeness[here], near[here] = quantizer.search(block, PROBES)
        add_preassigned(index, block, np.ascontiguousarray(near[here, 0]))
    start, step = 0, 256
    while start < n:
        here = slice(start, min(start + step, n))
        block = vectors[here].astype(np.float32)
        limits, _, found = range_search_preassigned(index, block, bound, near[here], closeness[here])
        i = np.repeat(np.arange(here.start, here.stop), np.diff(limits.astype(np.int64)))
        other = found != i
        yield i[other], found[other]
        start, step = start + step, _next_step(step, len(found), 4096)
