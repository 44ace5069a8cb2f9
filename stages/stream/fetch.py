"""Whole shards from an object store to local files: through a cache that the node's processes share, or unnamed.

What enters is a shard as its manifest promises it; what leaves is the descriptor of a complete local file. Wrong bytes
and broken connections are tried again; what cannot be had ends in an error that names the shard.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable
from typing import Any

from schemas.errors import WrongData, WrongRequest
from schemas.manifest import FileEntry
from schemas.stream import RemoteConfig
from stages.store import Store
from stages.stream.cache import ShardCache, Slot
from stages.stream.files import FileHash, read_only
from stages.stream.marks import Mark
from stages.stream.objects import SizeDiffers, find_object, patient
from stages.stream.transfer import Broken, DiskFull, Sink, Transfer, one_line


class Fetcher:
    """Brings shards of one store. Thread-safe, fork-safe and picklable: it holds no connection of its own."""

    def __init__(self, store: Store, config: RemoteConfig, check: bool, models: Any = None) -> None:
        """`models`: as in `objects.patient`."""
        self._store, self._config, self._check, self._models = store, config, check, models
        self._cache = None if config.cache is None else ShardCache(config.cache, config.cache_bytes)
        self._sound: set[str] = set()
        """sha256 of cached shards whose bytes this process has checked."""

    def __reduce__(self) -> tuple[type["Fetcher"], tuple[Store, RemoteConfig, bool]]:
        return (Fetcher, (self._store, self._config, self._check))

    def fetch(self, facts: FileEntry, mark: Mark | None = None) -> int:
        """A read-only descriptor of a complete local copy of a shard; the caller closes it.

        With `check`, its bytes have been compared with the manifest's sha256, a cached shard's once per process, or
        once by all who see the `mark`.
        Raises WrongData where the shard is missing, is not the manifest's, or cannot be read, or where a disk is full;
        WrongRequest where the store refuses access or the cache folder cannot be used.
        """
        if self._cache is None:
            return self._unnamed(facts)
        found = self._cached(self._cache, facts, mark)
        if found is not None:
            return found
        # Its holder gives up a standing connection after stall_seconds; who writes nothing for longer stands still.
        with self._cache.claim(facts.sha256, facts.bytes, 2 * self._config.stall_seconds) as slot:
            if slot is not None:
                return self._into_cache(self._cache, slot, facts, mark)
        found = self._cached(self._cache, facts, mark)
        return self._unnamed(facts) if found is None else found

    def read(self, facts: FileEntry) -> bytes:
        """All of a small file, brought as a shard is. Raises as `fetch`."""
        with os.fdopen(self.fetch(facts), "rb") as file:
            return file.read()

    def _cached(self, cache: ShardCache, facts: FileEntry, mark: Mark | None) -> int | None:
        fd = cache.open(facts.sha256, facts.bytes)
        if fd is None or not self._check or facts.sha256 in self._sound or mark:
            return fd
        digest = FileHash(fd)
        with contextlib.suppress(EOFError):  # cut short just now
            digest.advance(facts.bytes)
        if digest.hexdigest() != facts.sha256:
            cache.drop(facts.sha256, fd)
            return None
        self._is_sound(facts, mark)
        return fd

    def _is_sound(self, facts: FileEntry, mark: Mark | None) -> None:
        self._sound.add(facts.sha256)
        if mark is not None:
            mark.set()

    def _into_cache(self, cache: ShardCache, slot: Slot, facts: FileEntry, mark: Mark | None) -> int:
        try:
            self._bring(facts, slot.fd, slot.make_room)
        except DiskFull as error:
            raise cache.no_space(facts.path) from error
        if self._check:
            self._is_sound(facts, mark)
        return slot.commit()

    def _unnamed(self, facts: FileEntry) -> int:
        """In a file without a name, which ends with its last descriptor."""
        with tempfile.TemporaryFile(buffering=0) as file:
            try:
                self._bring(facts, file.fileno(), None)
            except DiskFull as error:
                raise WrongData(
                    f"no space left in {tempfile.gettempdir()} for {facts.path}",
                    "free space, set TMPDIR to a larger disk, or lower remote.ahead",
                ) from error
            return read_only(file.fileno())

    def _bring(self, facts: FileEntry, fd: int, make_room: Callable[[int], bool] | None) -> None:
        """The shard into a file; up to `tries` times where what comes is not the manifest's shard."""
        found = ""
        for _ in range(self._config.tries):
            try:
                sha256 = self._transfer(facts, fd, make_room)
            except SizeDiffers as error:
                found = "another size" if error.found is None else f"{error.found} bytes"
                continue
            if sha256 in (None, facts.sha256):
                return
            found = f"{facts.bytes} bytes with sha256 {sha256}"
        raise WrongData(
            f"{self._named(facts)} is not the shard of the manifest: expected {facts.bytes} bytes with sha256 "
            f"{facts.sha256}, found {found}",
            "copy it there again, or run `pairmill verify` on the build and make it anew",
        )

    def _transfer(self, facts: FileEntry, fd: int, make_room: Callable[[int], bool] | None) -> str | None:
        from fsspec.asyn import get_loop

        fs: Any = patient(self._store.fs, self._models, checksums=not self._check)
        stored = find_object(fs, self._store.path(facts.path))
        loop = fs.loop if fs.async_impl else get_loop()
        try:
            return Transfer(stored, facts.bytes, Sink(fd, make_room), self._config).receive(fd, loop, self._check)
        except FileNotFoundError as error:
            raise WrongData(
                f"{self._named(facts)} is missing", "copy it there again, or run `pairmill build` to make it anew"
            ) from error
        except PermissionError as error:
            raise WrongRequest(
                f"{self._named(facts)} may not be read: {one_line(error)}",
                "check the store's credentials and permissions (a store that may not be listed also says so of a "
                "missing object)",
            ) from error
        except Broken as error:
            raise WrongData(
                f"{self._named(facts)} could not be read in {error.tries} tries: {error.reason}",
                "check the store and the network, or raise remote.stall_seconds or remote.tries",
            ) from error

    def _named(self, facts: FileEntry) -> str:
        return f"{facts.path} of {self._store.url}"
