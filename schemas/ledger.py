"""The ledger and the decisions it records."""

from schemas.row import Float32, Int32, Row


class Rejection(Row):
    """One rejected sample: which stage, why, and the number that decided it. `ledger/NNNNN.parquet`."""

    sample_id: str
    part: Int32
    row: Int32
    """Row inside the part, from 0."""
    stage: str
    """pool, download, measure/<name>, select …"""
    reason: str
    value: float | None
    """The value measured, where the reason compares one."""
    threshold: float | None
    """What it was compared with."""
    detail: str | None
    """Short evidence: the condition, the survivor's sample_id, the header."""


class StageCount(Row):
    """One line of the survival table. `ledger/counts.parquet`; reason null is the stage's own line."""

    stage: str
    reason: str | None
    rows_in: int
    kept: int
    rejected: int


class Duplicate(Row):
    """A member of a duplicate group. `groups/duplicates.parquet`, ordered by group, sample_id."""

    sample_id: str
    group: str
    """The smallest sample_id of the connected group."""
    kind: str
    """Kind of this member's nearest link: exact, near or semantic."""
    distance: float
    """Of that link: 0 for exact, differing bits for near (0–256), 1 − cosine for semantic."""
    linked_to: str
    """The other end of that link."""


class Selected(Row):
    """What was decided on every pool row, ordered by part, row: by select (`selection.parquet`), and by the stages
    after it, where there are any (`final.parquet`)."""

    sample_id: str
    part: Int32
    row: Int32
    kept: bool
    stage: str | None
    """The stage that rejected it; null when kept."""
    reason: str | None
    value: float | None
    threshold: float | None
    detail: str | None


class ShardEntry(Row):
    """Where a kept sample lies. `shards/index.parquet`, ordered by shard, position."""

    sample_id: str
    shard: str
    """File name of the tar, without the folder."""
    position: Int32
    """Index of the sample inside the shard, from 0."""
    split: str
    key: str
    """The sample's `__key__` in the tar."""
    image_ext: str
    image_offset: int
    """Byte offset of the image member's data in the tar."""
    image_size: int
    json_offset: int
    json_size: int
    txt_offset: int
    txt_size: int
    masks_offset: int | None
    """Of the member `masks.json`; null in builds without masks."""
    masks_size: int | None
    image_sha256: str
    width: Int32
    height: Int32
    clip_score: Float32 | None


class Member(Row):
    """A tar member of a sample: its ending (all after the first dot of the name), and where its data lie."""

    ext: str
    offset: int
    size: int


class ShardMembers(Row):
    """A sample of a tar that others wrote. One Parquet file per tar of an indexed folder, in the tar's order."""

    sample_id: str
    key: str
    """The name of its members before the first dot: WebDataset's `__key__`."""
    members: list[Member]
    """In the tar's order; endings differ."""
