"""Names of readers → their files. A reader is `opened(setting)`: it opens the data and returns epoch → its batches.

A batch is a dict: `txt` (B bytes or str), and either `jpg` and `json` (B bytes each) or `image` (B × 224 × 224 × 3
uint8). A reader that has no such setting raises Cannot with the reason.
"""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench.streaming.setting import Setting

Batch = dict[str, Any]
Epochs = Callable[[int], Iterable[Batch]]


class Cannot(Exception):
    """The reader has no way to do what the setting asks; the message is the reason, shown in the row."""


@dataclass(frozen=True, slots=True)
class Reader:
    title: str
    module: str
    data: str
    """Folder under the data's root; `own`-decoded rows read `<data>-own` where that format exists."""
    peers: bool = False
    """Runs in the peers' environment."""
    own_data: str | None = None
    s3: str = ""
    """How it reaches an object store."""
    threads: bool = False
    """Decodes in threads of its own: measured with two as well."""


READERS: dict[str, Reader] = {
    "ours": Reader("ours", "ours", "tars", s3="fsspec, whole shards ahead, to local disk", threads=True),
    "wds0": Reader("webdataset 0.2", "wds", "tars", s3="no s3 scheme: HTTP GET through its curl pipe"),
    "wds1": Reader("webdataset 1.x", "wds", "tars", peers=True, s3="no s3 scheme: HTTP GET through its curl pipe"),
    "mds": Reader("mosaicml-streaming", "mds", "mds", True, "mds-own", "boto3, S3_ENDPOINT_URL; shards to local disk"),
    "lit": Reader("litdata", "lit", "lit", True, "lit-own", "obstore, made to allow plain HTTP; chunks to disk"),
    "loose": Reader("loose files", "loose", "loose", s3="boto3, one GET per file"),
    "bare": Reader("bare decoder", "bare", "tars", s3="bytes already in memory", threads=True),
}


def opened(setting: Setting) -> Epochs:
    """Open the setting's reader; its libraries are imported by `module` beforehand."""
    return module(setting).opened(setting)


def module(setting: Setting) -> Any:
    return importlib.import_module(f"bench.streaming.{READERS[setting.reader].module}")


def loaded(setting: Setting, *clients: str) -> None:
    """Import what a reader only loads with its first request, so that no clock sees it."""
    if setting.cache:
        for name in clients:
            importlib.import_module(name)


def columns(samples: list[dict[str, Any]]) -> Batch:
    """Samples → one batch, images stacked: the collate function of readers that deliver sample by sample."""
    from bench.streaming.decode import stacked

    batch: Batch = {name: [sample[name] for sample in samples] for name in samples[0]}
    if "image" in batch:
        batch["image"] = stacked(batch["image"])
    return batch


def loader(dataset: Any, setting: Setting, **more: Any) -> Any:
    """torch's DataLoader over samples, in batches."""
    from torch.utils.data import DataLoader

    return DataLoader(dataset, batch_size=setting.batch, num_workers=setting.workers, collate_fn=columns, **more)
