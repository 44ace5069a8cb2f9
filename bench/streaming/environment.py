"""The peers' environment: made once under the cache folder, with pinned versions, on the project's own torch.

Peers whose versions conflict with the lock cannot be installed beside it. torch and what is built on it (6 GB) are
taken from the project's environment through a .pth file: the peers' own packages come first on sys.path.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from schemas.errors import WrongRequest

PEERS = {"webdataset": "1.0.2", "mosaicml-streaming": "0.13.0", "litdata": "0.2.76"}
"""The newest of each on 2026-11-22."""
_SHARED = ("torch", "torchvision", "transformers", "matplotlib")  # matplotlib: only streaming's simulator imports it
_PTH = "zz_project.pth"  # read after every other .pth, so that its folder is the last on sys.path
ROOT = Path(__file__).resolve().parents[2]


def peers_python(cache: Path) -> Path:
    """Interpreter of the peers' environment, made on the first call.

    Raises WrongRequest where `uv` is missing or cannot install.
    """
    project = sysconfig.get_paths()["purelib"]
    mark = hashlib.sha256(json.dumps([PEERS, _SHARED, project, sys.version]).encode()).hexdigest()[:12]
    folder = cache / f"peers-{mark}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    uv = shutil.which("uv")
    if uv is None:
        raise WrongRequest("the peers' environment needs `uv`, which is not on PATH", "install uv, or pass --readers")
    shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    overrides = cache / "overrides.txt"
    overrides.write_text("".join(f'{name}; python_version < "3"\n' for name in _SHARED))
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
    wanted = [f"{name}=={version}" for name, version in PEERS.items()]
    _run([uv, "pip", "install", "--quiet", "--python", str(python), "--override", str(overrides), *wanted])
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True
    )
    (Path(site.strip()) / _PTH).write_text(project + "\n")
    (folder / "complete").touch()
    return python


def variables(endpoint: str | None = None) -> dict[str, str]:
    """Environment of every reader process: the repository on the path, one thread per library, the loopback store."""
    told = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "LITDATA_DISABLE_VERSION_CHECK": "1",
    }
    if endpoint:
        told |= {
            "AWS_ENDPOINT_URL": endpoint,
            "S3_ENDPOINT_URL": endpoint,  # what streaming reads
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    return told


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongRequest(
            f"`{' '.join(command[:3])}` failed: {done.stderr.strip()[-400:]}", "pass --readers without it"
        )
