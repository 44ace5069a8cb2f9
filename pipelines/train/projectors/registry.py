"""Every projector by its kind."""

from collections.abc import Callable
from typing import Any

from pipelines.train.projectors.base import Projector, Shape
from pipelines.train.projectors.c_abstractor import CAbstractor
from pipelines.train.projectors.linear import Linear
from pipelines.train.projectors.mlp import Mlp
from pipelines.train.projectors.perceiver import Perceiver
from pipelines.train.projectors.pixel_shuffle import PixelShuffle
from pipelines.train.projectors.qformer import Qformer
from schemas.train import ProjectorConfig

PROJECTORS: dict[str, Callable[[Any, Shape], Projector]] = {
    "linear": Linear,
    "mlp": Mlp,
    "qformer": Qformer,
    "perceiver": Perceiver,
    "c_abstractor": CAbstractor,
    "pixel_shuffle": PixelShuffle,
}


def projector(config: ProjectorConfig, shape: Shape, seed: int = 0) -> Projector:
    """A projector with first values that the seed decides; torch's own generator is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        return PROJECTORS[config.kind](config, shape)
