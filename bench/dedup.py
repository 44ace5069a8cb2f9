"""Duplicate search against comparing everything: pairs found, and what they cost.

Near: random 256-bit hashes, one in twenty a copy of another with 0–40 bits turned over; multi-index hashing against
faiss' IndexBinaryFlat. Semantic: clustered 512-d embeddings around a common mean, one in twenty moved a little away
from another (cosine 0.955–0.999); lists against all matrix products.

    uv run python -m bench dedup --rows 20000 100000
"""

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.harness import report
from stages.dedup.hamming import pairs_by_comparing, pairs_within
from stages.dedup.semantic import PROBES, pairs_above

RADIUS = 31
THRESHOLD = 0.96
_DIM = 512
_COPIES = 20


def run(args: list[str]) -> None:
    """Measure, print and write bench/results/dedup.*"""
    parser = argparse.ArgumentParser(prog="bench dedup", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--compare", type=int, default=100_000, help="compare everything up to so many rows")
    asked = parser.parse_args(args)
    lines: list[dict[str, Any]] = []
    for n in asked.rows:
        hashes = planted_hashes(n)
        lines += _both(
            {"search": f"PDQ, radius {RADIUS}", "rows": n, "way": "multi-index hashing"},
            lambda hashes=hashes: pairs_within(hashes, RADIUS),
            "faiss IndexBinaryFlat",
            (lambda hashes=hashes: pairs_by_comparing(hashes, RADIUS)) if n <= asked.compare else None,
        )
        vectors = planted_embeddings(n)
        lines += _both(
            {"search": f"CLIP, cosine ≥ {THRESHOLD}", "rows": n, "way": f"{PROBES} lists of IVF"},
            lambda vectors=vectors: pairs_above(vectors, THRESHOLD, flat=0),
            "all products",
            (lambda vectors=vectors, n=n: pairs_above(vectors, THRESHOLD, flat=n)) if n <= asked.compare else None,
        )
    report("dedup", lines)


def planted_hashes(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """n × 32 uint8: random hashes and copies at 0–40 bits."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (n, 256), np.uint8)
    for copy in rng.choice(n, n // _COPIES, replace=False):
        bits[copy] = bits[rng.integers(0, n)]
        bits[copy, rng.choice(256, rng.integers(0, 41), replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def planted_embeddings(n: int, seed: int = 0) -> NDArray[np.float16]:
    """n × 512 float16 of unit length: about 500 to a cluster, and copies at cosine 0.955–0.999."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(n // 500, 1), _DIM), np.float32)
    common = rng.standard_normal(_DIM, np.float32)
    out = common + 0.8 * centres[rng.integers(0, len(centres), n)] + 0.6 * rng.standard_normal((n, _DIM), np.float32)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    copies = rng.choice(n, n // _COPIES, replace=False)
    away = rng.standard_normal((len(copies), _DIM), np.float32)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    out[copies] = (
        out[rng.integers(0, n, len(copies))] + rng.uniform(0.05, 0.3, (len(copies), 1)).astype(np.float32) * away
    )
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out.astype(np.float16)


Search = Callable[[], Iterable[tuple[Any, Any, Any]]]


def _both(about: dict[str, Any], search: Search, brute: str, compare: Search | None) -> list[dict[str, Any]]:
    """A line for the search, with recall and precision, and one for comparing everything."""
    found, cost = _timed(search)
    if compare is None:
        return [{**about, "pairs": len(found), **cost}]
    truth, brute_cost = _timed(compare)
    both = len(found & truth)
    scores = {"recall": both / max(len(truth), 1), "precision": both / max(len(found), 1)}
    return [
        {**about, "pairs": len(found), **scores, **cost},
        {**about, "way": brute, "pairs": len(truth), "recall": 1.0, "precision": 1.0, **brute_cost},
    ]


def _timed(search: Search) -> tuple[set[tuple[int, int]], dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    found: set[tuple[int, int]] = set()
    for i, j, _ in search():
        found |= set(zip(np.minimum(i, j).tolist(), np.maximum(i, j).tolist(), strict=True))
    return found, {"wall s": time.perf_counter() - wall, "CPU s": time.process_time() - cpu}
