"""Loose files, three per sample, in torch's DataLoader: from the file system, or one GET each from an object store."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch.utils.data

from bench.streaming.decode import fitted, to_224
from bench.streaming.readers import Cannot, Epochs, loaded, loader
from bench.streaming.setting import Setting


class _Files(torch.utils.data.Dataset[Any]):
    def __init__(self, stems: list[str], decode: str) -> None:
        self._stems, self._decode = stems, decode

    def __len__(self) -> int:
        return len(self._stems)

    def __getitem__(self, at: int) -> dict[str, Any]:
        stem = self._stems[at]
        jpg, txt = self.read(stem + ".jpg"), self.read(stem + ".txt")
        if self._decode == "none":
            return {"txt": txt, "jpg": jpg, "json": self.read(stem + ".json")}
        if self._decode == "same":
            return {"txt": txt, "image": to_224(jpg)}
        return {"txt": txt, "image": fitted(_pil(jpg))}

    def read(self, path: str) -> bytes:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  what a reader of paths calls
            return file.read()


class _Objects(_Files):
    """The client is made in the process that reads: boto3's must not cross a fork."""

    _client: Any = None
    _made_in = 0

    def read(self, path: str) -> bytes:
        import boto3

        if self._made_in != os.getpid():
            self._client, self._made_in = boto3.client("s3"), os.getpid()
        split = urlsplit(path)
        return self._client.get_object(Bucket=split.netloc, Key=split.path[1:])["Body"].read()


def opened(setting: Setting) -> Epochs:
    loaded(setting, "boto3")
    if setting.cache:
        if not setting.options.get("stems"):
            raise Cannot("no loose files in the object store")
        files: _Files = _Objects([f"{setting.root}/{stem}" for stem in setting.options["stems"]], setting.decode)
    else:
        stems = sorted(str(path.with_suffix("")) for path in Path(setting.root).glob("*/*.jpg"))
        files = _Files(stems, setting.decode)
    kept = loader(files, setting, shuffle=setting.shuffle)
    return lambda _: kept


def _pil(jpg: bytes) -> Any:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(jpg)).convert("RGB")
