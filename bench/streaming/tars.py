"""Reading the benchmark's own tars once, to write the other formats from them: stdlib only, runs in any environment."""

import tarfile
from collections.abc import Iterator
from pathlib import Path


def members(folder: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, {ending: bytes}) of every sample, in stored order."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            key, held = "", dict[str, bytes]()
            for info in tar:
                stem, _, ending = info.name.partition(".")
                file = tar.extractfile(info)
                if file is None:
                    continue
                if stem != key and held:
                    yield key, held
                    held = {}
                key = stem
                held[ending] = file.read()
            if held:
                yield key, held
