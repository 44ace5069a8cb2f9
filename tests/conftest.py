"""For tests of whole builds: a small sample web, its server in a process of its own, builds as a user runs them."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.sample_web.pool import write_pool

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "pipelines" / "recipes" / "demo.yaml"


@dataclass
class Web:
    """A served sample web."""

    folder: Path
    connect_to: dict[str, str]

    @property
    def settings(self) -> list[str]:
        """`--set` values that point the demo recipe here, with parts small enough for many commits."""
        return [
            f"pool.paths=[{json.dumps(str(self.folder / 'pool.parquet'))}]",
            f"download.connect_to={json.dumps(self.connect_to)}",
            "pool.part_rows=40",
            "shards.max_samples=50",
        ]

    def hits(self) -> dict[str, int]:
        """Requests that the server has answered so far, by URL."""
        address = self.connect_to["*.test"]
        request = urllib.request.Request(f"http://{address}/__hits__", headers={"Host": "control.test"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A sample web of 240 rows, served from another process so that it outlives killed builds."""
    folder = tmp_path_factory.mktemp("web")
    write_pool(folder, rows=240, seed=11)
    port_file = folder / "port"
    command = [sys.executable, "-m", "pipelines.sample_web", str(folder), "--port-file", str(port_file)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if port_file.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        yield Web(folder, json.loads(port_file.read_text())["connect_to"])
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Cli:
    """pairmill as a user runs it."""

    env: dict[str, str] = field(default_factory=dict)

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipelines.cli", *args]
        env = {**os.environ, **self.env, "PYTHONPATH": str(ROOT)}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=env, cwd=ROOT, text=True, **pipes)

    def __call__(self, *args: str, code: int = 0) -> str:
        """Run to the end; stdout. Fails when the exit code is another."""
        process = self.start(*args)
        out, err = process.communicate(timeout=280)
        assert process.returncode == code, f"pairmill {' '.join(args)} ended with {process.returncode}:\n{err}\n{out}"
        return out if code == 0 else err


@pytest.fixture(scope="session")
def cli() -> Cli:
    return Cli()


def sets(settings: list[str]) -> list[str]:
    """As command-line arguments."""
    return [x for s in settings for x in ("--set", s)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 1 MB; skipped where the test may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
