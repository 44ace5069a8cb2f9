"""Features by picture: those of a folder's files, and those not yet written.

Any number of processes may use a folder: each writes files of its own and finds those of the others when a picture is
looked for that it does not know. In memory are 32 bytes and a place for each picture. A file is written by a thread
once `file_bytes` are together; a kill loses what was not written, which is seen again.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipelines.train.features.file import ENDING, Shape, Whole, opened, write
from pipelines.train.loop.checkpoint import FULL
from schemas.errors import Stopped
from schemas.train_loop import FeatureConfig

_MAPPED = 128  # files mapped at once: each holds a descriptor


class FeatureCache:
    """The features of one tower. Methods may be called by several threads."""

    def __init__(self, folder: Path, shape: Shape, config: FeatureConfig, writer: str) -> None:
        """`folder` exists. `writer`: a name that no other process has at the same time."""
        self.folder, self.shape, self._config, self._writer = folder, shape, config, writer
        self._lock = threading.RLock()
        self._files: list[Whole] = []
        self._names: set[str] = set()
        self._places: dict[bytes, tuple[int, int]] = {}
        self._fresh: dict[bytes, np.ndarray] = {}
        """Not yet in a file."""
        self._leaving: dict[bytes, np.ndarray] = {}
        """Being written."""
        self._maps: OrderedDict[int, np.ndarray] = OrderedDict()
        self._looked = -1
        self._bytes = 0
        self.full: str | None = None
        """Why nothing more is stored."""
        self._space = True
        self._thread = ThreadPoolExecutor(1, "features")
        self._writing: Future[Path] | None = None
        self._look()

    def __len__(self) -> int:
        """Pictures."""
        return len(self._places) + len(self._fresh) + len(self._leaving)

    def __contains__(self, digest: bytes) -> bool:
        with self._lock:
            return self._known(digest) or (self._look() and self._known(digest))

    def read(self, digests: Sequence[bytes], out: np.ndarray) -> None:
        """uint16 (pictures, patches, width) of pictures that are there. Raises WrongData where a file is damaged."""
        for i, digest in enumerate(digests):
            out[i] = self._read(digest)

    def add(self, digest: bytes, features: np.ndarray) -> None:
        """uint16 (patches, width) of a picture; kept as they are. Raises what went wrong in the thread."""
        with self._lock:
            if self._room(features.nbytes) and not self._known(digest):
                self._fresh[digest] = features
            waiting = len(self._fresh) * features.nbytes
        if waiting >= self._config.file_bytes:
            self.flush()

    def flush(self) -> None:
        """Begin to write what is not in a file yet, once the one before is written. Raises what went wrong."""
        self._wait()
        with self._lock:
            if self._fresh and self._space:
                self._leaving, self._fresh = self._fresh, {}
                self._writing = self._thread.submit(write, self.folder, self._writer, self._leaving)

    def close(self) -> None:
        """Write what is left. Raises what went wrong."""
        try:
            self.flush()
            self._wait()
        finally:
            self._thread.shutdown(wait=True)

    # ------------------------------------------------------------------ finding

    def _known(self, digest: bytes) -> bool:
        return digest in self._places or digest in self._fresh or digest in self._leaving

    def _look(self) -> bool:
        """Whether there are new files, which are then known. The folder's time tells, so most looks are one call."""
        now = self.folder.stat().st_mtime_ns
        if now == self._looked:
            return False
        self._looked, before = now, len(self._files)
        for path in sorted(self.folder.glob(f"*{ENDING}")):
            if path.name not in self._names and (found := opened(path, self.shape)) is not None:
                self._took(found)
        return len(self._files) > before

    def _took(self, found: Whole) -> None:
        self._names.add(found.path.name)
        self._files.append(found)
        self._bytes += found.bytes
        for row, digest in enumerate(found.digests):
            self._places.setdefault(digest, (len(self._files) - 1, row))

    def _read(self, digest: bytes) -> np.ndarray:
        with self._lock:
            waiting = self._fresh.get(digest, self._leaving.get(digest))
            if waiting is not None:
                return waiting
            number, row = self._places[digest]
            features = self._map(number)[row]
        self._files[number].check(row, features)
        return features

    def _map(self, number: int) -> np.ndarray:
        if number not in self._maps:
            self._maps[number] = self._files[number].mapped(self.shape)
        self._maps.move_to_end(number)
        if len(self._maps) > _MAPPED:
            self._maps.popitem(last=False)
        return self._maps[number]

    # ------------------------------------------------------------------ writing

    def _room(self, more: int) -> bool:
        waiting = (len(self._fresh) + len(self._leaving)) * more
        if self.full is None and self._bytes + waiting + more > self._config.most_bytes:
            self.full = f"{self.folder} holds {self._bytes + waiting:,} of features.most_bytes"
        return self.full is None

    def _wait(self) -> None:
        """Until nothing is being written. Raises Stopped for a disk that fails; one that is full ends the storing, and
        what it could not take stays in memory."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            found = opened(writing.result(), self.shape)
        except OSError as error:
            if error.errno not in FULL:
                raise self._refused(error.strerror) from error
            self._space, self.full = False, f"no space left in {self.folder}"
            with self._lock:
                self._fresh, self._leaving = self._leaving | self._fresh, {}
            return
        if found is None:
            raise self._refused("it reads other than it was written")
        with self._lock:
            if found.path.name not in self._names:
                self._took(found)
            self._leaving = {}

    def _refused(self, why: str | None) -> Stopped:
        return Stopped(
            f"features cannot be written to {self.folder} ({why})", "see to the disk, then run the same command again"
        )
