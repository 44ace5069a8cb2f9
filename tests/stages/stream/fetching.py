"""One shard behind a server: its data, a fetch of it, and what a refusal has to say."""

import fcntl
import hashlib
import os
from typing import Any

import pytest

from schemas.errors import WrongData, WrongRequest
from schemas.manifest import FileEntry
from schemas.stream import RemoteConfig
from stages.store import Store
from stages.stream.fetch import Fetcher

RANGE = 64 << 10
DATA = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(20_000))  # 640 kB: ten ranges
PATH = "/shards/train-000000.tar"
WRONG = DATA[:200_000] + bytes([DATA[200_000] ^ 1]) + DATA[200_001:]


def facts(data: bytes = DATA, path: str = PATH) -> FileEntry:
    return FileEntry(path=path.lstrip("/"), bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def fetcher(url: str, check: bool = True, **config: Any) -> Fetcher:
    return Fetcher(Store(url), RemoteConfig(**{"stall_seconds": 20, **config}), check)


def fetched(fetcher: Fetcher, wanted: FileEntry | None = None) -> bytes:
    fd = fetcher.fetch(wanted or facts())
    try:
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        return os.pread(fd, os.fstat(fd).st_size + 1, 0)
    finally:
        os.close(fd)


def refusal(fetcher: Fetcher, kind: type[WrongData] | type[WrongRequest] = WrongData) -> str:
    with pytest.raises(kind) as error:
        fetcher.fetch(facts())
    said = str(error.value)
    assert "\n" not in said and PATH.lstrip("/") in said
    return said
