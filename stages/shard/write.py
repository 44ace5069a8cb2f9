"""Writing one shard: a WebDataset tar and its index, from an order file.

The tar is what `webdataset.TarWriter` writes for the same samples, byte for byte (a test holds it to that). It is
written with `PayloadTar` because that hashes on the way, costs a sixth per sample, and `import webdataset` loads torch
(5 s in every worker) to write a tar.

An image is copied as stored, never re-encoded: its EXIF orientation is still to be applied where no resize was asked
for. `width` and `height` are those of the image as shown; the JSON's `orientation` says how to get there, and decoders
that heed EXIF do so.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.errors import WrongData
from schemas.ledger import ShardEntry
from schemas.row import cast
from stages.payload import Member, PayloadTar
from stages.shard.assign import ShardOrder, committed_shard
from stages.shard.document import captions, documents, mask_documents
from stages.shard.images import images
from stages.store import Store, sealed

KINDS = {"image": "image", "json": "json", "txt": "txt", "masks": "masks.json"}
"""What the index calls a member → its extension; the image's own is in `image_ext`."""


@dataclass(frozen=True, slots=True)
class ShardReceipt:
    """What became of an order."""

    name: str
    samples: int
    tar_bytes: int
    tar_sha256: str
    written: bool
    """False when the shard was there already."""


def write_shard(store: Store, order: ShardOrder) -> ShardReceipt:
    """Commit `shards/<name>.tar`, then `shards/<name>.parquet`. Does nothing where they are committed already.

    Raises WrongData where the order or a part's tar is missing, or an image's bytes are not those of its index.
    """
    seal = committed_shard(store, order)
    if seal is not None:
        return ShardReceipt(order.name, seal.rows, seal.extra["tar_bytes"], seal.extra["tar_sha256"], False)
    rows = store.read_table(order.rows)
    with store.committing(order.tar) as path:
        tar = PayloadTar(path)
        try:
            members = _members(tar, store, rows)
            sha256 = tar.finish()
        finally:
            tar.abandon()
        store.remove(order.index)  # the mark of the pair: it may never outlive its tar
    entries = _entries(order.name, rows, members)
    receipt = ShardReceipt(order.name, rows.num_rows, tar.bytes, sha256, True)
    more = {"tar_sha256": sha256, "tar_bytes": tar.bytes, "samples": rows.num_rows}
    store.write_table(order.index, entries, sealed(entries, order.fingerprint, "shard", **more))
    return receipt


def image_exts(rows: pa.Table) -> list[str]:
    """Extension of each image in a shard: that of its member in the part's tar, `000012.jpg` → `jpg`."""
    members: list[Any] = rows["member"].to_pylist()
    return [member.rpartition(".")[2] for member in members]


def _members(tar: PayloadTar, store: Store, rows: pa.Table) -> list[dict[str, Member]]:
    names = zip(rows["sample_id"].to_pylist(), image_exts(rows), strict=True)
    count = rows.num_rows
    texts = zip(documents(rows), captions(rows), mask_documents(rows) or [None] * count, strict=True)
    found: list[dict[str, Member]] = []
    for (key, ext), (document, caption, masks), image in zip(names, texts, images(store, rows), strict=True):
        data = {ext: image, "json": document, "txt": caption}
        if len(data) != 3:
            raise WrongData(f"sample {key}: its image is called .{ext}", "fetch its part again")
        data |= {} if masks is None else {"masks.json": masks}
        added = {kind: tar.add(f"{key}.{kind}", data[kind]) for kind in sorted(data)}
        found.append({"image": added[ext], **added})
    return found


def _entries(shard: str, rows: pa.Table, members: list[dict[str, Member]]) -> pa.Table:
    count = rows.num_rows
    places: dict[str, Any] = {}
    for kind, ext in KINDS.items():
        of = [m.get(ext) for m in members]
        places[f"{kind}_offset"] = pa.array([m.offset if m else None for m in of], pa.int64())
        places[f"{kind}_size"] = pa.array([m.size if m else None for m in of], pa.int64())
    columns = {
        "sample_id": rows["sample_id"],
        "shard": [f"{shard}.tar"] * count,
        "position": list(range(count)),
        "split": rows["split"],
        "key": rows["sample_id"],
        "image_ext": image_exts(rows),
        **places,
        "image_sha256": rows["stored_sha256"],
        "width": rows["width"],
        "height": rows["height"],
        "clip_score": rows["clip_score"] if "clip_score" in rows.column_names else pa.nulls(count, pa.float32()),
    }
    return cast(pa.table(columns), ShardEntry.arrow_schema(), f"shards/{shard}.parquet")
