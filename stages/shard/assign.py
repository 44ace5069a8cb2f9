"""Which kept sample goes into which shard, and where in it: the work orders of the shard writers.

In: the column families and selection.parquet. Out: one Parquet file per shard to be written, `orders/<shard>.parquet`,
with all that its JSON says and where its images lie. The order is global and depends on the seed and the sample_ids
alone: kept samples sorted by the hash of both, outside memory; one shard's rows are held at a time.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import WrongData
from schemas.recipe import Recipe, ShardConfig
from stages.families import all_families_of, final_file
from stages.shard.rows import Kept
from stages.shard.shuffle import KEY, in_order, with_key
from stages.store import Seal, Store, content_hash, digest, sealed

VERSION = 2
"""Raise it when the same orders give other shards."""
_SAFE_KEY = r"^[0-9A-Za-z_-]{1,80}$"  # no dot (it would begin the extension), no slash
_HASH_BITS = 52


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """One shard to be: what travels to its writer."""

    name: str
    """`train-000000`: the tar's name without its ending."""
    samples: int
    image_bytes: int
    fingerprint: str
    done: bool
    """Whether the committed shard of that name is this one; its order file is then not written."""

    @property
    def rows(self) -> str:
        """The order file."""
        return f"orders/{self.name}.parquet"

    @property
    def tar(self) -> str:
        return f"shards/{self.name}.tar"

    @property
    def index(self) -> str:
        """The shard's own index, committed after the tar."""
        return f"shards/{self.name}.parquet"


def assign(store: Store, recipe: Recipe, parts: int) -> list[ShardOrder]:
    """The shards of a build whose first `parts` parts are measured and selected; writes the order files.

    Raises WrongData where families and selection do not match, or a sample_id cannot name a tar member.
    """
    families = all_families_of(recipe)
    committed = committed_shards(store)
    orders: list[ShardOrder] = []
    numbers: dict[str, int] = {}
    for rows in _cut(_sorted(store, Kept(store, families, parts, final_file(recipe)), recipe.shards), recipe.shards):
        split = rows["split"][0].as_py()
        numbers[split] = numbers.get(split, -1) + 1
        orders.append(_order(store, f"{split}-{numbers[split]:06d}", rows, committed))
    return orders


def committed_shards(store: Store) -> dict[str, Seal]:
    """Seals of the shards whose tar is there with the size that its index says, by name."""
    sizes = store.listing("shards")
    names = [n for n in sizes if n.endswith(".parquet") and n != "shards/index.parquet"]
    found: dict[str, Seal] = {}
    for name, seal in store.seals(names).items():
        stem = name.removesuffix(".parquet")
        if seal is not None and sizes.get(f"{stem}.tar") == seal.extra.get("tar_bytes"):
            found[stem.removeprefix("shards/")] = seal
    return found


def committed_shard(store: Store, order: ShardOrder) -> Seal | None:
    """The seal of an order's shard where it and its tar are committed."""
    seal = store.seal(order.index)
    if seal is None or seal.fingerprint != order.fingerprint or not store.exists(order.tar):
        return None
    return seal if store.size(order.tar) == seal.extra.get("tar_bytes") else None


def splits_of(sample_ids: list[Any], config: ShardConfig) -> list[str]:
    """`train` or `val` of each: by hash of the sample_id alone, so a sample changes sides only with `val_share`."""
    # `g` is above every hex digit
    bound = "g" if config.val_share >= 1.0 else f"{int(config.val_share * 2**_HASH_BITS):013x}"
    if config.val_share == 0.0:
        return ["train"] * len(sample_ids)
    hashes = (hashlib.sha256(f"split:{sample_id}".encode()).hexdigest() for sample_id in sample_ids)
    return ["val" if found[:13] < bound else "train" for found in hashes]


def _order(store: Store, name: str, rows: pa.Table, committed: dict[str, Seal]) -> ShardOrder:
    unsafe = rows["sample_id"].filter(pc.invert(pc.match_substring_regex(rows["sample_id"], _SAFE_KEY)))
    if len(unsafe):
        raise WrongData(f"sample_id {unsafe[0].as_py()!r} cannot name a tar member", "run the build again")
    fingerprint = digest({"version": VERSION, "rows": content_hash(rows), "name": name})
    done = (seal := committed.get(name)) is not None and seal.fingerprint == fingerprint
    sizes = int(np.asarray(rows["size"]).sum())
    order = ShardOrder(name, rows.num_rows, sizes, fingerprint, done)
    if not done:
        store.write_table(order.rows, rows, sealed(rows, fingerprint, "shard"))
    return order


def _sorted(store: Store, kept: Kept, config: ShardConfig) -> Iterator[pa.Table]:
    """Kept samples with their split, in the order in which they are written."""

    def keyed() -> Iterator[pa.Table]:
        for rows in kept:
            splits = pa.array(splits_of(rows["sample_id"].to_pylist(), config), pa.string())
            yield with_key(rows.append_column(pa.field("split", pa.string(), nullable=False), splits), config.seed)

    beside = store.root if store.local else None  # the build's own disk has room for the build
    for rows in in_order(keyed(), beside):
        yield rows.drop_columns([KEY])


def _cut(tables: Iterator[pa.Table], config: ShardConfig) -> Iterator[pa.Table]:
    """One table per shard: closed where the split changes, at max_samples, and before max_bytes of images."""
    held: list[pa.Table] = []
    samples = size = 0
    for table in tables:
        at = 0
        while at < table.num_rows:
            fits = _fits(table.slice(at), held, config, (samples, size))
            if fits:
                piece = table.slice(at, fits)
                held.append(piece)
                samples, size, at = samples + fits, size + int(np.asarray(piece["size"]).sum()), at + fits
            if at < table.num_rows:
                yield pa.concat_tables(held).combine_chunks()
                held, samples, size = [], 0, 0
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _fits(table: pa.Table, held: list[pa.Table], config: ShardConfig, begun: tuple[int, int]) -> int:
    """How many of the first rows still go into a shard that has `begun` = (samples, bytes) so far."""
    samples, size = begun
    split = held[0]["split"][0].as_py() if held else table["split"][0].as_py()
    others = np.flatnonzero(np.asarray(table["split"]) != split)
    fits = min(int(others[0]) if others.size else table.num_rows, config.max_samples - samples)
    if config.max_bytes is not None:
        totals = size + np.cumsum(np.asarray(table["size"]))
        within = int(np.searchsorted(totals, config.max_bytes, side="right"))
        fits = min(fits, max(within, 0 if samples else 1))  # a sample larger than a shard has one of its own
    return fits
