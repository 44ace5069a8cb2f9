"""litdata: its StreamingDataset in its StreamingDataLoader."""

import importlib
import os
from typing import Any

from bench.streaming.decode import fitted, to_224
from bench.streaming.readers import Epochs, columns, loaded
from bench.streaming.setting import Setting

litdata: Any = importlib.import_module("litdata")  # only the peers' environment has it


def opened(setting: Setting) -> Epochs:
    if setting.decode == "own":
        import torchvision.io  # noqa: F401  its decoder; otherwise loaded at the first picture

    loaded(setting, "boto3", "obstore.store")
    more: dict[str, Any] = {}
    if setting.cache:
        store = {
            "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
            "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
        # Its obstore client speaks HTTPS only and has no setting for that; the loopback store has no certificate.
        importlib.import_module("litdata.streaming.downloader")._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
        more = {"cache_dir": setting.cache, "storage_options": store}
    dataset = litdata.StreamingDataset(
        setting.root, shuffle=setting.shuffle, drop_last=False, transform=_TRANSFORMS[setting.decode],
        **more, **setting.options,
    )  # fmt: skip
    kept = litdata.StreamingDataLoader(
        dataset, batch_size=setting.batch, num_workers=setting.workers, collate_fn=columns
    )
    return lambda _: kept


def _raw(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: _held(sample[name]) for name in ("txt", "jpg", "json")}


def _same(sample: dict[str, Any]) -> dict[str, Any]:
    return {"txt": _held(sample["txt"]), "image": to_224(sample["jpg"])}


def _own(sample: dict[str, Any]) -> dict[str, Any]:
    """Its decoder gives a C × H × W tensor."""
    return {"txt": _held(sample["txt"]), "image": fitted(sample["jpg"].permute(1, 2, 0).numpy())}


def _held(data: Any) -> bytes:
    """Some of its settings give views of a chunk, which cannot leave a worker process."""
    return data if type(data) is bytes else bytes(data)


_TRANSFORMS = {"none": _raw, "same": _same, "own": _own}
