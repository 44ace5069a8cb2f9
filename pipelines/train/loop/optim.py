"""AdamW over what learns, and its rate as a function of the step alone."""

import math
from typing import Any

from schemas.train_loop import OptimConfig

_PROJECTOR = ("multi_modal_projector", "image_newline")


def factor(step: int, steps: int, config: OptimConfig) -> float:
    """Of the highest rate, in step 0 … steps − 1: linear up to 1, then half a cosine down to the floor.

    As transformers' get_cosine_schedule_with_warmup, but the first step already learns.
    """
    rising = math.ceil(config.warmup * steps)
    if step < rising:
        return (step + 1) / rising
    fallen = (step - rising) / max(1, steps - rising)
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * fallen))


def make_optimizer(named: dict[str, Any], config: OptimConfig) -> Any:
    """torch's AdamW; its fused kernel on CUDA. `named`: the parameters that learn, by name."""
    import torch

    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in named.items():
        lr = config.projector_lr or config.lr if any(part in name for part in _PROJECTOR) else config.lr
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((lr, decay), []).append(parameter)
    fused = all(parameter.is_cuda for parameter in named.values())
    return torch.optim.AdamW(
        [{"params": ps, "weight_decay": decay, "top": lr} for (lr, decay), ps in groups.items()],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=fused,
    )


def set_rate(optimizer: Any, step: int, steps: int, config: OptimConfig) -> float:
    """Set every group's rate for a step; returns that of `lr`."""
    share = factor(step, steps, config)
    for group in optimizer.param_groups:
        group["lr"] = group["top"] * share
    return config.lr * share
