"""Pictures on their way into a batch: how many tokens each takes, its pixels, and those of other samples."""

import hashlib
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from schemas.errors import WrongData
from schemas.stream import DecodeConfig
from stages.ahead import ahead
from stages.download.reasons import Refusal
from stages.download.sniff import sniff
from stages.measure.decode import Undecodable, decode
from stages.shard.run import INDEX
from stages.store import Store
from stages.stream.decode import Decoder
from stages.stream.source import BUILD_MANIFEST, Source

if TYPE_CHECKING:
    import torch


class Stored:
    """A picture that is read when it is needed."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self.read = read


def encoded(picture: Any) -> Any:
    """Its bytes-like."""
    return picture.read() if isinstance(picture, Stored) else picture


class Pixels(Protocol):
    """What a model makes of pictures. Implementations must be deterministic."""

    def tokens(self, pictures: Sequence[Any]) -> list[int]:
        """Image tokens of each picture of one conversation, 1 or more; at most the headers need be read.

        A picture is bytes-like or `Stored`. Raises Undecodable.
        """
        ...

    def decode(self, pictures: Sequence[Any]) -> "list[np.ndarray | str]":
        """uint8 RGB (height, width, 3) of each picture, or why not."""
        ...

    def tensors(self, conversations: "list[list[np.ndarray]]") -> "dict[str, torch.Tensor]":
        """The model's inputs for all pictures of a batch, by conversation, each with one or more: `pixel_values` and
        what goes with it."""
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

    def tokens(self, pictures: Sequence[Any]) -> list[int]:
        return [self.count] * len(pictures)

    def decode(self, pictures: Sequence[Any]) -> "list[np.ndarray | str]":
        if self._decoder is None:
            self._decoder = Decoder(self.decoding)
        squares, bad = self._decoder.decode([encoded(picture) for picture in pictures])
        found: list[np.ndarray | str] = list(squares)
        for i, why in bad.items():
            found[i] = why
        return found

    def tensors(self, conversations: "list[list[np.ndarray]]") -> "dict[str, torch.Tensor]":
        """pixel_values: float32 (pictures, 3, size, size)."""
        import torch

        scale = torch.tensor(self.std).mul(255)
        shift = torch.tensor(self.mean).mul(255)
        stacked = np.stack([picture for conversation in conversations for picture in conversation])
        pixels = torch.from_numpy(stacked).to(torch.float32)
        return {"pixel_values": pixels.sub_(shift).div_(scale).permute(0, 3, 1, 2).contiguous()}

    def identity(self) -> dict[str, Any]:
        return {"kind": "square", "tokens": self.count}


class Sees(Protocol):
    """A model as `pipelines.train.models.Built` has it, as far as pictures go."""

    def image_tokens(self, height: int, width: int, *, alone: bool = True) -> int:
        """Of a picture of these pixels; `alone`: its conversation has no other."""
        ...

    def pictures(self, samples: "Sequence[Sequence[np.ndarray]]") -> dict[str, Any]:
        """The model's inputs."""
        ...


@dataclass
class ModelPixels:
    """Whole pictures, seen as the model's own processor sees them: squares, or tiles that depend on the picture's size.

    `name`: what decides the number of tokens, for checkpoints.
    """

    model: Sees
    name: str
    threads: int = 2

    def tokens(self, pictures: Sequence[Any]) -> list[int]:
        return [self._tokens(picture, len(pictures) == 1) for picture in pictures]

    def decode(self, pictures: Sequence[Any]) -> "list[np.ndarray | str]":
        return list(ahead(_decoded, pictures, self.threads))

    def tensors(self, conversations: "list[list[np.ndarray]]") -> "dict[str, torch.Tensor]":
        """As the model has them: pixel_values (pictures, [tiles,] 3, height, width), with tiles image_sizes."""
        return self.model.pictures(conversations)

    def identity(self) -> dict[str, Any]:
        return {"kind": "model", "tokens": self.name}

    def _tokens(self, picture: Any, alone: bool) -> int:
        facts = sniff(bytes(encoded(picture)))
        if isinstance(facts, Refusal):
            raise Undecodable(facts.detail or facts.reason.value)
        return self.model.image_tokens(facts.height, facts.width, alone=alone)


def _decoded(picture: Any) -> "np.ndarray | str":
    try:
        return decode(encoded(picture), None).rgb
    except Undecodable as error:
        return str(error)


class OtherPictures:
    """Pictures of other samples of a build, for conversations over several: 84 bytes per sample, read when the first is
    asked for; the pictures themselves when they are decoded."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._tables: dict[int, _Places | None] = {}

    def find(self, source: int, sample_id: str) -> Stored | None:
        """None where the source is no build, or no shard has it. Reading it raises WrongData where the shard is not
        what its index says."""
        if source not in self._tables:
            store = self._sources[source].tars
            build = store.exists(BUILD_MANIFEST) and store.exists(INDEX)
            self._tables[source] = _Places(store) if build else None
        places = self._tables[source]
        at = None if places is None else places.find(sample_id)
        return None if places is None or at is None else Stored(partial(places.read, at))


class _Places:
    """Shard, offset, size, sha256 of each sample's picture; sorted by sample_id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        columns = ["sample_id", "shard", "image_offset", "image_size", "image_sha256"]
        table = store.read_table(INDEX, columns)
        ids = np.asarray(table["sample_id"].to_pylist(), "S")
        order = np.argsort(ids, kind="stable")
        self._ids = ids[order]
        self._shards, shard = np.unique(np.asarray(table["shard"].to_pylist(), "U"), return_inverse=True)
        self._shard = shard.astype(np.int32)[order]
        self._offset = np.asarray(table["image_offset"], np.int64)[order]
        self._size = np.asarray(table["image_size"], np.int64)[order]
        digests = [bytes.fromhex(str(digest)) for digest in table["image_sha256"].to_pylist()]
        self._digest = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)[order]

    def find(self, sample_id: str) -> int | None:
        wanted = sample_id.encode()
        at = int(np.searchsorted(self._ids, wanted))
        return at if at < len(self._ids) and bytes(self._ids[at]) == wanted else None

    def read(self, at: int) -> bytes:
        shard = posixpath.join("shards", str(self._shards[self._shard[at]]))
        with self._store.open(shard) as file:
            file.seek(int(self._offset[at]))
            data = file.read(int(self._size[at]))
        if hashlib.sha256(data).digest() != self._digest[at].tobytes():
            sample = self._ids[at].decode()
            raise WrongData(
                f"sample {sample}: its picture in {self._store.path(shard)} is not the one of the index",
                "`pairmill verify` says which samples are hit; build that shard again",
            )
        return data
