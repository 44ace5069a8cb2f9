"""Image bytes by byte range, out of the tars of many parts, in the order in which a shard wants them.

Rows are taken in windows of a few dozen MiB. Inside a window reads are grouped by part and go forward through its tar;
on an object store they are one set of range requests. The next window is read while this one is written.
"""

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from schemas.errors import WrongData
from stages.ahead import ahead
from stages.store import Store

_WINDOW_BYTES = 32 << 20
_WINDOW_ROWS = 1024


def images(store: Store, rows: pa.Table) -> Iterator[bytes]:
    """The stored image of each row (columns sample_id, part, offset, size, stored_sha256), in order.

    Raises WrongData naming the sample whose bytes are not those that the part's index promises.
    """
    wanted: list[dict[str, Any]] = rows.select(["sample_id", "part", "offset", "size", "stored_sha256"]).to_pylist()
    for window, found in ahead(lambda window: (window, _read(store, window)), _windows(wanted), threads=1):
        for row, data in zip(window, found, strict=True):
            if len(data) != row["size"] or hashlib.sha256(data).hexdigest() != row["stored_sha256"]:
                raise WrongData(
                    f"sample {row['sample_id']}: its bytes in {tar_name(row['part'])} are not those of its index",
                    f"delete parts/{row['part']:05d}.parquet and run the build again to fetch that part anew",
                )
            yield data


def tar_name(part: int) -> str:
    """A part's payload tar."""
    return f"parts/{part:05d}.tar"


def _windows(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    window: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        if window and (size + row["size"] > _WINDOW_BYTES or len(window) == _WINDOW_ROWS):
            yield window
            window, size = [], 0
        window.append(row)
        size += row["size"]
    if window:
        yield window


def _read(store: Store, window: list[dict[str, Any]]) -> list[bytes]:
    try:
        return _read_local(store, window) if store.local else _read_remote(store, window)
    except FileNotFoundError as error:
        missing = next(tar_name(row["part"]) for row in window if not store.exists(tar_name(row["part"])))
        raise WrongData(f"{missing} is missing from {store.url}", "run the build again to fetch it anew") from error


def _read_local(store: Store, window: list[dict[str, Any]]) -> list[bytes]:
    found = [b""] * len(window)
    part, fd = None, -1
    try:
        for i in sorted(range(len(window)), key=lambda i: (window[i]["part"], window[i]["offset"])):
            row = window[i]
            if row["part"] != part:
                if fd >= 0:
                    os.close(fd)
                fd = -1
                fd, part = os.open(store.path(tar_name(row["part"])), os.O_RDONLY), row["part"]
            found[i] = os.pread(fd, row["size"], row["offset"])
    finally:
        if fd >= 0:
            os.close(fd)
    return found


def _read_remote(store: Store, window: list[dict[str, Any]]) -> list[bytes]:
    paths = [store.path(tar_name(row["part"])) for row in window]
    starts = [row["offset"] for row in window]
    ends = [row["offset"] + row["size"] for row in window]
    return list(store.fs.cat_ranges(paths, starts, ends, on_error="raise"))
