"""A projector of haotian-liu/LLaVA: the mm_projector.bin that its stage 1 leaves (llava/train/train.py,
safe_save_model_for_hf_trainer), under our names. Read without executing what a pickle may hold."""

import pickle
import re
from pathlib import Path
from typing import Any

from schemas.errors import WrongData, WrongRequest

_LAYER = re.compile(r"(?:.*\.)?mm_projector\.(?:(\d+)\.)?(weight|bias)")
_NEWLINE = re.compile(r"(?:.*\.)?image_newline")


def read_llava(file: Path) -> dict[str, Any]:
    """linear_1.weight … and, of LLaVA-1.6, image_newline. Raises WrongData for a file that cannot be read without
    executing code, or that holds something else."""
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WrongRequest(f"there is no projector {file}", "correct the path") from error
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WrongData(f"{file} cannot be read: {why}", "take LLaVA's mm_projector.bin as it was saved") from error
    if not isinstance(state, dict) or not state:
        raise WrongData(f"{file} holds no tensors by name", "take LLaVA's mm_projector.bin")
    return dict(_renamed(str(name), tensor, file) for name, tensor in state.items())


def _renamed(name: str, tensor: Any, file: Path) -> tuple[str, Any]:
    layer = _LAYER.fullmatch(name)
    if layer:  # the layers between, 1, 3 …, are activations
        return f"linear_{int(layer[1] or 0) // 2 + 1}.{layer[2]}", tensor
    if _NEWLINE.fullmatch(name):
        return "image_newline", tensor
    raise WrongData(f"{file} holds {name}, which is no part of a projector", "take LLaVA's mm_projector.bin")
