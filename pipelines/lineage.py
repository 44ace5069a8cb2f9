"""What a file is made of, and so whether it must be made again, and why.

A file's fingerprint is the hash of two things: the stage's identity (name, version, config, weights, libraries) and the
hashes of the input columns that the stage reads. Both are kept in the seal, so that a stale file can say what changed.
Inputs are columns, not files: a corrected caption makes no image fetched again.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.families import part_files
from stages.store import Seal, Store, content_hash, digest


@dataclass(frozen=True, slots=True)
class Origin:
    """What decides one file's bytes."""

    identity: dict[str, Any]
    inputs: dict[str, str]
    """`family.column` → content hash."""

    @property
    def fingerprint(self) -> str:
        return digest({"identity": self.identity, "inputs": self.inputs})

    def seal(self, table: pa.Table, **extra: Any) -> Seal:
        """The seal for a table made from this origin, with the hash of each of its columns."""
        columns = column_hashes(table)
        more = {"identity": self.identity, "inputs": self.inputs, "columns": columns, **extra}
        return Seal(self.fingerprint, content_hash(table), str(self.identity["stage"]), table.num_rows, more)


def column_hashes(table: pa.Table) -> dict[str, str]:
    """Content hash of each column alone."""
    return {name: content_hash(table.select([name])) for name in table.column_names}


def why_stale(seal: Seal | None, origin: Origin) -> str | None:
    """None when the file is done; else the reason it is not, in few words."""
    if seal is None:
        return "not there yet"
    if seal.fingerprint == origin.fingerprint:
        return None
    was: dict[str, Any] = seal.extra.get("identity", {})
    changes = _identity_changes(was, origin.identity)
    before: dict[str, str] = seal.extra.get("inputs", {})
    changes += [
        f"input {k} changed"
        for k in sorted(before.keys() | origin.inputs.keys())
        if before.get(k) != origin.inputs.get(k)
    ]
    return ", ".join(changes) or "made by another version of pairmill"


def _identity_changes(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    changes: list[str] = []
    for key in sorted(was.keys() | now.keys()):
        a, b = was.get(key), now.get(key)
        if a == b:
            continue
        a, b = _by_reason(a), _by_reason(b)
        if isinstance(a, dict) and isinstance(b, dict):
            changes += [f"{key} {change}" for change in _identity_changes(a, b)]
        else:
            changes.append(f"{key} {_short(a)} → {_short(b)}")
    return changes


def _by_reason(value: Any) -> Any:
    """Rules by their reason, so that a changed one is named and not the whole list."""
    if isinstance(value, list) and value and all(isinstance(v, dict) and "reason" in v for v in value):
        return {str(v["reason"]): v for v in value}
    return value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:18] + "…" + text[-8:]


class SealBook:
    """The seals of one build, each family listed once and each footer read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._families: dict[str, dict[int, Seal]] = {}
        self._single: dict[str, Seal | None] = {}

    def of(self, family: str) -> dict[int, Seal]:
        """Part → seal, for the parts whose file is there and whole; a part's index counts only with its tar."""
        if family not in self._families:
            files = part_files(self._store, family)
            found = self._store.seals(files.values())
            sizes = self._store.listing(family) if family == "parts" else {}
            self._families[family] = {
                part: seal
                for part, name in files.items()
                if (seal := found[name]) is not None
                and sizes.get(name.replace(".parquet", ".tar")) == seal.extra.get("tar_bytes")
            }
        return self._families[family]

    def one(self, name: str) -> Seal | None:
        """The seal of a file over all parts."""
        if name not in self._single:
            self._single[name] = self._store.seal(name)
        return self._single[name]

    def forget(self, name: str) -> None:
        """Read a family, or a file over all parts, again when asked next: it was written or removed."""
        self._families.pop(name, None)
        self._single.pop(name, None)

    def inputs(self, part: int, wanted: dict[str, list[str]]) -> dict[str, str] | None:
        """`family.column` → hash for one part; None when a family's file is not there yet."""
        out: dict[str, str] = {}
        for family, columns in wanted.items():
            seal = self.of(family).get(part)
            if seal is None:
                return None
            hashes: dict[str, str] = seal.extra["columns"]
            out |= {f"{family}.{c}": hashes[c] for c in columns}
        return out

    def overall(self, parts: int, wanted: dict[str, list[str]]) -> dict[str, str] | None:
        """`family.column` → one hash over all parts: the inputs of a step that sees everything."""
        out: dict[str, str] = {}
        per_part = [self.inputs(part, wanted) for part in range(parts)]
        if any(p is None for p in per_part):
            return None
        for family, columns in wanted.items():
            for column in columns:
                key = f"{family}.{column}"
                out[key] = digest([p[key] for p in per_part if p is not None])
        return out
