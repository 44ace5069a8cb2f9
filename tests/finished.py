"""Whole builds, made by the real steps from hand-made families: selection, shards, ledger, manifest.

store = finished(tmp_path, [sample(0), sample(1, rejected=Rejected("download", "timeout"))], {2: Rejected(...)})
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.ledger import write_ledger
from pipelines.manifest import write_manifest
from pipelines.recipe_file import Loaded, keep_copies
from schemas.recipe import ClipConfig, MeasureConfig, PdqConfig, PoolConfig, Recipe, ShardConfig
from stages.families import families_of, part_files
from stages.shard.run import make_shards
from stages.store import Store, sealed
from tests.builders import Rejected, build, sample, write_duplicates, write_selection


def recipe(**shards: Any) -> Recipe:
    """A recipe with every measure, sharded as `shards` says."""
    measure = MeasureConfig(pdq=PdqConfig(), clip=ClipConfig(model="tiny"))
    return Recipe(
        name="hand-made",
        pool=PoolConfig(paths=["pool.parquet"]),
        measure=measure,
        shards=ShardConfig(**{"max_samples": 4, **shards}),
    )


def selected(
    url: str | Path, samples: list[dict[str, Any]], deselected: dict[int, Rejected] | None = None, part_rows: int = 4
) -> Store:
    """Families and selection.parquet. `deselected`: what select rejects, by the sample's number."""
    store = build(url, samples, part_rows)
    write_duplicates(store, [])
    rows = []
    for i, row in enumerate(samples):
        why = row["_rejected"] or (deselected or {}).get(row["_number"])
        place = {"sample_id": row["sample_id"], "part": i // part_rows, "row": i % part_rows, "kept": why is None}
        fields = ("stage", "reason", "value", "threshold", "detail")
        rows.append(place | {name: getattr(why, name, None) for name in fields})
    write_selection(store, rows)
    return store


def sharded(store: Store, asked: Recipe) -> Store:
    """Its shards, made."""
    make_shards(store, asked, len(part_files(store, families_of(asked)[0])), ("test", {}))
    return store


def finished(
    url: str | Path, samples: list[dict[str, Any]], deselected: dict[int, Rejected] | None = None, **shards: Any
) -> Store:
    """A whole build, as `pairmill build` leaves it."""
    asked = recipe(**shards)
    store = sharded(selected(url, samples, deselected), asked)
    keep_copies(store, Loaded(asked, "."), ["pool.parquet"])
    write_ledger(store, asked)
    write_manifest(store, asked)
    return store


def mixed(count: int = 20) -> tuple[list[dict[str, Any]], dict[int, Rejected]]:
    """Samples of every fate, for `finished`: by number modulo 10, 0 and 1 fail in download, 2 in a measure, 3 in pool,
    4 and 5 in select; the rest is kept."""
    fates = {
        0: Rejected("download", "http_status", 404.0),
        1: Rejected("download", "timeout", detail="total"),
        2: Rejected("measure/image", "undecodable"),
        3: Rejected("pool", "repeated_row"),
    }
    deselected = {
        4: Rejected("select", "dull", 0.1, 0.28, "clip_score >= 0.28"),
        5: Rejected("select", "duplicate", 0.0, 0.0, "exact"),
    }
    return (
        [sample(i, rejected=fates.get(i % 10)) for i in range(count)],
        {i: deselected[i % 10] for i in range(count) if i % 10 in deselected},
    )


def index_of(store: Store) -> list[dict[str, Any]]:
    """Rows of shards/index.parquet."""
    return store.read_table("shards/index.parquet").to_pylist()


def rewrite(store: Store, name: str, table: pa.Table, **extra: Any) -> None:
    """Put a table under a name, sealed as if a stage had written it; `extra` replaces what the seal says beside."""
    seal = store.seal(name)
    assert seal is not None
    store.write_table(name, table, sealed(table, seal.fingerprint, seal.stage, **{**seal.extra, **extra}))
