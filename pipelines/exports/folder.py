"""The folder of an export: written aside in `.partial`, and moved into place when all of it is there.

A killed export leaves `.partial` and no other name, and the next one begins anew.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from schemas.errors import WrongData, WrongRequest
from stages.store import FULL

PARTIAL = ".partial"
_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""Unicode's line breaks, at which str.splitlines (and so some readers) would cut a record in two."""


class Out:
    """Files of an export on their way. `.json` is one array, `.jsonl` one record per line; both UTF-8."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._folder, self._files = folder, files
        self._open: dict[str, TextIO] = {}

    def add(self, name: str, record: dict[str, Any]) -> None:
        """One more record of a file; never more than one in memory."""
        array, file = name.endswith(".json"), self._open.get(name)
        if file is None:
            file = self._open[name] = self._files.enter_context((self._folder / name).open("w", encoding="utf-8"))
            file.write("[\n" if array else "")
        elif array:
            file.write(",\n")
        file.write(_line(record) + ("" if array else "\n"))

    def write(self, name: str, value: dict[str, Any]) -> None:
        """A small file of its own."""
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        (self._folder / name).write_text(text + "\n", encoding="utf-8")

    def join(self, name: str, sections: dict[str, "str | Any"]) -> None:
        """A file that is one object: under each key the array of a file that `add` made, by its name, or a value.

        Those files are gone afterwards; one to which nothing was added stands for an empty array.
        """
        with (self._folder / name).open("w", encoding="utf-8") as whole:
            for n, (key, value) in enumerate(sections.items()):
                whole.write(f"{',' if n else '{'}\n{json.dumps(key)}: ")
                if isinstance(value, str):
                    self._move(value, whole)
                else:
                    whole.write(json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_BREAKS))
            whole.write("\n}\n")
            whole.flush()
            os.fsync(whole.fileno())

    def _move(self, name: str, whole: TextIO) -> None:
        """The array of a file to the end of another."""
        file = self._open.pop(name, None)
        if file is None:
            whole.write("[]")
            return
        file.write("\n]")
        file.close()
        with (self._folder / name).open(encoding="utf-8", newline="") as part:
            shutil.copyfileobj(part, whole, 1 << 20)
        (self._folder / name).unlink()

    def put(self, name: str, data: bytes) -> None:
        """A picture."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def has(self, name: str) -> bool:
        return (self._folder / name).exists()

    def finish(self) -> None:
        """End the arrays; everything is on the disk."""
        for name, file in self._open.items():
            file.write("\n]\n" if name.endswith(".json") else "")
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def out_folder(out: Path) -> Iterator[Out]:
    """An empty folder to export to, filled when the block ends without an error.

    Raises WrongRequest where it is not empty, cannot be written or is being written by another export; WrongData when
    the disk is full.
    """
    partial, new = out / PARTIAL, not out.exists()
    with ExitStack() as files:
        try:
            _require_empty(out)
            partial.mkdir(parents=True, exist_ok=True)
            lock = os.open(out, os.O_RDONLY)
        except OSError as error:
            raise WrongRequest(f"cannot write to {out}: {error.strerror}", "choose another --out") from error
        files.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WrongRequest(f"{out} is being written by another export", "wait for it") from error
        _require_empty(out)
        try:
            _clear(partial)
            with ExitStack() as opened:
                folder = Out(partial, opened)
                yield folder
                folder.finish()
            for path in sorted(partial.iterdir(), key=lambda p: (p.is_file(), p.name)):
                path.rename(out / path.name)
        except OSError as error:
            if error.errno in FULL:
                raise WrongData(
                    f"no space left in {out}", "free space there, then run the same command again"
                ) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if new and not any(out.iterdir()):
                out.rmdir()


def _require_empty(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise WrongRequest(f"{out} is a file", "choose another --out")
    there = sorted(p.name for p in out.iterdir() if p.name != PARTIAL) if out.exists() else []
    if there:
        raise WrongRequest(f"{out} is not empty: it holds {there[0]!r}", "empty it, or choose another --out")


def _clear(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _line(record: dict[str, Any]) -> str:
    try:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise WrongData(f"record {record['id']}: {error}", "run `pairmill verify`") from error
    return line.translate(_BREAKS)
