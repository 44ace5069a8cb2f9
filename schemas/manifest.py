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
