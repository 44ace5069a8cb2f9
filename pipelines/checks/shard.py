"""One shard: its tar, member by member, against its index and against the JSON inside."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.checks.accounts import PLACED
from pipelines.checks.finding import Finding, Scope
from pipelines.checks.parquet import check_parquet
from pipelines.checks.tar import Found, check_tar
from schemas.ledger import ShardEntry
from stages.shard.write import KINDS


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """What a shard was found to hold."""

    name: str
    """`train-000000`."""
    index: pa.Table | None
    placed: pa.Table
    """Columns `accounts.PLACED`: the samples that really lie in the tar."""
    findings: list[Finding]


def check_shard(scope: Scope, name: str) -> ShardCheck:
    """Recompute everything about one shard."""
    index_file, tar_file = f"shards/{name}.parquet", f"shards/{name}.tar"
    checked = check_parquet(scope, index_file, ShardEntry.arrow_schema())
    extra = checked.seal.extra if checked.seal else {}
    tar = check_tar(scope, tar_file, (extra.get("tar_sha256"), extra.get("tar_bytes")), (".json", ".txt"))
    found = [*checked.findings, *tar.findings]
    samples: dict[str, dict[str, Found]] = {}
    for member in tar.members:
        key, _, ext = member.name.partition(".")
        samples.setdefault(key, {})[ext] = member
    if checked.table is None:
        return ShardCheck(name, None, PLACED.empty_table(), found)
    if checked.seal is not None and extra.get("samples") != checked.table.num_rows:
        found.append(Finding(index_file, f"holds {checked.table.num_rows} samples, its seal says otherwise"))
    placed: list[dict[str, str | None]] = []
    for position, row in enumerate(checked.table.to_pylist()):
        members = samples.pop(row["key"], {})
        wrong = _wrong(row, f"{name}.tar", position, members)
        found += [Finding(tar_file, f"sample {row['sample_id']}: {what}") for what in wrong]
        if {row["image_ext"], "json", "txt"} <= set(members):
            found_of = {kind: members.get(row["image_ext"] if kind == "image" else ext) for kind, ext in KINDS.items()}
            hashes = {kind: member.sha256 if member else None for kind, member in found_of.items()}
            placed.append({"shard": f"{name}.tar", "sample_id": row["sample_id"], "split": row["split"], **hashes})
    found += [Finding(tar_file, f"members {key!r}.* are not in {index_file}") for key in samples]
    return ShardCheck(name, checked.table, pa.Table.from_pylist(placed, schema=PLACED), found)


def _wrong(row: dict[str, Any], tar: str, position: int, members: dict[str, Found]) -> list[str]:
    """What of an index row is not so in the tar."""
    wrong: list[str] = []
    if (row["shard"], row["position"]) != (tar, position):
        wrong.append(f"its index row says {row['shard']} {row['position']}, it is {tar} {position}")
    if not tar.startswith(f"{row['split']}-"):
        wrong.append(f"its index row says split {row['split']}")
    wanted = {row["image_ext"]: "image", "json": "json", "txt": "txt"}
    wanted |= {} if row["masks_offset"] is None else {KINDS["masks"]: "masks"}
    if set(members) != set(wanted):
        return [*wrong, f"its members are {sorted(members)}, not {sorted(wanted)}"]
    for ext, kind in wanted.items():
        place = (row[f"{kind}_offset"], row[f"{kind}_size"])
        if (members[ext].offset, members[ext].size) != place:
            wrong.append(f"its {ext} lies at {members[ext].offset}+{members[ext].size}, the index says {place}")
    if members[row["image_ext"]].sha256 != row["image_sha256"]:
        wrong.append("its image is not the one of its index row")
    return wrong + _wrong_document(row, members)


def _wrong_document(row: dict[str, Any], members: dict[str, Found]) -> list[str]:
    try:
        said = json.loads(members["json"].data or b"")
        caption = (members["txt"].data or b"").decode()
    except ValueError as error:
        return [f"its json or txt cannot be read: {error}"]
    if not isinstance(said, dict):
        return ["its json is not an object"]
    pairs = {
        "sample_id": (said.get("sample_id"), row["sample_id"]),
        "split": (said.get("split"), row["split"]),
        "stored_sha256": (said.get("stored_sha256"), row["image_sha256"]),
        "width": (said.get("width"), row["width"]),
        "height": (said.get("height"), row["height"]),
        "caption": (said.get("caption") or "", caption),
        "clip_score": (_float32(said.get("clip_score")), _float32(row["clip_score"])),
    }
    return [f"its json says {name} {a!r}, not {b!r}" for name, (a, b) in pairs.items() if a != b]


def _float32(value: Any) -> float | None:
    """As the index stores it; NaN and whatever is no number are None, as in JSON."""
    return float(np.float32(value)) if isinstance(value, int | float) and value == value else None  # noqa: PLR0124
