"""Embeddings on disk, one file for each picture and weights: other prompts over the same pictures run no encoder.

SAM's, of any size, has 256 × 64 × 64 numbers: 4 MiB in float32. SAM-HQ adds its encoder's width × 64 × 64, SAM 2 and
SAM 3 two finer levels: four times as much.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.masks.encoder import Embedded, PictureEncoder

if TYPE_CHECKING:
    import torch


class Embeddings:
    """A folder of embeddings, in front of an encoder.

    Pictures are embedded one at a time: in a batch, the last bits of each depend on the others, and a file must say
    what any later run would compute. A file that is damaged is written again; many processes may share the folder.
    """

    def __init__(self, folder: Path, encoder: PictureEncoder, made_by: Mapping[str, Any]) -> None:
        """`made_by` is what decides an embedding beside the picture: weights by hash, precision, libraries, device."""
        self._folder, self._encoder = folder, encoder
        facts = {**made_by, "encoder": type(encoder).__name__, "side": encoder.side}
        self._made_by = json.dumps(facts, sort_keys=True).encode()

    def embed(self, pictures: Sequence[np.ndarray]) -> Embedded:
        """As PictureEncoder.embed."""
        return Embedded.joined([self._one(rgb) for rgb in pictures])

    def path(self, rgb: np.ndarray) -> Path:
        """Where a picture's embedding lies, or will."""
        digest = hashlib.sha256(self._made_by)
        digest.update(f"{rgb.dtype} {rgb.shape} ".encode())
        digest.update(np.ascontiguousarray(rgb).data)
        name = digest.hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"

    def _one(self, rgb: np.ndarray) -> Embedded:
        path = self.path(rgb)
        if (features := _read(path)) is not None:
            device = self._encoder.model.device
            return Embedded(tuple(f.to(device) for f in features), ((rgb.shape[0], rgb.shape[1]),))
        made = self._encoder.embed([rgb])
        _write(path, made.features)
        return made


def _read(path: Path) -> "list[torch.Tensor] | None":
    """The tensors in a file; None for no file and for one that is not what was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get("sha256")
            features = [file.get_tensor(str(number)) for number in range(len(file.keys()))]
    except (FileNotFoundError, SafetensorError):
        return None
    return features if said == _digest(features) else None


def _write(path: Path, features: "Sequence[torch.Tensor]") -> None:
    """Under a temporary name first: a file of the right name is whole."""
    from safetensors.torch import save

    tensors = [f.detach().cpu().contiguous() for f in features]
    data = save({str(n): tensor for n, tensor in enumerate(tensors)}, {"sha256": _digest(tensors)})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _digest(features: "Sequence[torch.Tensor]") -> str:
    """safetensors has no checksum of its own."""
    import torch

    digest = hashlib.sha256()
    for tensor in features:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
