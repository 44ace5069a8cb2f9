"""Pictures on their way into a batch where features are kept: one that is known is neither decoded nor prepared."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.train.batches.images import Pixels, encoded
from pipelines.train.features.cache import FeatureCache

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of a batch."""

    digest: bytes
    rgb: np.ndarray | None
    """Null: its features are known."""


@dataclass
class Pictures:
    """A batch's pictures, each once, however often it is in the batch."""

    digests: list[bytes]
    rows: "torch.Tensor"
    """bfloat16 (digests, patches, width): features, where they are known."""
    missing: list[int]
    """Rows without features, in order."""
    pixel_values: "torch.Tensor | None"
    """(missing, 3, side, side); null where none is missing."""
    places: list[int]
    """Row of each picture of the batch."""
    looked: int = 0
    """How many of them the tower then saw."""


@dataclass
class CachedPixels:
    """Another `Pixels`, asked only for what the cache does not have."""

    inner: Pixels
    cache: FeatureCache

    def tokens(self, pictures: Sequence[Any]) -> list[int]:
        return self.inner.tokens(pictures)

    def decode(self, pictures: Sequence[Any]) -> list[Any]:
        """`Seen` of each picture, or why it cannot be seen."""
        stored = [encoded(picture) for picture in pictures]
        digests = [hashlib.sha256(data).digest() for data in stored]
        unknown = {digest: data for digest, data in zip(digests, stored, strict=True) if digest not in self.cache}
        found = dict(zip(unknown, self.inner.decode(list(unknown.values())), strict=True)) if unknown else {}
        return [one if isinstance(one := found.get(d), str) else Seen(d, one) for d in digests]

    def tensors(self, conversations: "list[list[Any]]") -> dict[str, Any]:
        """`features`: `Pictures`."""
        import torch

        every: list[Seen] = [picture for conversation in conversations for picture in conversation]
        unique = {picture.digest: picture for picture in every}
        numbers = {digest: row for row, digest in enumerate(unique)}
        rows = torch.empty((len(unique), *self.cache.shape), dtype=torch.bfloat16)
        missing = [row for row, picture in enumerate(unique.values()) if picture.rgb is not None]
        known = [row for row, picture in enumerate(unique.values()) if picture.rgb is None]
        fill(self.cache, list(unique), known, rows)
        pixels = [[picture.rgb] for picture in unique.values() if picture.rgb is not None]
        values = self.inner.tensors(pixels)["pixel_values"] if pixels else None
        return {"features": Pictures(list(unique), rows, missing, values, [numbers[p.digest] for p in every])}

    def identity(self) -> dict[str, Any]:
        return self.inner.identity()


def fill(cache: FeatureCache, digests: list[bytes], known: list[int], rows: "torch.Tensor") -> None:
    """Put known pictures' features into their rows of a CPU tensor."""
    import torch

    kept = np.empty((len(known), *cache.shape), np.uint16)
    cache.read([digests[row] for row in known], kept)
    rows[known] = torch.from_numpy(kept).view(torch.bfloat16)
