"""The plan after select: families about what it kept, and every row's final state.

A late family of a part is made of columns of the part, as any other, and of which of its rows select kept. So a changed
threshold makes the parts stale whose kept rows change, and no other.
"""

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.lineage import Origin
from schemas.errors import WrongRequest
from schemas.ledger import Selected
from schemas.synthesize import SynthesizeConfig
from stages.batches import write_batches
from stages.families import EVIDENCE, FINAL, SELECTION, late_families_of, part_file, stage_of
from stages.shard.rows import RowStream
from stages.store import Seal, Store
from stages.synthesize.labels import LABELS, read_labels
from stages.synthesize.stage import Known, Synthesize

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pipelines.plan import Plan
    from schemas.recipe import Recipe

REPLIES = "replies"
"""The reply cache in a local build folder: paid for, and in the order in which replies came, so in no manifest."""


@dataclass
class KeptRows:
    """A hash per part of which rows select kept, read once for each selection."""

    store: Store
    _of: tuple[str, list[str]] | None = field(default=None)

    def hashes(self, parts: int, selection: Seal | None) -> list[str] | None:
        """None where there is no selection of so many parts. `selection`: its seal."""
        if selection is None:
            return None
        if self._of is None or self._of[0] != selection.content:
            self._of = (selection.content, _kept_hashes(self.store))
        return self._of[1] if len(self._of[1]) == parts else None


def _kept_hashes(store: Store) -> list[str]:
    stream = RowStream(store, SELECTION, ["part", "kept"])
    hashers: list[Any] = []
    try:
        while (rows := stream.take(262_144)).num_rows:
            parts, kept = np.asarray(rows["part"]), np.asarray(rows["kept"])
            starts = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(parts)]
            for start, stop in pairwise(starts):
                while len(hashers) <= parts[start]:
                    hashers.append(hashlib.sha256())
                hashers[parts[start]].update(kept[start:stop].tobytes())
    finally:
        stream.close()
    return [hasher.hexdigest() for hasher in hashers]


def families_before(recipe: "Recipe", family: str) -> list[str]:
    """The late families that may reject a row before `family` sees it."""
    late = late_families_of(recipe)
    return late[: late.index(family)]


def late_inputs(plan: "Plan", family: str, part: int) -> dict[str, str] | None:
    """What, beside a stage's columns, decides a late family of a part: who is still kept, and for conversations the
    label counts. None while it is not there."""
    kept = plan.kept_rows.hashes(plan.parts, plan.seals.one(SELECTION))
    before = plan.seals.inputs(part, {earlier: ["reason"] for earlier in families_before(plan.recipe, family)})
    if kept is None or before is None:
        return None
    out = {"selection.kept": kept[part], **before}
    config = plan.recipe.synthesize
    if family == "conversations" and config is not None and config.counts_labels:
        labels = plan.seals.one(LABELS)
        if labels is None:
            return None
        out["labels"] = labels.content
    return out


def synthesizer(plan: "Plan", config: SynthesizeConfig) -> Synthesize:
    """The stage with all it must know; the label counts are there. Raises WrongRequest without a place for replies."""
    planned = plan.synthesize
    labels = read_labels(plan.store) if config.counts_labels else None
    known = Known(labels, replies_folder(plan.recipe, plan.store), plan.recipe.download.resize)
    return planned.knowing(config, known)


def replies_folder(recipe: "Recipe", store: Store) -> str:
    """The reply cache's folder on this machine; empty for a teacher that asks nobody. Raises WrongRequest."""
    config = recipe.synthesize
    if config is None or config.teacher != "model":
        return ""
    if config.replies is not None:
        return config.replies
    if not store.local:
        raise WrongRequest(
            f"{store.url} is an object store, which cannot hold the replies as they come",
            "name a folder of this machine in synthesize.replies, and keep it: what is in it is paid for",
        )
    return store.path(REPLIES)


def write_final(store: Store, recipe: "Recipe", parts: int, origin: Origin) -> int:
    """Write final.parquet (schema `Selected`): select's decision, then that of each late stage. Returns rows kept."""
    kept = 0

    def tables() -> "Iterator[pa.Table]":
        nonlocal kept
        selection = RowStream(store, SELECTION)
        try:
            for part in range(parts):
                table = _decided(store, recipe, part, selection)
                kept += int(np.asarray(table["kept"]).sum())
                yield table
        finally:
            selection.close()

    def seal(content: str, rows: int) -> Seal:
        more = {"identity": origin.identity, "inputs": origin.inputs}
        return Seal(origin.fingerprint, content, str(origin.identity["stage"]), rows, more)

    write_batches(store, FINAL, Selected.arrow_schema(), tables(), seal)
    return kept


def _decided(store: Store, recipe: "Recipe", part: int, selection: RowStream) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    rows: Any = None
    for family in late_families_of(recipe):
        found = store.read_table(part_file(family, part), ["sample_id", *EVIDENCE.names])
        if rows is None:
            rows = selection.take(found.num_rows)
        gone: Any = pc.and_(rows["kept"], pc.is_valid(found["reason"]))
        for name in ("stage", *EVIDENCE.names):
            new = pa.scalar(stage_of(family)) if name == "stage" else found[name]
            rows = rows.set_column(rows.column_names.index(name), name, pc.if_else(gone, new, rows[name]))
        kept: Any = pc.and_(rows["kept"], pc.invert(gone))
        rows = rows.set_column(rows.column_names.index("kept"), "kept", kept)
    return rows.cast(Selected.arrow_schema())
