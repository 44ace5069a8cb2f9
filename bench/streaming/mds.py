"""mosaicml-streaming: a StreamingDataset in torch's DataLoader."""

import importlib
from typing import Any

from bench.streaming.decode import fitted, to_224
from bench.streaming.readers import Epochs, loaded, loader
from bench.streaming.setting import Setting

streaming: Any = importlib.import_module("streaming")  # only the peers' environment has it


class _Samples(streaming.StreamingDataset):
    """Decodes in __getitem__, as its documentation shows."""

    how = "none"

    def __getitem__(self, at: Any) -> Any:
        sample = super().__getitem__(at)
        if self.how == "same":
            return {"txt": sample["txt"], "image": to_224(sample["jpg"])}
        if self.how == "own":
            return {"txt": sample["txt"], "image": fitted(sample["jpg"])}
        return sample


def opened(setting: Setting) -> Epochs:
    loaded(setting, "boto3", "botocore.config")
    streaming.base.util.clean_stale_shared_memory()  # left by killed runs
    where = {"remote": setting.root, "local": setting.cache} if setting.cache else {"local": setting.root}
    settings = {"num_canonical_nodes": 1, **setting.options}
    dataset = _Samples(**where, shuffle=setting.shuffle, batch_size=setting.batch, **settings)
    dataset.how = setting.decode
    kept = loader(dataset, setting)
    return lambda _: kept
