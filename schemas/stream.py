"""What a stream reads, in which order, and how: the settings of `stages/stream/`."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.config import RUNTIME, StageConfig


class Fit(StrEnum):
    """How a picture becomes a square of the model's size."""

    center_crop = "center_crop"
    """Shorter side to the size, middle square."""
    squash = "squash"
    """Both sides to the size, proportions lost."""
    pad = "pad"
    """Longer side to the size, black around."""


class SourceConfig(StageConfig):
    """One dataset of a mixture: a finished build, or a folder of WebDataset tars that `pairmill index` has indexed."""

    path: str
    """Folder or fsspec URL."""
    name: str | None = None
    """What curriculum, states and reports call it; by default the last part of the path."""
    split: str | None = None
    """Only shards of this split (`train`, `val`); null: all."""
    where: str | None = None
    """SQL condition over the columns of `shards/index.parquet`; only samples that fulfil it are streamed."""
    weight: float | None = Field(default=None, ge=0)
    """Share of the mixture, relative to the other sources; null: by size and `temperature`."""
    cap: int | None = Field(default=None, gt=0)
    """At most this many draws in all."""
    repeats: float | None = Field(default=1.0, gt=0)
    """At most this many epochs; null: endless."""

    @property
    def label(self) -> str:
        return self.name or self.path.rstrip("/").rsplit("/", 1)[-1]


class WeightsFrom(StageConfig):
    """A step of a curriculum: from the sample `at` of the stream on, these weights by source name."""

    at: int = Field(ge=0)
    weights: dict[str, float]

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if any(w < 0 for w in self.weights.values()) or not any(self.weights.values()):
            raise ValueError("weights must be 0 or more, and one of them more than 0")
        return self


class DecodeConfig(StageConfig):
    """From image bytes to uint8 RGB of one size."""

    size: int = Field(default=224, gt=0)
    """Side of the square, in pixels."""
    fit: Fit = Fit.center_crop
    exact: bool = False
    """Decode every pixel before resizing; false: JPEGs at the smallest scale in eighths that is not below the size."""
    threads: Annotated[int, Field(gt=0), RUNTIME] = 2


class RemoteConfig(StageConfig):
    """How shards come from an object store; nothing here decides what is read."""

    ahead: Annotated[int, Field(ge=0), RUNTIME] = 4
    """Whole shards fetched before they are needed."""
    cache: Annotated[str | None, RUNTIME] = None
    """Folder for fetched shards, shared by all processes of a node; null: unnamed files that end with the process."""
    cache_bytes: Annotated[int, Field(gt=0), RUNTIME] = 64 << 30
    """Bound of that folder."""
    stall_seconds: Annotated[float, Field(gt=0), RUNTIME] = 30.0
    """A transfer that brings no byte for so long is given up and tried again."""
    tries: Annotated[int, Field(gt=0), RUNTIME] = 8


class StreamConfig(StageConfig):
    """A stream: its sources and their order decide the sequence; the RUNTIME settings only how it is read."""

    sources: list[SourceConfig] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    shuffle: bool = True
    """False: stored order, epoch after epoch."""
    window: int = Field(default=8, gt=0)
    """Shards that are mixed with one another: each epoch shuffles the shards, then the samples of every `window`."""
    temperature: float = Field(default=1.0, gt=0)
    """Sources without a weight are drawn in proportion to size ** (1 / temperature)."""
    curriculum: list[WeightsFrom] = []
    """Later weights, in the order of `at`."""
    batch: Annotated[int, Field(gt=0), RUNTIME] = 64
    """Samples per batch and rank."""
    drop_last: Annotated[bool, RUNTIME] = False
    """End the stream at the last step that gives every rank a full batch."""
    members: Annotated[list[str], RUNTIME] = ["image", "txt", "json"]
    """What is read of a sample: `image` (whatever its ending) and endings of tar members."""
    decode: Annotated[DecodeConfig | None, RUNTIME] = None
    """null: image bytes as stored."""
    max_bad_share: Annotated[float, Field(ge=0, le=1), RUNTIME] = 0.01
    """More undecodable samples than this share (after the first 1,000) end the stream with an error."""
    check: Annotated[bool, RUNTIME] = True
    """Compare each shard's sha256 with the manifest when it is first opened."""
    remote: RemoteConfig = RemoteConfig()

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [s.label for s in self.sources]
        if self.decode is not None and "image" not in self.members:
            raise ValueError(f"decode needs the image, members are {self.members}: add 'image', or leave decode out")
        if len(set(names)) != len(names):
            raise ValueError(f"two sources are called {max(names, key=names.count)!r}: give them a name")
        for step in self.curriculum:
            if unknown := set(step.weights) - set(names):
                raise ValueError(f"curriculum names {sorted(unknown)[0]!r}; the sources are {names}")
        if [s.at for s in self.curriculum] != sorted({s.at for s in self.curriculum}):
            raise ValueError("curriculum must be in the order of `at`, each once")
        return self
