"""webdataset, both generations: shard order shuffled, its shuffle buffer behind, batches made in the workers."""

from pathlib import Path
from typing import Any

import webdataset

from bench.streaming.decode import fitted, to_224
from bench.streaming.readers import Epochs, columns
from bench.streaming.setting import Setting

BUFFER = 1000
"""Samples in the shuffle buffer, as in webdataset's README."""


def opened(setting: Setting) -> Epochs:
    def epoch(number: int) -> Any:
        source = webdataset.WebDataset(
            urls(setting), shardshuffle=1000 if setting.shuffle else False, seed=number, empty_check=False
        )
        return webdataset.WebLoader(_steps(source, setting), batch_size=None, num_workers=setting.workers)

    return epoch


def urls(setting: Setting) -> list[str]:
    """Local paths, or the object store's plain HTTP addresses: `s3://…` is no scheme of webdataset's."""
    if setting.cache is None:
        return [str(path) for path in sorted(Path(setting.root).glob("*.tar"))]
    return list(setting.options["http"])


def _steps(source: Any, setting: Setting) -> Any:
    buffer = setting.options.get("buffer", BUFFER)
    if setting.shuffle and buffer:
        source = source.shuffle(buffer)
    if setting.decode == "own":
        source = source.decode("rgb8").map(_own)
    elif setting.decode == "same":
        source = source.map(_same)
    else:
        source = source.map(_raw)
    return source.batched(setting.batch, collation_fn=columns)


def _raw(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: sample[name] for name in ("txt", "jpg", "json")}


def _same(sample: dict[str, Any]) -> dict[str, Any]:
    return {"txt": sample["txt"], "image": to_224(sample["jpg"])}


def _own(sample: dict[str, Any]) -> dict[str, Any]:
    return {"txt": sample["txt"], "image": fitted(sample["jpg"])}
