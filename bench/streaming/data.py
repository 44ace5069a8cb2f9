"""The data of a run, every reader's format of the same samples, kept under the cache folder by what decides them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.streaming.environment import ROOT, peers_python, variables
from bench.streaming.readers import READERS
from bench.streaming.samples import Sample, digest, pictures, samples, tiny, write_tars
from bench.streaming.tars import members
from schemas.errors import WrongRequest

_VERSION = 2


@dataclass(frozen=True, slots=True)
class Data:
    """A folder with one folder per format."""

    root: Path
    samples: int
    cache: Path

    def of(self, reader: str, decode: str = "none") -> Path:
        """Folder of a reader's format, written on the first call."""
        known = READERS[reader]
        name = known.own_data if decode == "own" and known.own_data else known.data
        folder = self.root / name
        if not folder.exists():
            python = peers_python(self.cache) if known.peers else Path(sys.executable)
            _run([python, "-m", "bench.streaming.convert", name, self.root / "tars", folder])
        if reader == "ours" and not (folder / ".pairmill" / "manifest.json").exists():
            _run([sys.executable, "-m", "pipelines.cli", "index", folder])
        return folder

    def stored(self) -> dict[str, str]:
        """Text → digest of what is stored with it, as `check` of a reader gives it."""
        return {held["txt"].decode(): digest(held["jpg"], held["json"]) for _, held in members(self.root / "tars")}


def cache_folder() -> Path:
    """Where data and environments are kept unless told otherwise: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pairmill-bench"


def photographs(cache: Path, photos: Path | None, count: int, per_shard: int) -> Data:
    """`count` samples of real pictures, or of drawn scenes."""
    names = sorted(path.name for path in photos.glob("*.jpg")) if photos else "drawn"
    root = cache / f"photos-{_key([names, count, per_shard])}"
    return _made(root, lambda: samples(pictures(photos), count), count, per_shard, cache)


def many(cache: Path, count: int, per_shard: int) -> Data:
    """`count` samples of next to no bytes."""
    root = cache / f"many-{_key([count, per_shard])}"
    return _made(root, lambda: tiny(count), count, per_shard, cache)


def _made(root: Path, of: Callable[[], Iterator[Sample]], count: int, per_shard: int, cache: Path) -> Data:
    if not (root / "tars").exists():
        unfinished = root / "tars.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        write_tars(unfinished, of(), per_shard)
        unfinished.rename(root / "tars")
    return Data(root, count, cache)


def _key(of: object) -> str:
    return hashlib.sha256(json.dumps([_VERSION, of]).encode()).hexdigest()[:12]


def _run(command: Iterable[object]) -> None:
    told = [str(part) for part in command]
    done = subprocess.run(told, capture_output=True, text=True, check=False, env=variables(), cwd=ROOT)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise WrongRequest(f"`{' '.join(told[1:4])}` failed: {said}", "leave that reader out with --readers")
