"""One file of features: safetensors, written under another name, renamed when it is on the disk, and never changed.

    features  BF16 (pictures, patches, width)
    digests   U8   (pictures, 32): sha256 of each picture's bytes as its shard has them
    sums      I64  (pictures,): CRC-32 of each picture's features

A file that is not whole (its writer was killed, a copy ended early) is as good as none.
"""

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.train.loop.checkpoint import fsync
from pipelines.train.loop.tensors import Hashed, write_tensors
from schemas.errors import WrongData

ENDING = ".safetensors"
DIGEST = 32
Shape = tuple[int, int]
"""Patches and width of a picture's features."""


@dataclass(frozen=True)
class Whole:
    """A file and whose features it has."""

    path: Path
    digests: list[bytes]
    sums: np.ndarray
    start: int
    """Bytes before the first picture's features."""
    bytes: int

    def mapped(self, shape: Shape) -> np.ndarray:
        """uint16 (pictures, patches, width), of the file itself. Raises WrongData where it is gone."""
        size = (len(self.digests), *shape)
        try:
            return np.memmap(self.path, np.uint16, "r", self.start, size)
        except (OSError, ValueError) as error:
            raise WrongData(
                f"{self.path} is not there any more, or was cut, while it was read", "run the same command again"
            ) from error

    def check(self, row: int, features: np.ndarray) -> None:
        """Raises WrongData where the disk lost something."""
        if zlib.crc32(features.data.cast("B")) != int(self.sums[row]):
            raise WrongData(
                f"{self.path} is not as it was written", "the disk lost it: remove it, and its pictures are seen again"
            )


def write(folder: Path, writer: str, features: dict[bytes, np.ndarray]) -> Path:
    """One file, named after its pictures, of uint16 (patches, width) by digest. `writer`: nobody else has that name.
    Raises OSError."""
    import torch

    digests = b"".join(features)
    rows = np.stack(list(features.values()))
    sums = [zlib.crc32(row.data.cast("B")) for row in rows]
    path = folder / f"{hashlib.sha256(digests).hexdigest()[:24]}{ENDING}"
    part = folder / f"{writer}.part"
    try:
        with part.open("wb", buffering=0) as file:
            tensors = {
                "features": torch.from_numpy(rows).view(torch.bfloat16),
                "digests": torch.frombuffer(bytearray(digests), dtype=torch.uint8).view(-1, DIGEST),
                "sums": torch.tensor(sums, dtype=torch.int64),
            }
            write_tensors(Hashed(file), tensors)
            fsync(part)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    part.rename(path)
    fsync(folder)
    return path


def opened(path: Path, shape: Shape) -> Whole | None:
    """None where the file is not whole, or holds features of another shape."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if length > size:
                return None
            header = json.loads(file.read(length))
            begin, places = 8 + length, {name: header[name]["data_offsets"] for name in ("features", "digests", "sums")}
            count = header["digests"]["shape"][0]
            if not _fits(header, [count, *shape]) or begin + max(stop for _, stop in places.values()) != size:
                return None
            file.seek(begin + places["digests"][0])
            digests = file.read(count * DIGEST)
            file.seek(begin + places["sums"][0])
            sums = np.frombuffer(file.read(count * 8), "<i8")
    except (
        FileNotFoundError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
    ):  # no file of ours
        return None
    each = [digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST)]
    return Whole(path, each, sums, begin + places["features"][0], size)


def _fits(header: dict[str, Any], shape: list[int]) -> bool:
    wanted = {"features": ("BF16", shape), "digests": ("U8", [shape[0], DIGEST]), "sums": ("I64", shape[:1])}
    return all((header[name]["dtype"], header[name]["shape"]) == told for name, told in wanted.items())
