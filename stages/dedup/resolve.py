"""Resolve: the duplicate groups of a whole build, from the signatures that the measures wrote.

Enters: sha256 of the fetched bytes, PDQ hashes, CLIP image embeddings of the rows no stage has rejected so far. Leaves:
one line per member of a group. Who survives is select's to say.

Equal signatures are folded into one before pairs are looked for (first by content, then by hash, then by embedding),
so an image that a hundred thousand rows share costs a hundred thousand links and not five thousand million.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from schemas.ledger import Duplicate
from schemas.recipe import DedupConfig, NearConfig, SemanticConfig
from stages.dedup.exact import same_content
from stages.dedup.hamming import pairs_within
from stages.dedup.links import KINDS, Links, Nodes
from stages.dedup.signatures import Signatures, Signed, read_clip, read_content, read_pdq
from stages.store import Store


def resolve(store: Store, config: DedupConfig, parts: int) -> pa.Table:
    """Members of every duplicate group (schema `Duplicate`), ordered by group and sample_id.

    Links: equal sha256 of the fetched bytes (exact); PDQ hashes at most `near.radius` bits apart, both of quality
    `near.min_quality` or better (near, all of them found); CLIP image embeddings whose cosine is at least
    `semantic.threshold` (semantic; all found up to 30,000 distinct embeddings, beyond that see semantic.py).
    A group is a connected component. Raises WrongData when a file is missing or torn.
    """
    known = read_content(store, parts)
    links = Links(len(known.sample_id))
    first = same_content(known.content)
    fold: Nodes | None = None
    if config.exact:
        links.add("exact", *_to_first(first), 0.0)
        fold = first
    if config.near:
        _near(links, _folded(read_pdq(store, parts, known, config.near.min_quality), fold), config.near)
    if config.semantic:
        _semantic(links, _folded(read_clip(store, parts, known), fold), config.semantic)
    return _table(links, known)


def _to_first(first: Nodes) -> tuple[Nodes, Nodes]:
    rest = np.flatnonzero(first != np.arange(len(first)))
    return rest, first[rest]


def _folded(signed: Signed, first: Nodes | None) -> Signed:
    """One row of each set of rows with the same content: the smallest node that is signed."""
    if first is None:
        return signed
    _, keep = np.unique(first[signed.node], return_index=True)
    keep.sort()
    return Signed(signed.node[keep], signed.value[keep])


def _near(links: Links, signed: Signed, config: NearConfig) -> None:
    distinct = _link_equal(links, "near", signed)
    for i, j, distance in pairs_within(distinct.value, config.radius):
        links.add("near", distinct.node[i], distinct.node[j], distance)


def _semantic(links: Links, signed: Signed, config: SemanticConfig) -> None:
    from stages.dedup.semantic import pairs_above

    distinct = _link_equal(links, "semantic", signed)
    for i, j, cosine in pairs_above(distinct.value, config.threshold):
        links.add("semantic", distinct.node[i], distinct.node[j], np.maximum(0.0, 1.0 - cosine))


def _link_equal(links: Links, kind: str, signed: Signed) -> Signed:
    """Link rows whose signatures are the same bytes, at distance 0; returns the first row of each."""
    if not len(signed.node):
        return signed
    raw = np.ascontiguousarray(signed.value)
    rows = raw.view(np.dtype((np.void, raw.shape[1] * raw.itemsize))).ravel()
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(rows)))
    links.add(kind, signed.node[again], signed.node[first[which[again]]], 0.0)
    first.sort()
    return Signed(signed.node[first], signed.value[first])


def _table(links: Links, known: Signatures) -> pa.Table:
    group = links.groups()
    member = np.flatnonzero(links.kind < len(KINDS))
    member = member[np.lexsort((member, group[member]))]
    ids: Any = known.sample_id
    return pa.Table.from_arrays(
        [
            ids.take(member),
            ids.take(group[member]),
            pa.array([KINDS[k] for k in links.kind[member]], pa.string()),
            pa.array(links.distance[member], pa.float64()),
            ids.take(links.other[member]),
        ],
        schema=Duplicate.arrow_schema(),
    )
