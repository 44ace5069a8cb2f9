"""A folder of tars that others wrote, what its index holds, and what a refusal says."""

import hashlib
import tarfile
from typing import Any

import fsspec
import pytest

from pipelines.index_folder import index_folder
from schemas.errors import PairmillError
from schemas.manifest import FolderIndex
from stages.store import Store
from stages.stream.source import Source
from tests.stages.stream.tars import img2dataset_members, tar_of

TARS = {
    "00000.tar": tar_of(img2dataset_members(0, 5), tarfile.PAX_FORMAT),
    "00001.tar": tar_of(img2dataset_members(5, 4)),
    "more/00000.tar": tar_of([*img2dataset_members(9, 3), ("last.cls", b"1"), ("README", b"x")]),
    "more/none.tar": tar_of([]),
}


def put(url: str, tars: dict[str, bytes] = TARS) -> str:
    """A folder with these tars; its path."""
    fs, root = fsspec.core.url_to_fs(url)
    for name, data in tars.items():
        fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{name}", data)
    return url


def tree(path: str) -> dict[str, str]:
    """Every file of an index but logs, and its hash."""
    store = Store(path)
    names = [n for n in store.walk() if not n.startswith("logs/")]
    return {n: hashlib.sha256(store.read_bytes(n)).hexdigest() for n in names}


def manifest(index: str) -> FolderIndex:
    return FolderIndex.model_validate_json(Store(index).read_bytes("manifest.json"))


def streamed(source: Source) -> list[tuple[str, dict[str, bytes]]]:
    """sample_id and members of every sample, read where the stream would read them."""
    out: list[tuple[str, dict[str, bytes]]] = []
    for i, facts in enumerate(source.facts):
        data, index = source.tars.read_bytes(facts.path), source.index(i)
        index.require_inside(facts.path, len(data))
        assert hashlib.sha256(data).hexdigest() == facts.sha256 and len(data) == facts.bytes
        for j, sample_id in enumerate(index.sample_ids):
            places = {e: index.places(e) for e in ("jpg", "json", "txt", "cls")}
            found = {e: data[p.offsets[j] : p.offsets[j] + p.sizes[j]] for e, p in places.items() if p.sizes[j] >= 0}
            out.append((sample_id, found))
    return out


def refused(kind: type[PairmillError], *args: Any) -> str:
    with pytest.raises(kind) as caught:
        index_folder(*args)
    return str(caught.value)


def same_size(data: bytes) -> bytes:
    """The same tar but for one byte of its data."""
    at = data.index(b"caption")
    return data[:at] + b"C" + data[at + 1 :]
