"""The download stage: candidates in; what the web answered, a reason for each failure, and image bytes out."""

import hashlib
import os
import ssl
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from schemas.recipe import DownloadConfig
from schemas.row import nullable
from schemas.sample import Fetched, Request
from stages.base import Outcome, Resources, Stage
from stages.download.dns import Lookup, Resolver, system_lookup
from stages.download.guard import Guard
from stages.download.job import Job, SampleBug
from stages.download.reasons import DownloadReason, Refusal
from stages.download.sniff import EXTENSIONS, Facts, sniff
from stages.payload import Spool

if TYPE_CHECKING:
    from stages.download.fetch import Fetcher
    from stages.download.resize import Resize, Resized

LOG = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("host", pa.string()),
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("requests", pa.int16(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)
"""What differs from run to run: one row per row of the batch, in its order; `seconds` from a URL's first turn."""

_LIBRARIES = ("img2dataset", "albumentations", "opencv-python-headless", "numpy")


class Download(Stage):
    """Fetches every URL of a batch concurrently.

    After each `process`, `log` holds durations and attempts (schema `LOG`), for logs/ and nowhere else.
    """

    name = "download"
    accepts = Request
    emits = Fetched
    reasons = DownloadReason
    resources = Resources(cpus=1.0, memory=1 << 30)

    def __init__(self, config: DownloadConfig, lookup: Lookup = system_lookup) -> None:
        """`lookup`: how a host name becomes addresses. Raises WrongRequest where connect_to holds no address."""
        super().__init__(config)
        self._settings = config
        self._guard = Guard(config.allow_private, config.connect_to)
        self._lookup = lookup
        self._fetcher: Fetcher | None = None
        self._resolver: Resolver | None = None
        self._resize: Resize | None = None
        self._threads: ThreadPoolExecutor | None = None
        self.log: pa.Table = LOG.empty_table()

    def identity(self) -> dict[str, Any]:
        """With a resize, the versions of the libraries whose arithmetic decides its bytes."""
        if self._settings.resize is None:
            return super().identity()
        return super().identity() | {"libraries": {name: version(name) for name in _LIBRARIES}}

    def open(self) -> None:
        if self._fetcher is not None:
            return
        from stages.download.fetch import Fetcher

        config = self._settings
        if config.resize is not None:
            from stages.download.resize import Resize

            self._resize = Resize(config.resize)
            self._threads = ThreadPoolExecutor(config.resize_threads, thread_name_prefix="resize")
        self._resolver = Resolver(self._lookup, limit_s=config.connect_timeout_s)
        self._fetcher = Fetcher(config, self._guard, self._resolver, ca_bundle())

    def _opened(self) -> "Fetcher":
        self.open()
        if self._fetcher is None:
            raise RuntimeError("open() made no fetcher")
        return self._fetcher

    def close(self) -> None:
        if self._fetcher is not None:
            self._fetcher.close()
        if self._resolver is not None:
            self._resolver.close()
        if self._threads is not None:
            self._threads.shutdown()
        self._fetcher = self._resolver = self._threads = self._resize = None

    def process(self, batch: pa.Table) -> Outcome:
        """Rows in the batch's order, whoever answered first. Raises SampleBug for a bug."""
        fetcher = self._opened()
        columns = (batch[name].to_pylist() for name in ("sample_id", "url", "expected_sha256"))
        jobs = [Job(i, str(s), u, p) for i, (s, u, p) in enumerate(zip(*columns, strict=True))]
        results = [_Result() for _ in jobs]
        spool = Spool()
        try:
            self._collect(fetcher, jobs, results, spool)
        except BaseException:
            spool.close()
            raise
        self.log = _log(jobs, results)
        return _outcome(jobs, results, spool)

    def _collect(self, fetcher: "Fetcher", jobs: list[Job], results: "list[_Result]", spool: Spool) -> None:
        pending: deque[_Pending] = deque()
        most = 8 * self._settings.resize_threads  # beyond that, fetching waits: bodies are held in memory
        with closing(fetcher.run(jobs)) as done:
            for job in done:
                with _named(job):
                    result = results[job.row] = self._examined(job)
                if result.refusal is not None or result.facts is None or self._threads is None or self._resize is None:
                    _keep(job, result, job.body if result.refusal is None else None, spool)
                    continue
                pending.append((job, self._threads.submit(self._resize, job.body, result.facts)))
                while len(pending) > most or (pending and pending[0][1].done()):
                    _take(pending, results, spool)
        while pending:
            _take(pending, results, spool)

    def _examined(self, job: Job) -> "_Result":
        """What the body is, and whether it may be kept; hashes are of the body as received."""
        if job.refusal is not None:
            return _Result(job.refusal)
        config = self._settings
        sha256 = hashlib.sha256(job.body).hexdigest()
        found = sniff(job.body)
        if isinstance(found, Refusal):
            return _Result(found, len(job.body), sha256)
        result = _Result(None, len(job.body), sha256, found)
        pixels = found.width * found.height
        if config.verify_sha256 and job.promised is not None and job.promised.lower() != sha256:
            result.refusal = Refusal(DownloadReason.SHA256_MISMATCH, detail=sha256)
        elif pixels > config.max_pixels:
            result.refusal = Refusal(DownloadReason.TOO_MANY_PIXELS, float(pixels), float(config.max_pixels))
        return result


@dataclass(slots=True)
class _Result:
    """How a row ended; `facts` are the fetched image's, `stored` the kept one's."""

    refusal: Refusal | None = None
    size: int | None = None
    sha256: str | None = None
    facts: Facts | None = None
    stored: Facts | None = None
    stored_sha256: str | None = None


_Pending = tuple[Job, "Future[Resized | Refusal]"]


def _take(pending: deque[_Pending], results: list[_Result], spool: Spool) -> None:
    job, future = pending.popleft()
    result = results[job.row]
    with _named(job):
        made = future.result()
    if isinstance(made, Refusal):
        result.refusal = made
        _keep(job, result, None, spool)
        return
    result.stored = made.facts
    result.stored_sha256 = hashlib.sha256(made.data).hexdigest()
    _keep(job, result, made.data, spool)


@contextmanager
def _named(job: Job) -> Iterator[None]:
    """A bug in our own code says which sample it met."""
    try:
        yield
    except Exception as error:
        raise SampleBug(job.sample_id, f"{type(error).__name__}: {error}") from error


def _keep(job: Job, result: _Result, data: bytes | None, spool: Spool) -> None:
    """Spool what is kept, and let go of the body."""
    job.body = b""
    if data is None:
        return
    if result.stored is None:
        result.stored, result.stored_sha256 = result.facts, result.sha256
    if result.stored is not None:
        spool.put(job.row, data, EXTENSIONS[result.stored.format])


def _outcome(jobs: list[Job], results: list[_Result], spool: Spool) -> Outcome:
    rows = [_row(job, result) for job, result in zip(jobs, results, strict=True)]
    schema = nullable(Fetched.arrow_schema())
    table = pa.Table.from_pylist(rows, schema=schema)
    refusals = [r.refusal for r in results]
    return Outcome(
        table,
        pa.array([r and r.reason.value for r in refusals], pa.string()),
        value=pa.array([r and r.value for r in refusals], pa.float64()),
        threshold=pa.array([r and r.threshold for r in refusals], pa.float64()),
        detail=pa.array([r and r.detail for r in refusals], pa.string()),
        payload=spool,
    )


def _row(job: Job, result: _Result) -> dict[str, Any]:
    facts, stored = result.facts, result.stored
    shown = stored or facts
    return {
        "sample_id": job.sample_id,
        "url": job.url,
        "final_url": job.final_url,
        "http_status": job.status,
        "fetched_bytes": result.size,
        "sha256": result.sha256,
        "format": shown and shown.format,
        "width": stored and stored.width,
        "height": stored and stored.height,
        "original_width": facts and facts.width,
        "original_height": facts and facts.height,
        "orientation": stored and stored.orientation,
        "stored_sha256": result.stored_sha256,
    }


def _log(jobs: list[Job], results: list[_Result]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "sample_id": job.sample_id,
                "reason": result.refusal and result.refusal.reason.value,
                "host": job.host or None,
                "attempts": job.attempts,
                "requests": job.requests,
                "bytes": result.size or 0,
                "seconds": job.seconds,
            }
            for job, result in zip(jobs, results, strict=True)
        ],
        schema=LOG,
    )


def ca_bundle() -> str:
    """File of trusted certificates: SSL_CERT_FILE, else the system's, else certifi's."""
    system = ssl.get_default_verify_paths()
    for path in (os.environ.get("SSL_CERT_FILE"), system.cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).is_file():
            return path
    import certifi

    return certifi.where()
