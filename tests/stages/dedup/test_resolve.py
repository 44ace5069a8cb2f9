"""Duplicate groups of hand-made builds: who is a member, of which kind, at what distance, linked to whom."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import WrongData
from schemas.ledger import Duplicate
from schemas.recipe import DedupConfig, NearConfig, SemanticConfig
from stages.dedup.resolve import resolve
from tests.builders import Rejected, build, pdq, png, sample, sid, unit

NEAR = DedupConfig(exact=False, near=NearConfig())
EXACT = DedupConfig(exact=True, near=None)
SEMANTIC = DedupConfig(exact=False, near=None, semantic=SemanticConfig(threshold=0.99))
ALL = DedupConfig(semantic=SemanticConfig(threshold=0.99))


def members(where: Path, samples: list[dict[str, Any]], config: DedupConfig) -> list[tuple]:
    """(sample, group, kind, distance, linked_to) with numbers for sample_ids."""
    store = build(where, samples, part_rows=3)
    table = resolve(store, config, -(-len(samples) // 3))
    assert table.schema.equals(Duplicate.arrow_schema())
    rows = [
        tuple(int(v, 16) if k in ("sample_id", "group", "linked_to") else v for k, v in r.items())
        for r in table.to_pylist()
    ]
    assert rows == sorted(rows, key=lambda r: (r[1], r[0]))
    return rows


def turned(number: int, *bits: int) -> bytes:
    """pdq(number) with some bits turned over."""
    hashed = np.unpackbits(np.frombuffer(pdq(number), np.uint8))
    hashed[list(bits)] ^= 1
    return np.packbits(hashed).tobytes()


def test_exact_is_the_content_of_the_fetched_bytes(tmp_path: Path) -> None:
    same = png(100)
    rows = members(tmp_path, [sample(5, image=same), sample(2), sample(3, image=same), sample(9, image=same)], EXACT)
    assert rows == [(3, 3, "exact", 0.0, 5), (5, 3, "exact", 0.0, 3), (9, 3, "exact", 0.0, 3)]


def test_near_is_within_the_radius_and_no_further(tmp_path: Path) -> None:
    rows = members(tmp_path, [sample(1), sample(2, pdq=pdq(1, 31)), sample(3), sample(4, pdq=pdq(3, 32))], NEAR)
    assert rows == [(1, 1, "near", 31.0, 2), (2, 1, "near", 31.0, 1)]


def test_near_takes_no_hash_of_low_quality(tmp_path: Path) -> None:
    samples = [sample(1), sample(2, pdq=pdq(1), pdq_quality=49), sample(3, pdq=pdq(1), pdq_quality=50)]
    assert [r[0] for r in members(tmp_path, samples, NEAR)] == [1, 3]


def test_semantic_is_at_the_threshold_or_above(tmp_path: Path) -> None:
    samples = [
        sample(1, clip_image=unit(1, 0)),
        sample(2, clip_image=unit(1, 0.1)),  # cosine 0.995
        sample(3, clip_image=unit(0, 0, 1)),
        sample(4, clip_image=unit(0, 0, 1, 0.2)),  # cosine 0.981
    ]
    rows = members(tmp_path, samples, SEMANTIC)
    assert [r[:3] for r in rows] == [(1, 1, "semantic"), (2, 1, "semantic")]
    assert rows[0][3] == pytest.approx(1 - 1 / np.sqrt(1.01), abs=1e-3)


def test_groups_are_connected_through_others(tmp_path: Path) -> None:
    chain = [sample(1), sample(2, pdq=turned(1, *range(30))), sample(3, pdq=turned(1, *range(60)))]
    assert [(r[0], r[1]) for r in members(tmp_path, chain, NEAR)] == [(1, 1), (2, 1), (3, 1)]


def test_a_group_joins_kinds_and_each_member_says_its_nearest(tmp_path: Path) -> None:
    same = {"image": png(100), "pdq": pdq(1), "clip_image": unit(1)}
    samples = [
        sample(1, **same),
        sample(2, **same),
        sample(3, pdq=pdq(1, 7), clip_image=unit(0, 1)),
        sample(4, clip_image=unit(0, 1, 0.01)),
    ]
    rows = members(tmp_path, samples, ALL)
    assert [(r[0], r[1], r[2], r[4]) for r in rows] == [
        (1, 1, "exact", 2),
        (2, 1, "exact", 1),
        (3, 1, "near", 1),
        (4, 1, "semantic", 3),
    ]
    assert rows[2][3] == 7.0


def test_kind_comes_before_distance_and_equal_distance_goes_to_the_smaller_id(tmp_path: Path) -> None:
    samples = [
        sample(9, pdq=turned(1, 0, 1), clip_image=unit(1)),
        sample(4, pdq=turned(1, 2, 3), clip_image=unit(0, 1)),
        sample(6, pdq=pdq(1), clip_image=unit(0, 0, 1)),
        sample(7, pdq=pdq(7), clip_image=unit(0, 0, 1)),
    ]
    rows = {r[0]: r[2:] for r in members(tmp_path, samples, ALL)}
    assert rows[6] == ("near", 2.0, 4)
    assert rows[4] == ("near", 2.0, 6)
    assert rows[7] == ("semantic", 0.0, 6)


def test_equal_hashes_are_near_at_distance_zero(tmp_path: Path) -> None:
    samples = [sample(3, pdq=pdq(1)), sample(1), sample(2, pdq=pdq(1)), sample(4, pdq=pdq(1, 5))]
    assert members(tmp_path, samples, NEAR) == [
        (1, 1, "near", 0.0, 2),
        (2, 1, "near", 0.0, 1),
        (3, 1, "near", 0.0, 1),
        (4, 1, "near", 5.0, 1),
    ]


def test_rejected_rows_are_no_members(tmp_path: Path) -> None:
    same = png(100)
    samples = [
        sample(1, image=same, sha256="a" * 64, rejected=Rejected("download", "too_small")),
        sample(2, sha256="a" * 64),
        sample(3, rejected=Rejected("pool", "missing_url"), url=None),
        sample(4, rejected=Rejected("measure/image", "undecodable")),
        sample(5, pdq=pdq(2)),
    ]
    assert [r[0] for r in members(tmp_path, samples, ALL)] == [2, 5]


def test_no_row_and_no_duplicate_are_fine(tmp_path: Path) -> None:
    assert members(tmp_path / "a", [sample(1), sample(2)], ALL) == []
    assert members(tmp_path / "b", [sample(1, rejected=Rejected("download", "x"))], ALL) == []
    assert members(tmp_path / "c", [], ALL) == []


def test_order_and_cut_of_the_pool_do_not_matter(tmp_path: Path) -> None:
    samples = [sample(i, pdq=pdq(i % 5, i % 7), clip_image=unit(1, (i % 6) / 10), image=png(i % 9)) for i in range(30)]
    for i, s in enumerate(samples):  # the same bytes have the same signatures
        s["pdq"], s["clip_image"] = samples[i % 9]["pdq"], samples[i % 9]["clip_image"]
    first = resolve(build(tmp_path / "a", samples, part_rows=30), ALL, 1)
    again = resolve(build(tmp_path / "b", samples[::-1], part_rows=7), ALL, 5)
    assert first.equals(again)
    assert first.num_rows == 30


@pytest.mark.timeout(60)
def test_one_placeholder_in_very_many_rows(tmp_path: Path) -> None:
    import pyarrow as pa

    from stages.families import part_file
    from stages.store import sealed
    from tests.builders import family_table

    n = 100_000
    row = sample(0, sha256="f" * 64, pdq=pdq(0), clip_image=unit(1))
    store = build(tmp_path, [row])
    ids = pa.array([sid(i) for i in range(n)])
    for family in ("parts", "measures/pdq", "measures/clip"):
        one = family_table(family, [row])
        many = one.take(pa.array(np.zeros(n, np.int64))).set_column(0, one.schema.field(0), ids)
        store.write_table(part_file(family, 0), many, sealed(many, "test", family))
    for config in (ALL, NEAR, SEMANTIC):
        table = resolve(store, config, 1)
        assert table.num_rows == n
        assert set(table["group"].to_pylist()) == {sid(0)}
        assert table["linked_to"].to_pylist()[:2] == [sid(1), sid(0)]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    store = build(tmp_path, [sample(1)])
    store.remove("measures/pdq/00000.parquet")
    with pytest.raises(WrongData, match=r"measures/pdq/00000\.parquet"):
        resolve(store, NEAR, 1)
