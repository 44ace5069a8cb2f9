"""Finished builds whose shards hold conversations, put there by hand."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from pipelines.manifest import write_manifest
from schemas.conversation import Conversation, Turn, Usage
from schemas.ledger import ShardEntry
from stages.payload import PayloadTar
from stages.store import Store
from tests.builders import sample, sid
from tests.finished import finished, recipe, rewrite

USAGE = Usage(prompt_tokens=120, completion_tokens=34, cost=0.00042)


def jpeg(number: int, side: int = 24) -> bytes:
    """A picture that differs with `number`."""
    file = io.BytesIO()
    Image.new("RGB", (side, side + number), (number * 37 % 256, 90, 200)).save(file, "JPEG")
    return file.getvalue()


def talk(*texts: str, kind: str = "vqa", **more: Any) -> Conversation:
    """Question, answer, question, answer …; evidence `box:0` under each answer."""
    roles = ("user", "assistant")
    turns = [Turn(role=roles[i % 2], text=t, evidence=["box:0"] if i % 2 else []) for i, t in enumerate(texts)]
    plain = {"prompt_version": 3, "teacher": "some-model", "language": "en", "repaired": False, "usage": USAGE}
    return Conversation(
        **{"kind": kind, "turns": turns, "images": None, "rejected": None, "planted": None} | plain | more
    )


def talking(
    url: Path, said: Sequence[list[Conversation]], dropped: dict[int, Any] | None = None, **shards: Any
) -> Store:
    """A finished build of one sample (`sid(i)`, a JPEG, caption `caption i`) per entry, with its conversations.

    `dropped`: what select rejects, by number.
    """
    rows = [sample(i, image=jpeg(i)) for i in range(len(said))]
    store = finished(url, rows, dropped, **shards)
    by_id = {sid(i): conversations for i, conversations in enumerate(said)}
    tars = sorted(n for n in store.listing("shards") if n.endswith(".tar"))
    tables = [_rewritten(store, tar, by_id) for tar in tars]
    rewrite(store, "shards/index.parquet", pa.concat_tables(tables))
    write_manifest(store, recipe(**shards))
    return store


def _rewritten(store: Store, tar: str, by_id: dict[str, list[Conversation]]) -> pa.Table:
    index, whole = f"{tar.removesuffix('.tar')}.parquet", store.read_bytes(tar)
    rows: list[dict[str, Any]] = store.read_table(index).to_pylist()
    with store.committing(tar) as path:
        out = PayloadTar(path)
        for row in rows:
            kinds = {"image": row["image_ext"], "json": "json", "txt": "txt"}
            data = {k: whole[row[f"{k}_offset"] : row[f"{k}_offset"] + row[f"{k}_size"]] for k in kinds}
            document = json.loads(data["json"])
            document["conversations"] = [c.model_dump(mode="json") for c in by_id[row["sample_id"]]]
            data["json"] = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
            for kind in sorted(kinds, key=lambda k: kinds[k]):
                member = out.add(f"{row['key']}.{kinds[kind]}", data[kind])
                row |= {f"{kind}_offset": member.offset, f"{kind}_size": member.size}
        sha256 = out.finish()
    table = pa.Table.from_pylist(rows, schema=ShardEntry.arrow_schema())
    rewrite(store, index, table, tar_sha256=sha256, tar_bytes=out.bytes)
    return table
