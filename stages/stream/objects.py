"""How one object is read from a store, from any byte on: the connections that a transfer reads from.

S3 and HTTP are read as the bytes come, so that a slow connection is told from one that stands still. Any other fsspec
filesystem gives whole blocks only: there, a block is what has to arrive before the time is up.
"""

import asyncio
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

BLOCK_BYTES = 1 << 20
"""Asked for at once where a store gives whole blocks."""
_CONNECTIONS = 64
"""Of one process to an S3 endpoint: several ranges each of several shards."""
_NEVER = 86_400
"""Seconds; what a client library waits for when the transfer's own clock decides."""
_NO_ACCESS, _NO_OBJECT, _NO_RANGE = (401, 403), (404, 410), 416


class SizeDiffers(Exception):
    """The object has not the expected size; `found` is its size, None where the store does not say."""

    def __init__(self, found: int | None) -> None:
        super().__init__(found)
        self.found = found


class Connection(ABC):
    """An answer being read: bytes from `position` on, of an object of `total` bytes (None: not said)."""

    position: int
    total: int | None
    ranged: bool
    """False: the server sends the whole object whatever is asked for."""

    @abstractmethod
    async def read(self) -> bytes:
        """What comes next, as soon as it comes; empty: the answer is over."""

    @abstractmethod
    def close(self) -> None:
        """Called once; nothing more is read."""


class StoredObject(ABC):
    """One object. `open` raises FileNotFoundError, PermissionError, SizeDiffers, or one of `errors`: try again."""

    at_once: int = 4
    """Connections that may read it at the same time."""
    errors: tuple[type[Exception], ...] = (OSError, EOFError)
    """What a failing network, an overloaded server or a cut answer raises."""

    @abstractmethod
    async def open(self, start: int, stop: int) -> Connection:
        """Begin to read bytes start … stop − 1; a server without ranges begins at 0."""


def find_object(fs: Any, path: str) -> StoredObject:
    """The object at a path of an fsspec filesystem; asks the store nothing."""
    for protocol in _protocols(fs):
        if protocol in _KINDS:
            return _KINDS[protocol](fs, path)
    return _Blocks(fs, path)


def patient(fs: Any, models: Any = None, checksums: bool = True) -> Any:
    """The filesystem for this process, made anew after a fork, that leaves it to the transfer to give up.

    fsspec keeps one per process and set of options, so this is cheap. `models`: see `models_of`. Without `checksums`
    it compares no CRC of an answer: the caller has a hash of the whole.
    """
    options: dict[str, Any] = dict(fs.storage_options)
    if "s3" not in _protocols(fs):
        return type(fs)(*fs.storage_args, **options)
    ours: dict[str, Any] = {
        "read_timeout": _NEVER, "connect_timeout": _NEVER, "max_pool_connections": _CONNECTIONS,
    }  # fmt: skip
    if not checksums:
        ours["response_checksum_validation"] = "when_required"
    options["config_kwargs"] = {**ours, **options.get("config_kwargs", {})}
    found = type(fs)(*fs.storage_args, **options)
    if found.session is None and models is not None:
        from aiobotocore.session import AioSession

        session = AioSession(**found.kwargs)
        session.register_component("data_loader", models)
        found.session = session
    return found


def models_of(fs: Any) -> Any:
    """What an S3 filesystem that has been used knows of its service: to read it takes 0.2 s, of every process.

    None for other filesystems. Survives a fork; holds no connection and no secret.
    """
    session = getattr(fs, "session", None) if "s3" in _protocols(fs) else None
    return None if session is None else session.get_component("data_loader")


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _total(content_range: str | None, start: int) -> int | None:
    """Size of the object by a Content-Range header. Raises OSError where it is not the range asked for."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range or "")
    if found is None or int(found[1]) != start:
        raise OSError(f"asked for bytes from {start} on, got Content-Range {content_range!r}")
    return None if found[2] == "*" else int(found[2])


# ---------------------------------------------------------------------- S3


class _S3(StoredObject):
    def __init__(self, fs: Any, path: str) -> None:
        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError

        self._fs, self._path = fs, path
        self.errors = (OSError, EOFError, ClientError, BotoCoreError)

    async def open(self, start: int, stop: int) -> Connection:
        from botocore import exceptions as botocore

        bucket, key, version = self._fs.split_path(self._path)
        options = {"VersionId": version} if version else {}
        wanted = f"bytes={start}-{stop - 1}"
        try:
            answer = await self._fs._call_s3("get_object", Bucket=bucket, Key=key, Range=wanted, **options)
        except (
            botocore.NoCredentialsError,
            botocore.PartialCredentialsError,
            botocore.CredentialRetrievalError,
            botocore.TokenRetrievalError,
            botocore.ProfileNotFound,
        ) as error:
            raise PermissionError(str(error)) from error
        except OSError as error:
            if "InvalidRange" in str(error.__cause__):
                raise SizeDiffers(None) from error
            raise
        return _S3Connection(answer, start)


class _S3Connection(Connection):
    def __init__(self, answer: dict[str, Any], start: int) -> None:
        self._body = answer["Body"]
        content_range = answer.get("ContentRange")
        self.ranged = content_range is not None
        self.position = start if self.ranged else 0
        self.total = _total(content_range, start) if self.ranged else answer.get("ContentLength")

    async def read(self) -> bytes:
        return await self._body.read(BLOCK_BYTES)

    def close(self) -> None:
        self._body.close()


# ---------------------------------------------------------------------- HTTP


class _Http(StoredObject):
    def __init__(self, fs: Any, path: str) -> None:
        from aiohttp import ClientError

        self._fs, self._path = fs, path
        self.errors = (OSError, EOFError, ClientError)

    async def open(self, start: int, stop: int) -> Connection:
        from aiohttp import ClientTimeout

        options = {"timeout": ClientTimeout(total=None), **self._fs.kwargs}
        # Not packed: ranges and sizes are those of the object itself.
        headers = {**options.pop("headers", {}), "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        session = await self._fs.set_session()
        answer = await session.get(self._fs.encode_url(self._path), headers=headers, **options)
        try:
            return _HttpConnection(answer, start)
        except Exception:
            answer.close()
            raise


class _HttpConnection(Connection):
    def __init__(self, answer: Any, start: int) -> None:
        self._answer = answer
        if answer.status in _NO_OBJECT:
            raise FileNotFoundError(f"HTTP status {answer.status}")
        if answer.status in _NO_ACCESS:
            raise PermissionError(f"HTTP status {answer.status}")
        if answer.status == _NO_RANGE:
            size = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
            raise SizeDiffers(int(size[1]) if size else None)
        if answer.status not in (200, 206):
            raise OSError(f"HTTP status {answer.status}")
        self.ranged = answer.status == 206
        self.position = start if self.ranged else 0
        self.total = answer.content_length
        if self.ranged:
            self.total = _total(answer.headers.get("Content-Range"), start)
        elif "Content-Encoding" in answer.headers:
            self.total = None

    async def read(self) -> bytes:
        return await self._answer.content.read(BLOCK_BYTES)

    def close(self) -> None:
        self._answer.close()


# ---------------------------------------------------------------------- any other


class _Blocks(StoredObject):
    """Through `info` and `cat_file`, which every fsspec filesystem has."""

    def __init__(self, fs: Any, path: str) -> None:
        from aiohttp import ClientError

        self._fs, self._path = fs, path
        self._asynchronous = bool(fs.async_impl)
        self.at_once = StoredObject.at_once if self._asynchronous else 1  # others promise nothing about threads
        self.errors = (OSError, EOFError, ClientError)

    async def open(self, start: int, stop: int) -> Connection:
        if start == 0:
            self._fs.invalidate_cache()
        size = (await self._call("info", self._path))["size"]
        return _BlockConnection(lambda a, b: self._call("cat_file", self._path, start=a, end=b), start, stop, size)

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        if self._asynchronous:
            return await getattr(self._fs, f"_{name}")(*args, **options)
        return await _in_thread(lambda: getattr(self._fs, name)(*args, **options))


class _BlockConnection(Connection):
    def __init__(self, cat: Callable[[int, int], Any], start: int, stop: int, total: int | None) -> None:
        self.position, self.total, self.ranged = start, total, True
        self._cat, self._at, self._stop = cat, start, stop

    async def read(self) -> bytes:
        if self._at >= self._stop:
            return b""
        data = await self._cat(self._at, min(self._at + BLOCK_BYTES, self._stop))
        self._at += len(data)
        return data

    def close(self) -> None:
        """Nothing is open between blocks."""


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Result of blocking work. Its thread can be abandoned: it keeps no process from ending."""
    loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            setter(value)

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 raised again where it is awaited
            loop.call_soon_threadsafe(settle, done.set_exception, error)
        else:
            loop.call_soon_threadsafe(settle, done.set_result, result)

    threading.Thread(target=run, daemon=True, name="pairmill-fetch").start()
    return await done


_KINDS: dict[str, Callable[[Any, str], StoredObject]] = {"s3": _S3, "http": _Http, "https": _Http}
