"""SAM through transformers: pictures embedded once, and points asked about them in their own pixels.

The image encoder is the heavy part; what it says about a picture serves every prompt that follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the image encoder says about n pictures."""

    features: "torch.Tensor"
    """(n, channels, rows, columns), in the model's dtype and on its device."""
    sizes: tuple[tuple[int, int], ...]
    """Height and width of each picture, in pixels."""
    resized: tuple[tuple[int, int], ...]
    """The same in the model's square, whose rest is padding."""
    side: int
    """Of that square, in pixels."""

    def scaled(self, points: "torch.Tensor") -> "torch.Tensor":
        """Points (n, p, 2) in pixels (x, y) of their pictures, float32, as the model's own coordinates."""
        import torch

        factors = [(new[1] / old[1], new[0] / old[0]) for old, new in zip(self.sizes, self.resized, strict=True)]
        return points * torch.tensor(factors, dtype=torch.float32, device=points.device)[:, None, :]


def fits(height: int, width: int, side: int) -> bool:
    """Whether a picture has at least a pixel across once its longer side is `side`; thinner ones cannot be encoded."""
    return min(height, width) * side / max(height, width) >= 0.5


def side_of(processor: Any) -> int:
    """Side of the square that transformers' SamImageProcessor brings pictures to, in pixels."""
    return int(processor.size["longest_edge"])


def embed(model: Any, processor: Any, pictures: Sequence[np.ndarray]) -> Embedded:
    """One pass of the encoder of transformers' SamModel over all of `pictures`, uint8 (height, width, 3).

    Raises ValueError for anything else, for no pictures, and for a picture that does not `fits`.
    """
    import torch

    side = side_of(processor)
    if not pictures:
        raise ValueError("no pictures to embed")
    for rgb in pictures:
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise ValueError(f"a picture is uint8 (height, width, 3), not {rgb.dtype} {rgb.shape}")
        if not fits(rgb.shape[0], rgb.shape[1], side):
            raise ValueError(f"a picture of {rgb.shape[1]} × {rgb.shape[0]} has no pixel across at a side of {side}")
    # The order of axes is said, since a picture three pixels high could be either.
    given = [torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1) for rgb in pictures]
    made = processor(images=given, return_tensors="pt", input_data_format="channels_first")
    with torch.inference_mode():
        features = model.get_image_embeddings(made["pixel_values"].to(model.device, model.dtype))
    return Embedded(features, _pairs(made["original_sizes"]), _pairs(made["reshaped_input_sizes"]), side)


def ask_points(model: Any, embedded: Embedded, points: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Masks for points (n, p, 2) in pixels of their pictures: logits (n, p, 3, rows, columns), predicted IoU (n, p, 3).

    Logits are the decoder's, over the padded square; `upscaled` brings them to a picture's size.
    """
    import torch

    with torch.inference_mode():
        said = model(image_embeddings=embedded.features, input_points=embedded.scaled(points)[:, :, None, :])
    return said.pred_masks, said.iou_scores.float()


def upscaled(logits: "torch.Tensor", embedded: Embedded, picture: int) -> "torch.Tensor":
    """Logits (m, rows, columns) of one picture at its own size, float32 (m, height, width).

    As SAM's: bilinear to the square, the padding cut off, bilinear to the picture (segment_anything/modeling/sam.py,
    postprocess_masks).
    """
    import torch.nn.functional as F  # noqa: N812

    side, (rows, columns) = embedded.side, embedded.resized[picture]
    square = F.interpolate(logits.float()[None], (side, side), mode="bilinear", align_corners=False)
    cut = square[..., :rows, :columns]
    return F.interpolate(cut, embedded.sizes[picture], mode="bilinear", align_corners=False)[0]


def _pairs(sizes: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(height), int(width)) for height, width in sizes)
