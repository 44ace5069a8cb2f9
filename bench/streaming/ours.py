"""pairmill's stream over the very tars that webdataset reads, indexed once by `pairmill index`."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from bench.streaming.readers import Batch, Epochs, loaded
from bench.streaming.setting import Setting
from schemas.stream import DecodeConfig, RemoteConfig, SourceConfig, StreamConfig
from stages.stream.source import open_source
from stages.stream.torch_stream import Stream


def opened(setting: Setting) -> Epochs:
    """`own` and `same` are one decoder: it is ours."""
    loaded(setting, "s3fs")
    decode = None if setting.decode == "none" else DecodeConfig(threads=setting.threads)
    settings: dict[str, Any] = {"batch": setting.batch, "decode": decode, "shuffle": setting.shuffle}
    settings["members"] = ["image", "txt", "json"] if decode is None else ["image", "txt"]
    if setting.cache:  # as the peers: workers share what one of them fetched
        settings["remote"] = RemoteConfig(cache=setting.cache)
    settings |= {key: value for key, value in setting.options.items() if key in StreamConfig.model_fields}

    def epoch(number: int) -> Iterator[Batch]:
        config = StreamConfig(sources=[source], seed=number, **settings)
        for batch in DataLoader(Stream(config, sources=opened_once), batch_size=None, num_workers=setting.workers):
            if decode is None:
                yield {"txt": batch.text, "jpg": batch.members["image"], "json": batch.members["json"]}
            else:
                yield {"txt": batch.text, "image": batch.image}

    source = SourceConfig(path=setting.root)
    opened_once = [open_source(source)]  # as a run of many epochs: a shard's sha256 is compared in the first
    return epoch
