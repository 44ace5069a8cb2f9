"""What one reader process is asked for, and what it answers: two dataclasses that travel as JSON lines."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """One measurement of one reader."""

    reader: str
    """Key of `readers.READERS`."""
    root: str
    """Folder or URL that holds this reader's format."""
    job: str = "rate"
    """rate | check | memory | first | order"""
    decode: str = "none"
    """none: bytes of all three members; same: `decode.to_224` for every reader; own: the reader's default decoder."""
    workers: int = 0
    """Of the DataLoader."""
    threads: int = 1
    """Decoding threads per process, where a reader has them."""
    batch: int = 64
    shuffle: bool = True
    seconds: float = 2.0
    """Reading time to reach, in whole epochs where the data come from an object store."""
    cache: str | None = None
    """Where folders for fetched shards are made, an empty one for every epoch; null: local files."""
    limit: int = 0
    """memory: samples to read."""
    options: dict[str, Any] = field(default_factory=dict)
    """Reader's own: shuffle buffer, algorithm, window."""

    def line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> "Setting":
        return cls(**json.loads(line))


@dataclass(slots=True)
class Answer:
    """What a reader process measured; fields that its job does not fill stay at their defaults."""

    samples: int = 0
    wall: float = 0.0
    """Seconds of reading."""
    cpu: float = 0.0
    """CPU seconds of this process and all its children, over the same time."""
    starts: list[float] = field(default_factory=list)
    """Seconds from asking for an epoch to its first batch."""
    found: dict[str, str] = field(default_factory=dict)
    """check: text → hex digest of what came with it."""
    repeated: int = 0
    """check: samples that came more than once."""
    rss: dict[str, list[float]] = field(default_factory=dict)
    """memory: samples read → MiB resident, MiB of those anonymous."""
    order: list[int] = field(default_factory=list)
    """order: numbers of the samples as they came."""
    cannot: str | None = None
    """The reader has no such setting, and why."""

    def line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> "Answer":
        return cls(**json.loads(line))

    @property
    def rate(self) -> float:
        return self.samples / self.wall if self.wall else 0.0

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu / self.samples if self.samples else 0.0
