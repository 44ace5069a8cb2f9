"""What decides the features of a picture: weights, how it is prepared for the tower, and with what that computes."""

import hashlib
import json
from importlib.metadata import version
from typing import Any

from pipelines.train.models import Built

FORMAT = 1
_PACKAGES = ("torch", "torchvision", "transformers", "pillow", "simplejpeg")
_NAMES = ("_name_or_path", "transformers_version")  # in transformers' configurations, and decide nothing


def identity(built: Built, device: Any, autocast: bool) -> dict[str, Any]:
    """JSON. `autocast`: whether the tower runs under it, in bfloat16."""
    import torch

    config, tower, pictures = built.core.config, built.core.model.vision_tower, built.processor.image_processor
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return {
        "format": FORMAT,
        "tower": _weights(tower),
        "config": _plain(tower.config),
        "attention": tower.config._attn_implementation,
        "layer": config.vision_feature_layer,
        "strategy": config.vision_feature_select_strategy,
        "pictures": {"class": type(pictures).__name__, **_plain(pictures)},
        "autocast": autocast,
        "device": where,
        "versions": {name: version(name) for name in _PACKAGES},
    }


def fingerprint(told: dict[str, Any]) -> str:
    """Of an identity."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _weights(tower: Any) -> str:
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return found.hexdigest()


def _plain(settings: Any) -> dict[str, Any]:
    told = {name: value for name, value in settings.to_dict().items() if name not in _NAMES}
    return json.loads(json.dumps(told, sort_keys=True, default=str))
