"""The samples of a build's shards, one after another, with what their JSON says of them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from pipelines.manifest import index_of_tar
from schemas.conversation import Conversation
from schemas.errors import WrongData
from schemas.manifest import Manifest
from stages.store import Store

VERIFY = "run `pairmill verify`, then build again"
_KEY = "conversations"
_NAME = re.compile(r"(.*?)(\d*)\.tar")


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample as its shard has it."""

    sample_id: str
    split: str
    shard: str
    """Name of its tar without the ending."""
    entry: dict[str, Any]
    """Its row of the shard's index (`ShardEntry`)."""
    caption: str | None
    conversations: list[Conversation] | None
    """None: its build writes none."""
    turned: bool
    """Its EXIF orientation is still to be applied."""
    masks: bytes | None = None
    """Its `.masks.json`, where that was asked for; None: its build has none."""


def shards_of(manifest: Manifest) -> list[str]:
    """Tars of a build in order: by split, then by number."""

    def place(name: str) -> tuple[str, int]:
        found = _NAME.fullmatch(name)
        return (found[1], int(found[2] or 0)) if found else (name, 0)

    return sorted((shard.path for shard in manifest.shards), key=place)


def entries(store: Store, tar: str) -> list[dict[str, Any]]:
    """Rows of a shard's own index, in the order of the tar."""
    return store.read_table(index_of_tar(tar)).to_pylist()


def samples(store: Store, tar: str, masks: bool = False) -> Iterator[Sample]:
    """Samples of one shard. Raises WrongData naming the one whose JSON is not what a build writes."""
    shard = tar.rsplit("/", 1)[-1].removesuffix(".tar")
    rows = entries(store, tar)
    with store.open(tar) as file:
        for row in rows:
            file.seek(row["json_offset"])
            sample = _sample(row, shard, file.read(row["json_size"]))
            if masks and row.get("masks_offset") is not None:
                file.seek(row["masks_offset"])
                sample = replace(sample, masks=file.read(row["masks_size"]))
            yield sample


def _sample(row: dict[str, Any], shard: str, document: bytes) -> Sample:
    try:
        said = json.loads(document)
        written = [Conversation.model_validate(one) for one in said["conversations"] or ()] if _KEY in said else None
    except (ValueError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise WrongData(f"sample {row['sample_id']} in {shard}.tar: its json cannot be read: {why}", VERIFY) from error
    if not isinstance(said, dict):
        raise WrongData(f"sample {row['sample_id']} in {shard}.tar: its json is not an object", VERIFY)
    turned = said.get("orientation") not in (None, 1)
    return Sample(row["sample_id"], row["split"], shard, row, said.get("caption"), written, turned)
