"""The limit: JPEGs already in memory, decoded into batches, with as many threads or DataLoader workers as asked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch.utils.data

from bench.streaming.decode import fitted, stacked, to_224
from bench.streaming.loose import _pil
from bench.streaming.readers import Batch, Cannot, Epochs
from bench.streaming.setting import Setting
from bench.streaming.tars import members


class _Memory(torch.utils.data.IterableDataset[Batch]):
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._held = [(held["txt"], held["jpg"]) for _, held in members(Path(setting.root))]

    def __iter__(self) -> Iterator[Batch]:
        told = torch.utils.data.get_worker_info()
        share = self._held[told.id :: told.num_workers] if told else self._held
        size, decode = self._setting.batch, to_224 if self._setting.decode == "same" else lambda jpg: fitted(_pil(jpg))
        with ThreadPoolExecutor(self._setting.threads) as pool:
            spread = pool.map if self._setting.threads > 1 else map
            for first in range(0, len(share), size):
                texts, jpgs = zip(*share[first : first + size], strict=True)
                yield {"txt": list(texts), "image": stacked(list(spread(decode, jpgs)))}


def opened(setting: Setting) -> Epochs:
    if setting.decode == "none":
        raise Cannot("it only decodes")
    if setting.cache:
        raise Cannot("it reads no store")
    kept = torch.utils.data.DataLoader(_Memory(setting), batch_size=None, num_workers=setting.workers)
    return lambda _: kept
