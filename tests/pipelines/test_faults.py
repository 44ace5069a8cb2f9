"""Lost files and full disks in mid-build: a clear error, nothing half committed, and the same command goes on."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.store import Store
from tests.conftest import Cli, Web
from tests.pipelines.test_kill import arguments, result, undisturbed

__all__ = ["undisturbed"]


def test_a_lost_pool_file_stops_and_resumes(web: Web, cli: Cli, undisturbed: dict[str, str], tmp_path: Path) -> None:
    pool, out = tmp_path / "pool.parquet", tmp_path / "build"
    shutil.copy(web.folder / "pool.parquet", pool)
    args = [*arguments(web, out), "--set", f"pool.paths=[{json.dumps(str(pool))}]"]
    cli(*args, "--until", "download")
    pool.rename(tmp_path / "away")
    said = cli(*args, code=2)
    assert str(pool) in said and said.count("\n") == 1
    (tmp_path / "away").rename(pool)
    cli(*args)
    assert result(out) == undisturbed


@pytest.mark.parametrize("name", ["parts/00002.tar", "parts/00003.parquet", "measures/pdq/00001.parquet"])
def test_a_lost_file_of_the_build_is_made_again(
    web: Web, cli: Cli, undisturbed: dict[str, str], tmp_path: Path, name: str
) -> None:
    out = tmp_path / "build"
    cli(*arguments(web, out), "--until", "dedup")
    (out / name).unlink()
    cli(*arguments(web, out))
    assert result(out) == undisturbed


def test_a_full_disk_stops_and_resumes(web: Web, cli: Cli, undisturbed: dict[str, str], small_disk: Path) -> None:
    out = small_disk / "build"
    stops = 0
    for megabytes in (1, 4, 7, 10, 12, 14, 16, 64):
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(small_disk)], check=True)
        process = cli.start(*arguments(web, out))
        _, said = process.communicate(timeout=280)
        if process.returncode == 0:
            break
        stops += 1
        assert process.returncode == 1 and "no space left for " in said, said
        assert said.count("\n") == 1 and "then run the same command again" in said
        store = Store(str(out))
        assert all(store.seal(n) for n in store.walk() if n.endswith(".parquet"))
    assert stops >= 2 and result(out) == undisturbed
