"""The dedup benchmark's planted data, and a small run of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import dedup, harness


def test_planted_hashes_hold_pairs_within_and_beyond_the_radius() -> None:
    hashes = dedup.planted_hashes(2000)
    distance = np.bitwise_count(hashes[:, None, ::1] ^ hashes[None]).sum(2)
    near = distance[np.triu_indices(len(hashes), 1)]
    assert ((near <= dedup.RADIUS).sum(), (near <= 40).sum()) > (50, 70)


def test_a_small_run_writes_recall_and_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    dedup.run(["--rows", "2000"])
    rows = json.loads((tmp_path / "dedup.json").read_text())["rows"]
    assert [r["way"] for r in rows] == [
        "multi-index hashing",
        "faiss IndexBinaryFlat",
        f"{dedup.PROBES} lists of IVF",
        "all products",
    ]
    assert (rows[0]["recall"], rows[0]["precision"]) == (1.0, 1.0)
    assert rows[0]["pairs"] > 50
    assert rows[2]["recall"] > 0.97
    assert rows[2]["precision"] == 1.0
