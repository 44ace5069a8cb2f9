"""What the download tests share: batches of URLs, one call that fetches them, and images to serve."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from schemas.recipe import DownloadConfig
from schemas.sample import Candidate
from stages.base import Outcome
from stages.download.dns import Lookup, system_lookup
from stages.download.stage import Download


def batch(urls: Iterable[str | None], sha256: Iterable[str | None] | None = None) -> pa.Table:
    """Candidates; sample_id is the row number in hexadecimal."""
    urls = list(urls)
    promised = list(sha256) if sha256 is not None else [None] * len(urls)
    rows = [
        dict.fromkeys(Candidate.columns())
        | {"sample_id": f"{i:032x}", "source": "t", "source_row": i, "url": u, "caption": "c", "expected_sha256": p}
        for i, (u, p) in enumerate(zip(urls, promised, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=Candidate.arrow_schema())


def config(server: Any = None, **settings: Any) -> DownloadConfig:
    """Settings for tests: no pauses, short limits, `*.test` at the server."""
    defaults = {"backoff_s": 0.0, "retries": 0, "connect_timeout_s": 3.0, "read_timeout_s": 3.0, "total_timeout_s": 6.0}
    routes = {"connect_to": server.connect_to} if server is not None else {}
    return DownloadConfig(**(defaults | routes | settings))


def rows_of(outcome: Outcome) -> list[dict[str, Any]]:
    """The table's rows with their evidence and, where kept, their `image`."""
    evidence = {n: getattr(outcome, n).to_pylist() for n in ("reason", "value", "threshold", "detail")}
    rows = outcome.table.to_pylist()
    for i, row in enumerate(rows):
        row.update({n: values[i] for n, values in evidence.items()})
        row["image"] = outcome.payload.read(i) if outcome.payload.ext(i) is not None else None
    return rows


def fetch(
    urls: Iterable[str | None],
    settings: DownloadConfig,
    lookup: Lookup = system_lookup,
    sha256: Iterable[str | None] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One `process`, opened and closed around it: (rows, log rows)."""
    stage = Download(settings, lookup)
    stage.open()
    try:
        outcome = stage.process(batch(urls, sha256))
        rows = rows_of(outcome)
        outcome.payload.close()
        return rows, stage.log.to_pylist()
    finally:
        stage.close()


def one(url: str | None, settings: DownloadConfig, lookup: Lookup = system_lookup) -> dict[str, Any]:
    """The only row of a fetch of one URL."""
    ((row,), _) = fetch([url], settings, lookup)
    return row


def pixels(width: int = 40, height: int = 30, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Smooth colours (H × W × C uint8) that survive JPEG; no two seeds alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    phases = rng.uniform(0, 6, channels)
    waves = [127 + 120 * np.sin(x / 9 + p) * np.cos(y / 7 + 2 * p) for p in phases]
    return np.stack(waves, axis=-1).astype(np.uint8)


def encoded(array: np.ndarray, kind: str = "JPEG", **options: Any) -> bytes:
    """`array` as a file of a Pillow format name."""
    file = io.BytesIO()
    Image.fromarray(array.squeeze()).save(file, kind, **options)
    return file.getvalue()


JPEG = encoded(pixels())
"""A small good image: 40 × 30."""
