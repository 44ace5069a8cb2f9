"""Tars as others write them, and what `webdataset` makes of them."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa

Members = list[tuple[str, bytes]]


def tar_of(members: Members, fmt: int = tarfile.GNU_FORMAT, **settings: Any) -> bytes:
    """A tar with regular files, as `tarfile` writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt, **settings) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def img2dataset_members(first: int, count: int, **document: str) -> Members:
    """What img2dataset writes of `count` samples: jpg, json, txt. The data encode the key."""
    out: Members = []
    for i in range(first, first + count):
        key = f"{i:09d}"
        fields = "".join(f', "{k}": "{v}"' for k, v in document.items())
        text = f'{{"caption": "caption {i}", "url": "http://x.test/{i}", "key": "{key}", "status": "success"{fields}}}'
        picture = b"\xff\xd8\xff" + key.encode() * (1 + i % 7)
        out += [(f"{key}.jpg", picture), (f"{key}.json", text.encode()), (f"{key}.txt", f"caption {i}".encode())]
    return out


def by_webdataset(path: Path) -> list[tuple[str, dict[str, bytes]]]:
    """Key and members of every sample that `webdataset` itself yields."""
    from webdataset.tariterators import tarfile_samples

    found = [dict(sample) for sample in tarfile_samples([{"url": str(path)}])]
    return [(s["__key__"], {k: v for k, v in s.items() if not k.startswith("__")}) for s in found]


def by_index(table: pa.Table, data: bytes) -> list[tuple[str, dict[str, bytes]]]:
    """Key and members of every sample of an index, read where it says that they lie."""
    rows = table.to_pylist()
    return [(r["key"], {m["ext"]: data[m["offset"] : m["offset"] + m["size"]] for m in r["members"]}) for r in rows]
