"""Checkpoints on disk: a folder that is written under another name, renamed when it is whole, and marked last.

    RUN/checkpoints/step-00000040/weights.safetensors optimizer.safetensors state.json DONE

DONE names the files with their sizes and sha256. One checkpoint at a time is written, by a thread; what goes wrong
there is raised in the training thread at its next look.
"""

import errno
import hashlib
import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines.train.loop.snapshot import Snapshot
from pipelines.train.loop.tensors import Hashed, read_tensors, write_tensors
from schemas.errors import Stopped, WrongData

MARKER, STATE = "DONE", "state.json"
WEIGHTS, MOMENTS = "weights.safetensors", "optimizer.safetensors"
_PART = ".part"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Checkpoints:
    """Those of one run. Only one process may write."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self._keep = folder, keep
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def whole(self) -> list[int]:
        """Steps with a whole checkpoint, oldest first."""
        names = self.folder.glob("step-*") if self.folder.is_dir() else []
        return sorted(int(p.name[5:]) for p in names if p.name[5:].isdigit() and (p / MARKER).is_file())

    def clear(self) -> None:
        """Remove what a kill left half done."""
        kept = {self.path(step) for step in self.whole()}
        for path in self.folder.glob("step-*") if self.folder.is_dir() else []:
            if path not in kept:
                shutil.rmtree(path)

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, snapshot: Snapshot, appended: list[Path]) -> None:
        """Begin to write, once the one before is written. `appended`: files whose sizes the snapshot's state names;
        they are on the disk before the marker is. Raises what went wrong with the one before."""
        self.wait()
        if (self.path(step) / MARKER).is_file():
            return
        self._writing = self._thread.submit(self._write, step, snapshot, appended)

    def look(self) -> None:
        """Raises what went wrong with the one that was written."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written. Raises what went wrong."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Let the thread end what it does; what goes wrong is not told any more."""
        self._thread.shutdown(wait=True)

    def load(self, step: int) -> Snapshot:
        """Raises WrongData where a file is not what its marker says."""
        folder = self.path(step)
        for name, told in json.loads((folder / MARKER).read_bytes()).items():
            if _digest(folder / name) != told:
                raise WrongData(
                    f"{folder / name} is not as it was written",
                    f"the disk lost it: remove {folder} to go on from the checkpoint before it",
                )
        state = json.loads((folder / STATE).read_bytes())
        return Snapshot(read_tensors(folder / WEIGHTS), read_tensors(folder / MOMENTS), state)

    # ------------------------------------------------------------------ in the thread

    def _write(self, step: int, snapshot: Snapshot, appended: list[Path]) -> None:
        part = self.path(step).with_name(self.path(step).name + _PART)
        try:
            told = self._written(step, part, snapshot)
            for path in appended:
                fsync(path)
            _put(self.path(step) / MARKER, json.dumps(told, indent=1).encode())
            self._prune()
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise self._refused(step, error) from error

    def _written(self, step: int, part: Path, snapshot: Snapshot) -> dict[str, dict[str, Any]]:
        """The files under the checkpoint's name; name → size and sha256."""
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        told: dict[str, dict[str, Any]] = {}
        for name, content in ((WEIGHTS, snapshot.weights), (MOMENTS, snapshot.moments), (STATE, snapshot.state)):
            with (part / name).open("wb", buffering=0) as file:
                out = Hashed(file)
                if name == STATE:
                    out.write(json.dumps(content).encode())
                else:
                    write_tensors(out, content)
                os.fsync(file.fileno())
            told[name] = {"bytes": out.size, "sha256": out.hexdigest()}
        fsync(part)
        shutil.rmtree(self.path(step), ignore_errors=True)
        part.rename(self.path(step))
        fsync(self.folder)
        return told

    def _prune(self) -> None:
        for step in self.whole()[: -self._keep]:
            (self.path(step) / MARKER).unlink()
            shutil.rmtree(self.path(step))

    def _refused(self, step: int, error: OSError) -> Stopped:
        whole = self.whole()
        left = f"that of step {whole[-1]} is whole" if whole else "there is none before it"
        remedy = "free space there" if error.errno in FULL else "see to the disk"
        return Stopped(
            f"the checkpoint of step {step} cannot be written to {self.folder} ({error.strerror}); {left}",
            f"{remedy}, then run the same command again",
        )


def fsync(path: Path) -> None:
    """A file or folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put(path: Path, data: bytes) -> None:
    """A small file, whole or not at all."""
    part = path.with_name(path.name + _PART)
    with part.open("wb", buffering=0) as file:
        Hashed(file).write(data)
        os.fsync(file.fileno())
    part.rename(path)
    fsync(path.parent)


def _digest(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": path.stat().st_size, "sha256": found}
    except FileNotFoundError:
        return {}
