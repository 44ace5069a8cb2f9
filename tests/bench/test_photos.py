"""Real photographs: near duplicates of every kind but the crop are found, and every row is accounted for."""

from pathlib import Path

import pytest

from bench.photos import build_photos, photos, score
from pipelines.verify import verify

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.mark.skipif(not (DATA / "photos.parquet").exists(), reason="real photographs (../shared/data) are not here")
def test_photographs(tmp_path: Path) -> None:
    served = photos(DATA, limit=25)
    store = build_photos(served, tmp_path)
    found, checked = score(store, served), verify(store)
    assert found.pictures == 25 and found.false_pairs == 0
    assert min(found.recall[e] for e in ("reencoded_q60", "half_size", "brighter")) >= 0.95
    assert checked.ok and checked.inputs == 125 == checked.kept + checked.rejected
