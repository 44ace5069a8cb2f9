"""All shards of a build: assign, write those that are stale, then the index over all of them.

`shards/index.parquet` is the step's commit mark: removed before anything changes, written when every shard is there.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from schemas.errors import WrongData
from schemas.ledger import ShardEntry
from schemas.recipe import Recipe
from stages.ahead import ahead
from stages.batches import write_batches
from stages.shard.assign import ShardOrder, assign, committed_shards
from stages.shard.write import ShardReceipt, write_shard
from stages.store import Seal, Store, digest

INDEX = "shards/index.parquet"
Spread = Callable[[Callable[[ShardOrder], ShardReceipt], list[ShardOrder]], Iterable[ShardReceipt]]
"""How work is spread: `map`, or an engine's. Both arguments are picklable."""


def make_shards(
    store: Store, recipe: Recipe, parts: int, seal: tuple[str, dict[str, Any]], spread: Spread = map
) -> list[ShardReceipt]:
    """Bring `shards/` in line with the selection; returns one receipt per shard, in order.

    `seal` is the fingerprint of the step and what else the index's seal should carry. Shards that are right already are
    not written again; those of an earlier, larger build are removed.
    Raises WrongData as `assign` and `write_shard` do.
    """
    orders = begin(store, recipe, parts)
    receipts = list(spread(partial(write_shard, store), orders))
    finish(store, orders, seal)
    return receipts


def is_done(store: Store, fingerprint: str) -> bool:
    """Whether the index has that fingerprint and every shard in it is there with its size."""
    seal = store.seal(INDEX)
    if seal is None or seal.fingerprint != fingerprint:
        return False
    return seal.extra.get("shards") == _all({n: s.fingerprint for n, s in committed_shards(store).items()})


def begin(store: Store, recipe: Recipe, parts: int) -> list[ShardOrder]:
    """Assign; the order files of stale shards are then there to be written from. Removes the index first."""
    store.remove(INDEX)
    return assign(store, recipe, parts)


def finish(store: Store, orders: list[ShardOrder], seal: tuple[str, dict[str, Any]]) -> Seal:
    """Commit the index over all shards; remove order files and the shards of an earlier build.

    Raises WrongData where a shard was not written.
    """
    for order in orders:
        found = store.seal(order.index)
        if found is None or found.fingerprint != order.fingerprint:
            raise WrongData(f"{order.tar} was not written", "run the build again")
    wanted = {order.tar for order in orders} | {order.index for order in orders}
    for name in store.listing("shards"):
        if name not in wanted and name != INDEX:
            store.remove(name)
    extra = {**seal[1], "shards": _all({order.name: order.fingerprint for order in orders})}
    tables = ahead(store.read_table, [order.index for order in orders])
    written = write_batches(
        store,
        INDEX,
        ShardEntry.arrow_schema(),
        tables,
        lambda content, rows: Seal(seal[0], content, "shard", rows, extra),
    )
    for name in store.listing("orders"):
        store.remove(name)
    return written


def _all(fingerprints: dict[str, str]) -> str:
    """One hash over every shard's name and fingerprint."""
    return digest(fingerprints)
