"""manifest.json: written last, atomically; its presence means that the build is done."""

from pydantic import BaseModel, ConfigDict


class FileEntry(BaseModel):
    """One file of the build."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """The finished build: what it was made from, how many rows it accounts for, and every file's hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    recipe: str
    """The recipe's name."""
    fingerprint: str
    """Hash of everything that decided the files below."""
    inputs: int
    kept: int
    rejected: dict[str, int]
    """stage/reason → rows."""
    shards: list[FileEntry]
    files: list[FileEntry]


class IndexedShard(BaseModel):
    """One tar of an indexed folder, and the Parquet file that says what is in it (`schemas.ledger.ShardMembers`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Of the tar, relative to the folder."""
    bytes: int
    sha256: str
    samples: int
    index: str
    """Of its index, relative to the folder that holds the manifest."""
    index_bytes: int
    index_sha256: str


class FolderIndex(BaseModel):
    """`manifest.json` of an indexed folder of WebDataset tars, in `.pairmill/` or a folder of its own; written last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    folder: str
    """Where the tars are: `..` from `.pairmill/`, else a path or fsspec URL. No part of the fingerprint."""
    fingerprint: str
    """Hash of the shards' names, sizes and sha256."""
    samples: int
    shards: list[IndexedShard]
