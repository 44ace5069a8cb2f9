"""Samples of a build as its shards have them: where they lie, what was measured, and what was trained on."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipelines.exports.read import VERIFY
from pipelines.train.batches.talks import MARKER, PICTURE, Streamed, Talk, talks_of
from pipelines.train.lineage.origins import Origin
from schemas.errors import WrongData
from schemas.train_batch import BatchConfig, TextFrom
from stages.families import FAMILIES
from stages.select.check import KeepRule, RankRule
from stages.shard.document import is_embedding
from stages.store import Store

_PLACE = ("shard", "position", "split", "key", "image_sha256")
_SAID = ("kind", "teacher", "prompt_version", "language", "repaired", "images")


@dataclass(frozen=True)
class Found:
    """A sample in a shard."""

    sample_id: str
    place: dict[str, Any]
    document: dict[str, Any]
    """Its `.json`."""
    json: bytes
    txt: bytes


def find(store: Store, sample_ids: Iterable[str]) -> dict[str, Found]:
    """By sample_id; those that are in no shard are left out. One pass over the shards' index."""
    from stages.views import open_views

    columns = ["sample_id", "json_offset", "json_size", "txt_offset", "txt_size", *_PLACE]
    con = open_views(store, [])
    try:
        cursor = con.execute(
            f"SELECT {', '.join(columns)} FROM shards WHERE sample_id IN (SELECT unnest(?)) ORDER BY shard, position",
            [sorted(set(sample_ids))],
        )
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    finally:
        con.close()
    out: dict[str, Found] = {}
    for shard in dict.fromkeys(row["shard"] for row in rows):
        with store.open(f"shards/{shard}") as file:
            for row in (row for row in rows if row["shard"] == shard):
                file.seek(row["json_offset"])
                told = file.read(row["json_size"])
                file.seek(row["txt_offset"])
                place = {name: row[name] for name in _PLACE}
                document = _document(told, f"{store.url}/shards/{shard}: sample {row['sample_id']}")
                txt = file.read(row["txt_size"])
                out[row["sample_id"]] = Found(row["sample_id"], place, document, told, txt)
    return out


def _document(told: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(told)
    except ValueError as error:
        raise WrongData(f"{where}: its json cannot be read: {error}", VERIFY) from error
    if not isinstance(found, dict):
        raise WrongData(f"{where}: its json is not an object", VERIFY)
    return found


class Teller:
    """Says of the samples of one source where they come from."""

    def __init__(self, origin: Origin, config: BatchConfig) -> None:
        self._config = config
        families = [family for family in FAMILIES if not family.startswith(("masked", "conversations"))]
        self._columns = {
            family: [f.name for f in FAMILIES[family].arrow_schema() if not is_embedding(f.type)] for family in families
        }
        self._rules = origin.rules()
        self.rules = [{"reason": rule.rule.reason, "rule": _text(rule)} for rule in self._rules]

    def lineage(self, found: Found, number: int) -> dict[str, Any]:
        """Of the conversation `number` of a sample, or its caption. Keys: url, caption, shard, pool, download,
        measures, masks (columns of those families), rules (reason, rule, values of the columns that it reads),
        conversation (kind, teacher, prompt_version …; null for a caption), turns (as they were trained on; null for a
        rejection that never became any)."""
        by_family = {family: self._of(found.document, family) for family in self._columns}
        measures = {f.removeprefix("measures/"): told for f, told in by_family.items() if "/" in f and told}
        return {
            "url": found.document.get("url"),
            "caption": found.txt.decode(errors="replace"),
            "shard": found.place,
            "pool": by_family["pool"],
            "download": by_family["parts"],
            "measures": measures,
            "masks": by_family["masks"] or None,
            "rules": [self._passed(rule, found.document) for rule in self._rules],
            **self._talk(found, number),
        }

    def _of(self, document: dict[str, Any], family: str) -> dict[str, Any]:
        names = (name for name in self._columns[family] if name not in ("sample_id", "masks"))
        return {name: document[name] for name in names if name in document}

    @staticmethod
    def _passed(rule: KeepRule | RankRule, document: dict[str, Any]) -> dict[str, Any]:
        expression = rule.condition if isinstance(rule, KeepRule) else rule.column
        values = {name: document.get(name) for name in expression.columns}
        return {"reason": rule.rule.reason, "rule": _text(rule), "values": values}

    def _talk(self, found: Found, number: int) -> dict[str, Any]:
        streamed = Streamed(0, found.sample_id, 0, "", b"", found.json, found.txt)
        talks = talks_of(streamed, self._config, lambda source, sample_id: b"")
        mine = next((one for one in talks if isinstance(one, Talk) and one.number == number), None)
        said = found.document.get("conversations") or []
        told = None
        if self._config.text is TextFrom.conversations and 0 <= number < len(said):
            told = {name: said[number].get(name) for name in _SAID}
        return {"conversation": told, "turns": None if mine is None else _turns(mine)}


def _text(rule: KeepRule | RankRule) -> str:
    return str(rule.rule.keep) if isinstance(rule, KeepRule) else rule.text


def _turns(talk: Talk) -> list[dict[str, str]]:
    return [
        {"role": str(turn.role), "text": "".join(MARKER if chunk is PICTURE else str(chunk) for chunk in turn.chunks)}
        for turn in talk.turns
    ]
