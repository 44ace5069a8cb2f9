"""One part: its families side by side, its payload, and what of it the shards must hold."""

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.checks.accounts import KEPT
from pipelines.checks.decisions import (
    PartCheck,
    PartTask,
    check_ledger,
    check_selection,
    decided_by_families,
    decided_late,
)
from pipelines.checks.finding import Scope, some
from pipelines.checks.parquet import check_parquet
from pipelines.checks.tar import check_tar
from schemas.recipe import Recipe
from stages.families import family_schema, part_file
from stages.shard.assign import splits_of
from stages.shard.document import captions, documents, mask_documents, sharded_schema


def check_part(scope: Scope, recipe: Recipe, families: list[str], task: PartTask) -> PartCheck:
    """Recompute everything about one part."""
    out = PartCheck(task.part)
    tables = _families(scope, families, out)
    if not tables:
        return out
    first = next(iter(tables.values()))
    out.rows, out.ids = first.num_rows, first["sample_id"]
    tables = {name: table for name, table in tables.items() if _aligned(name, table, out)}
    whole = list(tables) == families
    if task.selection is not None:
        decided = decided_by_families(tables, out) if whole else None
        if decided is not None and task.selection.num_rows == out.rows:
            decided = decided_late(tables, task.selection, decided, out)
        check_selection(task, decided, out)
        check_ledger(task, out)
        if whole and task.selection["sample_id"] == out.ids:
            try:
                out.kept = _to_be_sharded(tables, task.selection, recipe)
            except ValueError as error:
                out.found(part_file("pool", task.part), f"column 'extra' is not JSON: {error}")
    elif task.ledger is not None:
        out.rejections = task.ledger.num_rows
    return out


def _families(scope: Scope, families: list[str], out: PartCheck) -> dict[str, pa.Table]:
    tables: dict[str, pa.Table] = {}
    for family in families:
        name = part_file(family, out.part)
        checked = check_parquet(scope, name, family_schema(family))
        out.findings += checked.findings
        if checked.table is not None:
            tables[family] = checked.table
        if family == "parts":
            extra = checked.seal.extra if checked.seal else {}
            promised = (extra.get("tar_sha256"), extra.get("tar_bytes"))
            _check_payload(scope, checked.table, promised, out)
    return tables


def _check_payload(scope: Scope, index: pa.Table | None, promised: tuple[Any, Any], out: PartCheck) -> None:
    """The payload tar's members are those of the index: name, place, size, bytes, and no other."""
    name = f"parts/{out.part:05d}.tar"
    tar = check_tar(scope, name, promised)
    out.findings += tar.findings
    if index is None:
        return
    stored = index.filter(pc.is_valid(index["member"]))
    columns = ["member", "offset", "size", "stored_sha256", "sample_id"]
    wanted = {row["member"]: row for row in stored.select(columns).to_pylist()}
    for member in tar.members:
        row = wanted.pop(member.name, None)
        if row is None:
            out.found(name, f"member {member.name!r} is not in {part_file('parts', out.part)}")
        elif (row["offset"], row["size"]) != (member.offset, member.size):
            what = f"sample {row['sample_id']} lies at {member.offset}+{member.size}, not {row['offset']}+{row['size']}"
            out.found(name, what)
        elif row["stored_sha256"] != member.sha256:
            out.found(name, f"the bytes of sample {row['sample_id']} are not those of its index")
    if wanted:
        lost = [row["sample_id"] for row in wanted.values()]
        out.found(name, some(lost, "cannot be read from it"))


def _aligned(family: str, table: pa.Table, out: PartCheck) -> bool:
    if table["sample_id"] == out.ids:
        return True
    out.found(part_file(family, out.part), f"does not hold the rows of part {out.part:05d} in order")
    return False


def _to_be_sharded(tables: dict[str, pa.Table], selection: pa.Table, recipe: Recipe) -> pa.Table:
    """What a shard must hold of each kept sample, made from the families anew."""
    columns: dict[str, Any] = {"part": selection["part"], "row": selection["row"]}
    for table in tables.values():
        columns |= {name: table[name] for name in table.column_names if name not in columns}
    schema = sharded_schema(list(tables))
    rows = pa.table([columns[n] for n in schema.names], names=schema.names).filter(selection["kept"])
    splits = splits_of(rows["sample_id"].to_pylist(), recipe.shards)
    rows = rows.append_column("split", pa.array(splits, pa.string()))
    texts = (documents(rows), captions(rows), mask_documents(rows))
    hashes = [_hashed(text) if text is not None else pa.nulls(rows.num_rows, pa.string()) for text in texts]
    return pa.Table.from_arrays([rows["sample_id"], rows["split"], rows["stored_sha256"], *hashes], schema=KEPT)


def _hashed(texts: list[bytes]) -> pa.Array:
    return pa.array([hashlib.sha256(data).hexdigest() for data in texts], pa.string())
