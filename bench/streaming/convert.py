"""From the tars to a peer's own format: `python -m bench.streaming.convert FORMAT TARS OUT`, in the peers' environment.

`mds` and `lit` hold the three members as bytes; `mds-own` and `lit-own` hold the picture in the peer's image type, so
that reading runs the peer's default decoder. The JPEG's bytes are the same in all. Shards are about as large as the
tars' payload.
"""

import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.streaming.tars import members


def loose(tars: Path, out: Path) -> None:
    """A file per member, 1,000 samples to a folder."""
    for number, (key, held) in enumerate(members(tars)):
        folder = out / f"{number // 1000:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        for ending, data in held.items():
            (folder / f"{key}.{ending}").write_bytes(data)


def mds(tars: Path, out: Path) -> None:
    _mds(tars, out, {"jpg": "bytes", "json": "bytes", "txt": "bytes"}, lambda data: data)


def mds_own(tars: Path, out: Path) -> None:
    from PIL import Image

    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:

        def named(data: bytes) -> Any:  # MDSWriter keeps a JPEG's bytes only where the image names its file
            Path(file.name).write_bytes(data)
            return Image.open(file.name)

        _mds(tars, out, {"jpg": "jpeg", "json": "bytes", "txt": "bytes"}, named)


def _mds(tars: Path, out: Path, columns: dict[str, str], picture: Callable[[bytes], Any]) -> None:
    writers: Any = importlib.import_module("streaming")
    with writers.MDSWriter(out=str(out), columns=columns, size_limit=payload_per_shard(tars)) as writer:
        for _, held in members(tars):
            writer.write({**held, "jpg": picture(held["jpg"])})


def lit(tars: Path, out: Path) -> None:
    _lit(tars, out, _as_bytes)


def lit_own(tars: Path, out: Path) -> None:
    _lit(tars, out, _as_jpeg)


def _lit(tars: Path, out: Path, fn: Callable[[str], Any]) -> None:
    """One input per tar and one worker, so that samples keep their order; chunks hold as many as the tars do."""
    litdata: Any = importlib.import_module("litdata")
    paths = [str(path) for path in sorted(tars.glob("*.tar"))]
    litdata.optimize(
        fn=fn, inputs=paths, output_dir=str(out), chunk_size=samples_per_shard(tars), num_workers=1,
        reorder_files=False, verbose=False,
    )  # fmt: skip


def _as_bytes(path: str) -> Iterator[dict[str, Any]]:
    yield from (held for _, held in _one(path))


def _as_jpeg(path: str) -> Iterator[dict[str, Any]]:
    types: Any = importlib.import_module("litdata.types")
    yield from ({**held, "jpg": types.Jpeg(bytes=held["jpg"])} for _, held in _one(path))


def _one(path: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / Path(path).name).symlink_to(path)
        yield from members(Path(folder))


def samples_per_shard(tars: Path) -> int:
    first = sorted(tars.glob("*.tar"))[0]
    return sum(1 for _ in _one(str(first)))


def payload_per_shard(tars: Path) -> int:
    """Bytes of the members in the first tar, and of MDS' offsets and sizes for them."""
    first = sorted(tars.glob("*.tar"))[0]
    return sum(16 + sum(map(len, held.values())) for _, held in _one(str(first))) + 4096


FORMATS: dict[str, Callable[[Path, Path], None]] = {
    "loose": loose,
    "mds": mds,
    "mds-own": mds_own,
    "lit": lit,
    "lit-own": lit_own,
}


def main(asked: list[str]) -> None:
    name, tars, out = asked
    unfinished = Path(out + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    FORMATS[name](Path(tars), unfinished)
    unfinished.rename(out)


if __name__ == "__main__":
    main(sys.argv[1:])
