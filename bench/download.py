"""Download against img2dataset, in one run: the same photographs from the same loopback server, one process each.

Both are run as a user runs them, each in a process of its own: `pairmill build --until download --engine local`, and
`img2dataset.download(output_format="webdataset", processes_count=1)`. CPU is user + system time of that process and
its children; the server's is not in it. Start-up (imports, mostly) is told apart by running two sizes: the slope is
what one more image costs, the intercept is what a run costs before its first. Each run is repeated, and the one that
took the least CPU counts: on a busy machine everything else is disturbance. A small run of each tool comes first and
counts nowhere, so that imports find their bytecode.

nginx serves where it is installed; else a small server in a process of its own.

    uv run python -m bench download --data ../shared/data --sizes 500 4000 --repeats 2
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.harness import report

_NGINX = """
daemon off; worker_processes 1; pid {home}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; keepalive_requests 100000;
  client_body_temp_path {home}/t; proxy_temp_path {home}/t; fastcgi_temp_path {home}/t; uwsgi_temp_path {home}/t;
  scgi_temp_path {home}/t; types {{ image/jpeg jpg; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }} }}
"""

_SERVER = """
import asyncio, sys
from pathlib import Path
files = {"/" + p.name: p.read_bytes() for p in Path(sys.argv[2]).glob("*.jpg")}
async def serve(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        body = files[head.split(b" ", 2)[1].decode().partition("?")[0]]
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        await writer.drain()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=4096) as server:
        await server.serve_forever()
asyncio.run(main())
"""

_THEIRS = """
import sys
from img2dataset import download
pool, out, threads, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
resize = dict(resize_mode="keep_ratio_largest", image_size=size, encode_quality=95) if size else dict(
    disable_all_reencoding=True)
download(url_list=pool, input_format="parquet", url_col="url", caption_col="caption", output_folder=out,
         output_format="webdataset", processes_count=1, thread_count=threads, number_sample_per_shard=1000,
         compute_hash="sha256", enable_wandb=False, **resize)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one tool cost."""

    images: int
    cpu_s: float
    wall_s: float


def run(args: list[str]) -> None:
    """Run all of it and report. Raises RuntimeError when a tool did not keep every image."""
    options = _options(args)
    photos = sorted((options.data / "photos").glob("*.jpg"))
    if not photos:
        raise FileNotFoundError(f"no photographs in {options.data / 'photos'}; name their folder with --data")
    rows, facts = [], {"photographs": len(photos), "mean bytes": sum(p.stat().st_size for p in photos) / len(photos)}
    with tempfile.TemporaryDirectory() as folder, _serving(options.data / "photos", Path(folder)) as (port, server):
        facts["server"] = server
        for size in (256, 0):
            for tool, start in (("pairmill", _ours), ("img2dataset", _theirs)):
                runs: dict[int, Run] = {}
                for n in [20, *options.sizes * options.repeats]:
                    pool = _pool(Path(folder) / "pool.parquet", photos, n, port, tool)
                    made = start(pool, n, port, size, options.threads)
                    runs[n] = min(made, runs.get(n, made), key=lambda r: r.cpu_s)
                rows.append({"resize": size or "none", "tool": tool} | _figures([runs[n] for n in options.sizes]))
    for mine, other in (rows[:2], rows[2:]):
        mine["times img2dataset"] = other["CPU ms per image"] / mine["CPU ms per image"]
    report("download", rows, facts | {"threads of img2dataset, transfers of pairmill": options.threads})


def _options(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench download", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with photos/*.jpg")
    parser.add_argument("--sizes", type=int, nargs=2, default=[500, 4000], help="images of the short and the long run")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each size; the cheapest counts")
    parser.add_argument("--threads", type=int, default=32)
    return parser.parse_args(args)


def _figures(runs: list[Run]) -> dict[str, Any]:
    short, long = runs
    more = long.images - short.images
    slope = (long.cpu_s - short.cpu_s) / more
    return {
        "CPU ms per image": slope * 1000,
        "start-up CPU s": short.cpu_s - slope * short.images,
        "img per s": more / (long.wall_s - short.wall_s),
        "CPU s, short run": short.cpu_s,
        "CPU s, long run": long.cpu_s,
        "wall s, long run": long.wall_s,
        "images": long.images,
    }


def _pool(path: Path, photos: list[Path], n: int, port: int, tool: str) -> Path:
    host = "photos.test" if tool == "pairmill" else f"127.0.0.1:{port}"
    urls = [f"http://{host}/{photos[i % len(photos)].name}?{i}" for i in range(n)]
    pq.write_table(pa.table({"url": urls, "caption": [f"photograph {i}" for i in range(n)]}), path)
    return path


def _ours(pool: Path, n: int, port: int, size: int, threads: int) -> Run:
    resize = f", resize: {{mode: keep_ratio_largest, size: {size}, quality: 95}}" if size else ""
    recipe = pool.with_name("recipe.yaml")
    recipe.write_text(
        f"name: bench\npool: {{paths: [{pool}], part_rows: 1000}}\n"
        f"download: {{connect_to: {{'*.test': '127.0.0.1:{port}'}}, "
        f"concurrency: {threads}, per_host: {threads}{resize}}}\n"
    )
    out = pool.with_name("build")
    command = [sys.executable, "-m", "pipelines.cli", "build", str(recipe), "--out", str(out)]
    made = _timed([*command, "--until", "download", "--engine", "local", "--json"], n)
    kept = sum(pq.read_table(p, columns=["member"])["member"].drop_null().length() for p in out.glob("parts/*.parquet"))
    _clear(out, kept, n)
    return made


def _theirs(pool: Path, n: int, port: int, size: int, threads: int) -> Run:
    out = pool.with_name("theirs")
    made = _timed([sys.executable, "-c", _THEIRS, str(pool), str(out), str(threads), str(size)], n)
    statuses = [s for p in out.glob("*.parquet") for s in pq.read_table(p, columns=["status"])["status"].to_pylist()]
    _clear(out, statuses.count("success"), n)
    return made


def _clear(out: Path, kept: int, n: int) -> None:
    shutil.rmtree(out)
    if kept != n:
        raise RuntimeError(f"{kept} of {n} images were kept: the figures would compare nothing")


def _timed(command: list[str], n: int) -> Run:
    """CPU (user + system, children included) and wall time of a command; its output is shown when it fails."""
    env = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{command[1:4]} ended with {process.returncode}:\n{output.read().decode()[-3000:]}")
    return Run(n, usage.ru_utime + usage.ru_stime, time.monotonic() - began)


@contextmanager
def _serving(root: Path, home: Path) -> Iterator[tuple[int, str]]:
    """The photographs on loopback: (port, name of the server)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nginx = shutil.which("nginx")
    if nginx:
        settings = home / "nginx.conf"
        settings.write_text(_NGINX.format(home=home, port=port, root=root.resolve()))
        command = [nginx, "-p", str(home), "-c", str(settings)]
    else:
        command = [sys.executable, "-c", _SERVER, str(port), str(root)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield port, "nginx" if nginx else "python asyncio"
    finally:
        server.terminate()
        server.wait(10)


def _wait(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"the server on port {port} does not answer")
