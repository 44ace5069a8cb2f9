"""Tensors by name in one file: safetensors' format, written tensor by tensor.

The library's writer holds the file in memory or maps it, where a full disk is a SIGBUS; here it is an OSError.
"""

import hashlib
import json
from pathlib import Path
from typing import IO, Any

_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


class Hashed:
    """A file being written, and the sha256 of what was."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def write(self, data: Any) -> None:
        """All of it: a short write is tried again, and raises when the disk is full."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.size += len(view)
        while view:
            view = view[self._file.write(view) :]

    def hexdigest(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()


def write_tensors(out: Hashed, tensors: dict[str, Any]) -> None:
    """CPU tensors, any shape; those of wide numbers first, so that each lies where its numbers may. Raises OSError."""
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
    header: dict[str, Any] = {}
    at = 0
    for name, tensor in ordered.items():
        size = tensor.numel() * tensor.element_size()
        kind = _DTYPES[str(tensor.dtype).removeprefix("torch.")]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little"))
    out.write(text)
    for tensor in ordered.values():
        if tensor.numel():
            out.write(_bytes(tensor))


def read_tensors(path: Path) -> dict[str, Any]:
    """CPU tensors by name. Raises OSError and SafetensorError."""
    from safetensors.torch import load_file

    return load_file(path)


def _bytes(tensor: Any) -> Any:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
