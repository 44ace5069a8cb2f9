"""A language model whose frozen matrices are kept in 4 bits, as QLoRA does (arXiv:2305.14314), by bitsandbytes.

Its linear layers but the head hold NormalFloat4 values in blocks of 64 with quantized scales, about 4.1 bits a weight,
and multiply in the precision of the rest. Only what is added to them learns: adapters, the projector.
"""

from importlib.util import find_spec
from typing import Any

from schemas.errors import WrongRequest

_SETTING = "language.quantize: nf4"


def four_bit(name: str, dtype: Any) -> dict[str, Any]:
    """Arguments for transformers' `from_pretrained`: on this process' CUDA device, multiplying in `dtype`. Raises
    WrongRequest where a device or a package is missing."""
    import torch
    from transformers import BitsAndBytesConfig

    if name.endswith(".gguf") or name == "local":
        raise WrongRequest(f"{_SETTING}: {name} is packed already", "take its own weights, or leave quantize out")
    if not torch.cuda.is_available():
        raise WrongRequest(f"{_SETTING} needs a CUDA device, and torch finds none", "leave it out, or train on a GPU")
    if find_spec("bitsandbytes") is None:
        raise WrongRequest(f"{_SETTING} needs the package bitsandbytes", "install the extra: uv sync --extra cuda")
    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": packed, "device_map": {"": torch.cuda.current_device()}}


def values(parameter: Any) -> int:
    """How many values a parameter has, also one that holds several in a byte."""
    packed = getattr(parameter, "quant_state", None)
    return parameter.numel() if packed is None else packed.shape.numel()
