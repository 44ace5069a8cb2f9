"""One sample's whole story, from its pool row to its place in a shard or the reason that it has none."""

import re
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pipelines.checks.overall import DUPLICATES
from pipelines.show import plain, safe
from schemas.errors import WrongRequest
from stages.families import EVIDENCE, FAMILIES, FINAL, SELECTION, families_in, part_file, stage_of
from stages.shard.document import is_embedding, shortest
from stages.shard.run import INDEX
from stages.store import Store
from stages.views import open_views

if TYPE_CHECKING:
    import duckdb

_PLACE = re.compile(r"(?:shards/)?([a-z]+-\d{6,})(?:\.tar)?/(\d+)")
_SHOWN = 5
_MARGIN = 15
_MASKS = 20


def explain(store: Store, what: str) -> dict[str, Any]:
    """The story of one sample as plain JSON values.

    `what`: a sample_id or the beginning of one, the URL of its pool row, a key in a shard, or a place in a shard
    (`train-000003/17`, counted from 0). Keys: sample_id, part, row, pool, download, measures, duplicates, masks,
    conversations, decision, shard; null for what there is not (yet). Raises WrongRequest for what names no sample, or
    several.
    """
    con = open_views(store)
    try:
        sample_id, part, row = _find(con, store, what)
        families = {family: _row(store, family, part, row) for family in families_in(store)}
        return {
            "sample_id": sample_id,
            "part": part,
            "row": row,
            "pool": families.get("pool"),
            "download": families.get("parts"),
            "masks": families.get("masks"),
            "conversations": families.get("conversations"),
            "measures": {f.removeprefix("measures/"): facts for f, facts in families.items() if "/" in f},
            "duplicates": _duplicates(con, store, sample_id),
            "decision": _decision(con, store, sample_id, families),
            "shard": _first(con, "SELECT * FROM shards WHERE sample_id = ?", sample_id) if _has(store, INDEX) else None,
        }
    finally:
        con.close()


def story(said: dict[str, Any]) -> str:
    """The same for a terminal, plain text."""
    lines = [f"sample {said['sample_id']}   part {said['part']:05d}, row {said['row']}"]
    lines += _section("pool", said["pool"], ("sample_id",))
    lines += _section("download", said["download"], ("sample_id", "url"))
    for name, facts in said["measures"].items():
        if facts is None or any(value is not None for key, value in facts.items() if key != "sample_id"):
            lines += _section(name, facts, ("sample_id",))
    group = said["duplicates"]
    if group is not None:
        members = ", ".join(f"{m['sample_id']}{' (kept)' if m['kept'] else ''}" for m in group["members"])
        more = f" and {group['size'] - len(group['members'])} more" if group["size"] > len(group["members"]) else ""
        lines += ["", "duplicates", _line(group["kind"], f"distance {group['distance']:g} to {group['linked_to']}")]
        lines += [_line("survivor", group["survivor"] or "none"), _line("group", f"{members}{more}")]
    lines += _masked(said["masks"])
    lines += _conversed(said["conversations"])
    lines += ["", "decision", *_decided(said["decision"])]
    if said["shard"] is not None:
        lines += _section("shard", said["shard"], ("sample_id", "key", "image_sha256", "width", "height", "clip_score"))
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ finding it


def _find(con: "duckdb.DuckDBPyConnection", store: Store, what: str) -> tuple[str, int, int]:
    place = _PLACE.fullmatch(what)
    if place and _has(store, INDEX):
        query = "SELECT sample_id FROM shards WHERE shard = ? AND position = ?"
        found = _first(con, query, f"{place[1]}.tar", int(place[2]))
        if found is None:
            raise WrongRequest(f"no sample lies at {what}", "`pairmill sql BUILD 'FROM shards'` lists the places")
        what = found["sample_id"]
    named = re.fullmatch(r"[0-9A-Za-z_-]+", what)
    where = "starts_with(sample_id, ?)" if named else "url = ?"
    query = f"SELECT sample_id, part, row FROM pool WHERE {where} ORDER BY part, row LIMIT {_SHOWN + 1}"
    rows = con.execute(query, [what]).fetchall() if what else []
    exact = [row for row in rows if row[0] == what]
    if len(exact or rows) == 1:
        return (exact or rows)[0]
    if not rows:
        kind = "sample_id begins with" if named else "row of the pool has the URL"
        raise WrongRequest(f"no {kind} {what!r}", "give a sample_id, the beginning of one, a URL, or SHARD/POSITION")
    ids = ", ".join(row[0] for row in rows[:_SHOWN]) + (", …" if len(rows) > _SHOWN else "")
    raise WrongRequest(f"{what!r} is the {'beginning' if named else 'URL'} of several samples: {ids}", "name one")


def _row(store: Store, family: str, part: int, row: int) -> dict[str, Any] | None:
    """One row of a family, embeddings left out; None where its file is not there yet."""
    name = part_file(family, part)
    if not _has(store, name):
        return None
    columns = [f.name for f in FAMILIES[family].arrow_schema() if not is_embedding(f.type)] + EVIDENCE.names
    with store.open(name) as file:
        reader, start = pq.ParquetFile(file), 0
        for group in range(reader.num_row_groups):
            rows = reader.metadata.row_group(group).num_rows
            if row < start + rows:
                table = reader.read_row_group(group, columns).slice(row - start, 1)
                return {n: plain(shortest(table[n]).to_pylist()[0]) for n in table.column_names}
            start += rows
    return None


def _duplicates(con: "duckdb.DuckDBPyConnection", store: Store, sample_id: str) -> dict[str, Any] | None:
    if not _has(store, DUPLICATES):
        return None
    own = _first(con, "SELECT * FROM groups WHERE sample_id = ?", sample_id)
    if own is None:
        return None
    decided = _has(store, SELECTION)
    kept, join = ("coalesce(kept, false)", "LEFT JOIN selection USING (sample_id)") if decided else ("false", "")
    query = f'SELECT sample_id, {kept} FROM groups {join} WHERE "group" = ? ORDER BY 2 DESC, 1'
    members = con.execute(query, [own["group"]]).fetchall()
    return {
        "group": own["group"],
        "kind": own["kind"],
        "distance": own["distance"],
        "linked_to": own["linked_to"],
        "survivor": members[0][0] if members[0][1] else None,
        "size": len(members),
        "members": [{"sample_id": s, "kept": bool(k)} for s, k in members[:20]],
    }


def _decision(con: "duckdb.DuckDBPyConnection", store: Store, sample_id: str, families: dict[str, Any]) -> Any:
    """The final state; before there is one, the first rejection so far."""
    if _has(store, SELECTION):
        view = "final" if _has(store, FINAL) else "selection"
        decided = _first(con, f"SELECT * FROM {view} WHERE sample_id = ?", sample_id)
        if decided is not None:
            return {name: decided[name] for name in ("kept", "stage", *EVIDENCE.names)}
    for family, facts in families.items():
        if facts is not None and facts["reason"] is not None:
            return {"kept": False, "stage": stage_of(family), **{n: facts[n] for n in EVIDENCE.names}}
    return None


def _first(con: "duckdb.DuckDBPyConnection", query: str, *values: Any) -> dict[str, Any] | None:
    cursor = con.execute(query, list(values))
    names, row = [column[0] for column in cursor.description or []], cursor.fetchone()
    return None if row is None else plain(dict(zip(names, row, strict=True)))


def _has(store: Store, name: str) -> bool:
    return store.exists(name)


# ------------------------------------------------------------------------------------------------ telling it


def _section(title: str, facts: dict[str, Any] | None, hidden: tuple[str, ...]) -> list[str]:
    if facts is None:
        return ["", title, "  not there yet"]
    shown = {k: v for k, v in facts.items() if k not in hidden and k not in EVIDENCE.names and v is not None}
    if not shown and facts.get("reason") is None:
        return ["", title, "  not reached: an earlier stage rejected the sample"]
    told = [_line(name, value) for name, value in shown.items()]
    if facts.get("reason") is not None:
        told.append(_line("rejected", _evidence(facts)))
    return ["", title, *told]


def _masked(said: dict[str, Any] | None) -> list[str]:
    """What was found in the picture; of several masks for one prompt, the best."""
    if said is None or said["masks"] is None:
        return []
    facts = f"{said['mask_coverage']:.1%} of the picture"
    facts += f", box agreement {said['box_agreement']:.2f}" if said["box_agreement"] is not None else ""
    lines = ["", "masks", _line(f"{said['mask_count']} masks", facts)]
    for mask in [mask for mask in said["masks"] if mask["best"]][:_MASKS]:
        place = f"{mask['w']} × {mask['h']} at {mask['x']}, {mask['y']}, {mask['area']:,} pixels"
        sure = f", predicted IoU {mask['predicted_iou']:.2f}" if mask["predicted_iou"] is not None else ""
        lines.append(_line(mask["label"] or "object", f"{place}{sure}, by {mask['prompt']}"))
    return lines


def _conversed(said: dict[str, Any] | None) -> list[str]:
    """What was written about the sample, and what of it was dropped."""
    if said is None or said["conversations"] is None:
        return []
    lines = ["", "conversations"]
    for one in said["conversations"]:
        lines.append(_line(one["kind"], f"by {one['teacher']}, {one['language']}"))
        lines += [f"    {turn['role']}: {safe(turn['text'])}" for turn in one["turns"]]
    for one in said["dropped"]:
        lines.append(_line(one["kind"], f"dropped, {one['reason']}: {one['evidence']}"))
    return lines if said["conversations"] or said["dropped"] else [*lines, "  none"]


def _decided(decision: dict[str, Any] | None) -> list[str]:
    if decision is None:
        return ["  none yet: no stage rejected the sample, and select has not run"]
    if decision["kept"]:
        return ["  kept"]
    return [f"  rejected by {decision['stage']}: {_evidence(decision)}"]


def _evidence(facts: dict[str, Any]) -> str:
    """`low_clip: 0.21 against 0.28, clip_score >= 0.28`."""
    said = safe(str(facts["reason"]))
    if facts["value"] is not None:
        said += f", {facts['value']:g}"
        said += f" against {facts['threshold']:g}" if facts["threshold"] is not None else ""
    return said + (f" ({safe(str(facts['detail']))})" if facts["detail"] else "")


def _line(name: str, value: Any) -> str:
    return f"  {name:<{_MARGIN}}  {safe(str(value))}"
