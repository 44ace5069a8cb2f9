"""Where the members of a shard's samples lie: byte offsets and sizes as arrays, by what the member is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import WrongData

IMAGE = "image"
"""The role of a sample's picture, whatever its ending."""
IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif", "jp2")


@dataclass(frozen=True, slots=True)
class Places:
    """One member of every sample of a shard: byte `offsets` of its data in the tar and `sizes`, int64 (samples,).

    Size −1: the sample has no such member.
    """

    offsets: np.ndarray
    sizes: np.ndarray


class ShardIndex:
    """A shard's samples in stored order: `sample_id` and the places of their members."""

    def __init__(self, sample_ids: list[str], places: dict[str, Places]) -> None:
        self.sample_ids = sample_ids
        self._places = places

    def __len__(self) -> int:
        return len(self.sample_ids)

    def places(self, member: str) -> Places:
        """Of `image` or of an ending; all absent where no sample has such a member."""
        found = self._places.get(member)
        if found is None:
            nowhere = np.full(len(self), -1, np.int64)
            found = self._places[member] = Places(nowhere, nowhere)
        return found

    def require_inside(self, name: str, size: int) -> None:
        """Raises WrongData where a member would lie outside a tar of `size` bytes."""
        for member, places in self._places.items():
            outside = (places.offsets < 0) | (places.offsets + places.sizes > size)
            beyond = np.flatnonzero((places.sizes >= 0) & outside)
            if len(beyond):
                raise WrongData(
                    f"{name} has {size} bytes and its index places the {member} of sample "
                    f"{self.sample_ids[beyond[0]]} at {places.offsets[beyond[0]]}",
                    "the shard is truncated or the index is not its own: run `pairmill verify`, then make it anew",
                )

    @staticmethod
    def of_build(table: pa.Table) -> "ShardIndex":
        """From rows of `schemas.ledger.ShardEntry`."""
        names = {IMAGE: "image", "json": "json", "txt": "txt", "masks.json": "masks"}
        places = {
            member: Places(*(_places(table[f"{column}_{what}"]) for what in ("offset", "size")))
            for member, column in names.items()
            if f"{column}_offset" in table.column_names  # builds of before had no masks
        }
        return ShardIndex(_names(table["sample_id"]), places)

    @staticmethod
    def of_folder(table: pa.Table) -> "ShardIndex":
        """From rows of `schemas.ledger.ShardMembers`. The picture is the first member with a picture's ending."""
        lists: Any = table["members"].combine_chunks()  # of structs
        row = np.repeat(np.arange(len(lists)), _ints(pc.list_value_length(lists)))
        flat = lists.flatten()
        ext, offset, size = (flat.field(name) for name in ("ext", "offset", "size"))
        coded = ext.dictionary_encode()
        endings, code = [str(e) for e in coded.dictionary.to_pylist()], _ints(coded.indices)
        offset, size = _ints(offset), _ints(size)
        found = {ending: np.flatnonzero(code == i) for i, ending in enumerate(endings)}
        of_pictures = np.asarray([e.rsplit(".", 1)[-1].lower() in IMAGE_ENDINGS for e in endings], bool)
        pictures = np.flatnonzero(of_pictures[code])
        found[IMAGE] = pictures[np.flatnonzero(np.diff(row[pictures], prepend=-1))]  # the first of each sample
        places: dict[str, Places] = {}
        for member, at in found.items():
            offsets, sizes = np.full(len(lists), -1, np.int64), np.full(len(lists), -1, np.int64)
            offsets[row[at]], sizes[row[at]] = offset[at], size[at]
            places[member] = Places(offsets, sizes)
        return ShardIndex(_names(table["sample_id"]), places)


def _names(column: Any) -> list[str]:
    return column.to_pylist()


def _places(column: Any) -> np.ndarray:
    """-1 where a sample has no such member."""
    return _ints(pc.fill_null(column, pa.scalar(-1, pa.int64())))


def _ints(column: Any) -> np.ndarray:
    """Without nulls. By DLPack: Arrow's own way to numpy first imports pandas, for a third of a second."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole.cast(pa.int64()))
