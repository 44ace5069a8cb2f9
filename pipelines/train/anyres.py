"""Dynamic resolution: a picture as a grid of tiles and a thumbnail of the whole, through transformers' LLaVA-NeXT and
LLaVA-OneVision (blog of LLaVA-NeXT, 2024-01-30; arXiv:2408.03326, section 3.2).

The grid is the one that keeps most of the picture's pixels and then wastes fewest. Each tile is seen by the tower on
its own; what was padding is taken out again, and a learned token ends each row of what is left.
"""

from typing import Any

from schemas.train import AnyresConfig


def pinpoints(config: AnyresConfig, side: int) -> list[list[int]]:
    """transformers' image_grid_pinpoints: the grids' (height, width) in pixels, for tiles of `side` pixels."""
    return [[rows * side, columns * side] for rows, columns in config.grids]


def grid(height: int, width: int, points: list[list[int]], side: int) -> tuple[int, int]:
    """(rows, columns) of tiles that a picture of these pixels is laid out in."""
    from transformers.image_processing_utils import select_best_resolution

    high, wide = select_best_resolution((height, width), points)
    return high // side, wide // side


def image_tokens(processor: Any, height: int, width: int, *, alone: bool = True) -> int:
    """Image tokens of one picture of these pixels, newline tokens included, by the processor's own count.

    `alone`: whether it is its sample's only picture. LLaVA-OneVision gives several pictures one tile each.
    """
    if not alone and hasattr(processor, "num_image_tokens"):
        cls = processor.vision_feature_select_strategy == "default"
        return processor.num_image_tokens + 1 - cls
    return processor._get_num_multimodal_tokens(image_sizes=[(height, width)])["num_image_tokens"][0]
