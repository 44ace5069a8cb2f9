"""Pictures on their way into a batch: how many tokens each takes, its pixels, and those of other samples."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from schemas.stream import DecodeConfig
from stages.download.reasons import Refusal
from stages.download.sniff import sniff
from stages.measure.decode import Undecodable, decode
from stages.shard.run import INDEX
from stages.stream.decode import Decoder
from stages.stream.source import BUILD_MANIFEST, Source

if TYPE_CHECKING:
    import torch


class Pixels(Protocol):
    """What a model makes of pictures. Implementations must be deterministic."""

    def tokens(self, picture: Any) -> int:
        """Image tokens of one encoded picture, 1 or more; at least its header may be read. Raises Undecodable."""
        ...

    def decode(self, pictures: Sequence[Any]) -> "list[np.ndarray | str]":
        """uint8 RGB (height, width, 3) of each encoded picture, or why not."""
        ...

    def tensors(self, pictures: "list[np.ndarray]") -> "dict[str, torch.Tensor]":
        """The model's inputs for all pictures of a batch, in order: `pixel_values` and what goes with it."""
        ...

    def identity(self) -> dict[str, Any]:
        """What decides `tokens`, as JSON: a checkpoint is refused where it has changed."""
        ...


@dataclass
class SquarePixels:
    """Every picture a square of one size and so many tokens, as LLaVA-1.5: (336 / 14)² = 576.

    `mean`, `std`: of CLIP (openai/CLIP, clip.py), for pixels in 0 … 1.
    """

    count: int
    decoding: DecodeConfig = field(default_factory=DecodeConfig)
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    _decoder: Decoder | None = None

    def tokens(self, picture: Any) -> int:
        return self.count

    def decode(self, pictures: Sequence[Any]) -> "list[np.ndarray | str]":
        if self._decoder is None:
            self._decoder = Decoder(self.decoding)
        squares, bad = self._decoder.decode(pictures)
        found: list[np.ndarray | str] = list(squares)
        for i, why in bad.items():
            found[i] = why
        return found

    def tensors(self, pictures: "list[np.ndarray]") -> "dict[str, torch.Tensor]":
        """pixel_values: float32 (pictures, 3, size, size)."""
        import torch

        scale = torch.tensor(self.std).mul(255)
        shift = torch.tensor(self.mean).mul(255)
        pixels = torch.from_numpy(np.stack(pictures)).to(torch.float32)
        return {"pixel_values": pixels.sub_(shift).div_(scale).permute(0, 3, 1, 2).contiguous()}

    def identity(self) -> dict[str, Any]:
        return {"pixels": "square", "tokens": self.count}


@dataclass
class ProcessedPixels:
    """Pictures through an image processor of transformers, whole: for tiles and other sizes that depend on the picture.

    `count`: (height, width) as shown → image tokens; `name`: what decides that, for checkpoints.
    """

    processor: Any
    count: Any
    name: str

    def tokens(self, picture: Any) -> int:
        facts = sniff(bytes(picture))
        if isinstance(facts, Refusal):
            raise Undecodable(facts.detail or facts.reason.value)
        return int(self.count(facts.height, facts.width))

    def decode(self, pictures: Sequence[Any]) -> "list[np.ndarray | str]":
        return [_decoded(picture) for picture in pictures]

    def tensors(self, pictures: "list[np.ndarray]") -> "dict[str, torch.Tensor]":
        """As the processor has them: pixel_values (pictures, [tiles,] 3, height, width), with tiles image_sizes."""
        return dict(self.processor(images=pictures, return_tensors="pt", input_data_format="channels_last"))

    def identity(self) -> dict[str, Any]:
        return {"pixels": "processed", "tokens": self.name}


def _decoded(picture: Any) -> "np.ndarray | str":
    try:
        return decode(picture, None).rgb
    except Undecodable as error:
        return str(error)


class OtherPictures:
    """Pictures of other samples of a build, for conversations over several: 52 bytes per sample, read when the first is
    asked for."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._tables: dict[int, _Places] = {}

    def find(self, source: int, sample_id: str) -> bytes | None:
        """As stored; None where the source is no build, or no shard has it."""
        of = self._sources[source]
        if not of.tars.exists(BUILD_MANIFEST) or not of.tars.exists(INDEX):
            return None
        if source not in self._tables:
            self._tables[source] = _Places(of)
        place = self._tables[source].find(sample_id)
        if place is None:
            return None
        shard, offset, size = place
        with of.tars.open(posixpath.join("shards", shard)) as file:
            file.seek(offset)
            return file.read(size)


class _Places:
    """sample_id → shard, offset, size; sorted by id."""

    def __init__(self, source: Source) -> None:
        table = source.tars.read_table(INDEX, ["sample_id", "shard", "image_offset", "image_size"])
        ids = np.asarray(table["sample_id"].to_pylist(), "S")
        order = np.argsort(ids, kind="stable")
        self._ids = ids[order]
        self._shards, shard = np.unique(np.asarray(table["shard"].to_pylist(), "U"), return_inverse=True)
        self._shard = shard.astype(np.int32)[order]
        self._offset = np.asarray(table["image_offset"], np.int64)[order]
        self._size = np.asarray(table["image_size"], np.int64)[order]

    def find(self, sample_id: str) -> tuple[str, int, int] | None:
        wanted = sample_id.encode()
        at = int(np.searchsorted(self._ids, wanted))
        if at == len(self._ids) or bytes(self._ids[at]) != wanted:
            return None
        return str(self._shards[self._shard[at]]), int(self._offset[at]), int(self._size[at])
