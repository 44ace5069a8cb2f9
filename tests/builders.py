"""Hand-made builds: column families, written through Store from a list of rows, as the engine would write them.

    store = build(tmp_path, [sample(0, clip_score=0.4), sample(1, rejected=Rejected("download", "http_404"))])

Every column has a plain default that depends on the sample's number alone, so a test names only what it is about.
A sample that a stage rejected has nulls in every later family, and `reason`, `value`, `threshold`, `detail` in the
family of that stage; `undecodable` is said by every pixel measure, as one pass over the pixels does.
"""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.ledger import Duplicate, Rejection, Selected, ShardEntry, StageCount
from schemas.row import Row
from stages.families import AFTER_SELECT, FAMILIES, family_schema, part_file, stage_of
from stages.payload import PayloadTar
from stages.store import Seal, Store, sealed

ALL_FAMILIES = [family for family in FAMILIES if family not in AFTER_SELECT]
_PIXELS = ("measures/image", "measures/pdq", "measures/clip")
_CLIP_DIM = 8


@dataclass(frozen=True, slots=True)
class Rejected:
    """The first rejection of a sample: stage as in the ledger, reason, evidence."""

    stage: str
    reason: str
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None


def sid(number: int) -> str:
    """The sample_id of sample `number`: sorts as the number does."""
    return f"{number:032x}"


def sample(
    number: int, *, rejected: Rejected | None = None, image: bytes | None = None, **columns: Any
) -> dict[str, Any]:
    """One row of `build`: `columns` are columns of any family. Distinct numbers have distinct bytes, PDQ and CLIP."""
    known = {name for row in FAMILIES.values() for name in row.columns()}
    unknown = set(columns) - known
    if unknown:
        raise KeyError(f"no family has the columns {sorted(unknown)}")
    return {"sample_id": sid(number), "_number": number, "_rejected": rejected, "_image": image, **columns}


def build(
    url: str | Path, samples: list[dict[str, Any]], part_rows: int = 4, families: list[str] | None = None
) -> Store:
    """Write the families (default: all) of a build whose pool is `samples`, in parts of `part_rows` rows."""
    store = Store(str(url))
    for part, start in enumerate(range(0, len(samples), part_rows)):
        rows = [dict(row) for row in samples[start : start + part_rows]]
        for family in families or ALL_FAMILIES:
            extra = _payload(store, part, rows) if family == "parts" else {}
            table = family_table(family, rows, start)
            store.write_table(part_file(family, part), table, sealed(table, "test", stage_of(family), **extra))
    return store


def family_table(family: str, samples: list[dict[str, Any]], start: int = 0) -> pa.Table:
    """One family file's rows. `start`: pool row number of the first one."""
    rows = [_family_row(family, row, start + i) for i, row in enumerate(samples)]
    return pa.Table.from_pylist(rows, schema=family_schema(family))


def write_rows(store: Store, name: str, row: type[Row], rows: list[dict[str, Any]], **extra: Any) -> Seal:
    """Write a global file (`groups/duplicates.parquet` …) from dicts; columns left out are null."""
    table = pa.Table.from_pylist(rows, schema=row.arrow_schema())
    seal = sealed(table, "test", name.split("/", maxsplit=1)[0].removesuffix(".parquet"), **extra)
    store.write_table(name, table, seal)
    return seal


def write_duplicates(store: Store, rows: list[dict[str, Any]]) -> None:
    """`groups/duplicates.parquet`."""
    write_rows(store, "groups/duplicates.parquet", Duplicate, rows)


def write_selection(store: Store, rows: list[dict[str, Any]]) -> None:
    """`selection.parquet`, one row per pool row in order."""
    write_rows(store, "selection.parquet", Selected, rows)


def write_ledger(store: Store, rows: list[dict[str, Any]], counts: list[dict[str, Any]]) -> None:
    """`ledger/00000.parquet` and `ledger/counts.parquet`."""
    write_rows(store, "ledger/00000.parquet", Rejection, rows)
    write_rows(store, "ledger/counts.parquet", StageCount, counts)


def write_shard_index(store: Store, rows: list[dict[str, Any]]) -> None:
    """`shards/index.parquet` alone, without tars."""
    write_rows(store, "shards/index.parquet", ShardEntry, rows)


def png(number: int, side: int = 16) -> bytes:
    """A real PNG of `side` × `side` RGB pixels that differ with `number`."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    raw = b"".join(b"\0" + line.tobytes() for line in pixels)
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, io.SEEK_END)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")):
        out.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return out.getvalue()


def pdq(number: int, flipped: int = 0) -> bytes:
    """256 random bits by `number`, with the first `flipped` bits turned over."""
    bits = np.random.default_rng(10_000 + number).integers(0, 2, 256, np.uint8)
    bits[:flipped] ^= 1
    return np.packbits(bits).tobytes()


def unit(*values: float) -> list[np.float16]:
    """A unit-length float16 vector along `values`, padded with zeros to the builders' CLIP size (8)."""
    vector = np.zeros(_CLIP_DIM)
    vector[: len(values)] = values
    return list((vector / np.linalg.norm(vector)).astype(np.float16))


def _family_row(family: str, row: dict[str, Any], pool_row: int) -> dict[str, Any]:
    rejected: Rejected | None = row["_rejected"]
    key = {"sample_id": row["sample_id"]}
    given = {name: row[name] for name in FAMILIES[family].columns() if name in row}
    if rejected is None or family == "pool":
        evidence = _evidence(rejected) if rejected and rejected.stage == "pool" else {}
        return {**_defaults(family, row, pool_row), **given, **evidence}
    order = [stage_of(f) for f in ALL_FAMILIES]
    if rejected.stage == stage_of(family):
        asked = {"url": row.get("url", _url(row["_number"]))} if family == "parts" else {}
        return {**key, **asked, **given, **_evidence(rejected)}
    if rejected.stage not in order:
        raise KeyError(f"no family belongs to stage {rejected.stage!r}")
    if order.index(rejected.stage) < order.index("measure/image"):  # before the measure pass
        return key if family != "parts" or rejected.stage == "pool" else {**_defaults(family, row, pool_row), **given}
    if rejected.reason == "undecodable" and family in _PIXELS:
        return {**key, **_evidence(rejected)}
    return {**_defaults(family, row, pool_row), **given}


def _evidence(rejected: Rejected) -> dict[str, Any]:
    return {name: getattr(rejected, name) for name in ("reason", "value", "threshold", "detail")}


def _url(number: int) -> str:
    return f"http://host.test/{number}.png"


def _image(row: dict[str, Any]) -> bytes:
    return row["_image"] if row["_image"] is not None else png(row["_number"])


def _defaults(family: str, row: dict[str, Any], pool_row: int) -> dict[str, Any]:
    number = row["_number"]
    key = {"sample_id": row["sample_id"]}
    if family == "pool":
        return {
            **key,
            "source": "pool.parquet",
            "source_row": pool_row,
            "url": _url(number),
            "caption": f"caption {number}",
        }
    if family == "parts":
        return {**key, **_fetched(row)}
    if family == "measures/image":
        facts = {"image_width": 16, "image_height": 16, "aspect": 1.0, "channels": 3}
        return {**key, **facts, "image_bytes": len(_image(row)), "mean_luma": 128.0, "std_luma": 64.0}
    if family == "measures/caption":
        return {**key, "caption_chars": 9, "caption_words": 2, "repeated_share": 0.0, "nonletter_share": 0.1}
    if family == "measures/pdq":
        return {**key, "pdq": pdq(number), "pdq_quality": 100}
    vector = np.random.default_rng(20_000 + number).standard_normal(_CLIP_DIM)
    return {**key, "clip_score": 0.3, "clip_image": unit(*vector), "clip_text": unit(*-vector)}


def _fetched(row: dict[str, Any]) -> dict[str, Any]:
    data, url = _image(row), row.get("url", _url(row["_number"]))
    digest = hashlib.sha256(data).hexdigest()
    size = {"width": 16, "height": 16, "original_width": 16, "original_height": 16}
    answer = {"url": url, "final_url": url, "http_status": 200, "fetched_bytes": len(data), "format": "png"}
    place = {name: row[f"_{name}"] for name in ("member", "offset", "size") if f"_{name}" in row}
    return {**answer, **size, **place, "sha256": digest, "stored_sha256": digest, "orientation": 1}


def _payload(store: Store, part: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the part's tar and note in each row where its image lies; returns what the index's seal carries."""
    with store.committing(f"parts/{part:05d}.tar") as path:
        tar = PayloadTar(path)
        for row in rows:
            if row["_rejected"] is None or row["_rejected"].stage not in ("pool", "download"):
                data = _image(row)
                ext = "jpg" if data.startswith(b"\xff\xd8\xff") else "png"
                member = tar.add(f"{row['sample_id']}.{ext}", data)
                row.update(_member=member.name, _offset=member.offset, _size=member.size)
        return {"tar_sha256": tar.finish(), "tar_bytes": tar.bytes}
