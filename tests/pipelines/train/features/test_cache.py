"""Features on disk: found again by whoever looks, never half there."""

import errno
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.train.features import cache as module
from pipelines.train.features import file as file_module
from pipelines.train.features.cache import FeatureCache
from pipelines.train.features.file import write
from schemas.errors import Stopped, WrongData
from schemas.train_loop import FeatureConfig

SHAPE = (4, 6)


def digest(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def features(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 1 << 16, SHAPE, dtype=np.uint16)


def opened(folder: Path, writer: str = "me", **more: Any) -> FeatureCache:
    return FeatureCache(folder, SHAPE, FeatureConfig(folder=str(folder), **more), writer)


def stored(folder: Path, numbers: range, writer: str = "me", **more: Any) -> FeatureCache:
    made = opened(folder, writer, **more)
    for number in numbers:
        made.add(digest(number), features(number))
    made.close()
    return made


def check(cache: FeatureCache, numbers: range) -> None:
    wanted = [digest(n) for n in numbers]
    assert all(one in cache for one in wanted)
    found = np.empty((len(wanted), *SHAPE), np.uint16)
    cache.read(wanted, found)
    np.testing.assert_array_equal(found, np.stack([features(n) for n in numbers]))


def test_what_was_stored_is_read_again(tmp_path: Path) -> None:
    """In several files: 2 pictures of 48 bytes are more than 64."""
    check(stored(tmp_path, range(7), file_bytes=64), range(7))
    assert len(list(tmp_path.iterdir())) == 4
    again = opened(tmp_path)
    check(again, range(7))
    assert (len(again), digest(7) in again) == (7, False)


def test_what_is_not_written_yet_is_read_from_memory(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.add(digest(1), features(1))
    check(made, range(1, 2))
    assert list(tmp_path.iterdir()) == []
    made.close()


def test_another_process_files_are_found_when_they_are_looked_for(tmp_path: Path) -> None:
    mine = opened(tmp_path, "rank 1")
    assert digest(0) not in mine
    stored(tmp_path, range(3), "rank 0")
    check(mine, range(3))


def test_two_that_saw_the_same_agree(tmp_path: Path) -> None:
    first, second = opened(tmp_path, "rank 0"), opened(tmp_path, "rank 1")
    for made in (first, second):
        made.add(digest(0), features(0))
        made.close()
    check(second, range(1))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_not_whole_is_none(tmp_path: Path) -> None:
    stored(tmp_path, range(2))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    other = np.zeros((2, 2), np.uint16)
    write(tmp_path, "other", {digest(9): other})
    for torn in (whole[:-1], whole[:20], b"", b"\xff" * 64, whole + b"!", whole.replace(b"sums", b"smus")):
        path.write_bytes(torn)
        made = opened(tmp_path)
        assert len(made) == 0, torn[:30]
    check(stored(tmp_path, range(2)), range(2))
    assert path.read_bytes() == whole


def test_a_kill_loses_what_was_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, range(2))
    pid = os.fork()
    if not pid:
        put = file_module.write_tensors

        def half(out: Any, tensors: Any) -> None:
            put(out, {name: tensor for name, tensor in tensors.items() if name != "digests"})
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(file_module, "write_tensors", half)
        write(tmp_path, "me", {digest(n): features(n) for n in (2, 3)})
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".part", ".safetensors"]
    made = opened(tmp_path)
    assert [digest(n) in made for n in range(4)] == [True, True, False, False]
    check(stored(tmp_path, range(2, 4)), range(4))
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_what_the_disk_lost_is_no_feature(tmp_path: Path) -> None:
    stored(tmp_path, range(2))
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    at = data.index(features(1).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    made = opened(tmp_path)
    check(made, range(1))
    with pytest.raises(WrongData, match=rf"{path.name} is not as it was written; the disk lost it: remove it"):
        check(made, range(1, 2))


def test_a_file_that_goes_while_it_is_used_is_named(tmp_path: Path) -> None:
    stored(tmp_path, range(2))
    made = opened(tmp_path)
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(WrongData, match="is not there any more"):
        check(made, range(2))


def test_the_bound_holds(tmp_path: Path) -> None:
    made = stored(tmp_path, range(5), most_bytes=150)
    assert made.full is not None
    assert "features.most_bytes" in made.full
    check(opened(tmp_path), range(3))
    assert digest(3) not in made
    assert stored(tmp_path, range(5), most_bytes=150).full  # files are counted, with their headers
    assert len(opened(tmp_path)) == 3


def test_a_full_disk_ends_the_storing_and_another_fault_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(number: int) -> Any:
        def write(*words: Any) -> Path:
            raise OSError(number, "no way")

        return write

    monkeypatch.setattr(module, "write", failing(errno.ENOSPC))
    made = stored(tmp_path, range(2))
    assert made.full == f"no space left in {tmp_path}"
    check(made, range(2))
    made = opened(tmp_path)
    monkeypatch.setattr(module, "write", failing(errno.EIO))
    made.add(digest(1), features(1))
    with pytest.raises(Stopped, match=r"features cannot be written to .* \(no way\); see to the disk"):
        made.close()
