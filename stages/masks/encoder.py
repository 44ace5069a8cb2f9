"""Pictures through an image encoder: the heavy part of every SAM, whose answer serves all prompts that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the image encoder says about n pictures."""

    features: "tuple[torch.Tensor, ...]"
    """Each (n, …), in the model's dtype and on its device; what they are is the family's."""
    sizes: tuple[Size, ...]
    """Of each picture."""

    def take(self, which: Sequence[int]) -> "Embedded":
        """Of some of the pictures, by index."""
        if list(which) == list(range(len(self.sizes))):
            return self
        return Embedded(tuple(f[list(which)] for f in self.features), tuple(self.sizes[i] for i in which))

    @staticmethod
    def joined(parts: "Sequence[Embedded]") -> "Embedded":
        """Of all their pictures, in order."""
        import torch

        features = tuple(torch.cat(column) for column in zip(*(p.features for p in parts), strict=True))
        return Embedded(features, tuple(size for p in parts for size in p.sizes))


class PictureEncoder:
    """A model's encoder and the image processor before it; what all families share."""

    def __init__(self, model: Any, processor: Any, dtype: "torch.dtype") -> None:
        self.model, self.dtype = model, dtype
        self.processor = getattr(processor, "image_processor", processor)
        self.side = int(self.processor.size.get("longest_edge") or self.processor.size["height"])
        """Of the square that it takes, in pixels."""
        self.encoded_pictures = 0
        """How many pictures went through the encoder."""

    def fits(self, height: int, width: int) -> bool:
        """Whether a picture can be encoded. SAM 2 and 3 stretch every picture to a square, so any can."""
        return min(height, width) > 0

    def upscaled(self, logits: "torch.Tensor", size: Size) -> "torch.Tensor":
        """What a decoder says (m, rows, columns) of one picture, at its size: float32 (m, height, width).

        Bilinear (transformers, post_process_masks of Sam2ImageProcessor and Sam3ImageProcessor).
        """
        return bilinear(logits, size)

    def embed(self, pictures: Sequence[np.ndarray]) -> Embedded:
        """One pass of the encoder over all of `pictures`, uint8 (height, width, 3).

        Raises ValueError for anything else, for no pictures, and for a picture that does not `fits`.
        """
        import torch

        if not pictures:
            raise ValueError("no pictures to embed")
        for rgb in pictures:
            check_picture(rgb)
            if not self.fits(*rgb.shape[:2]):
                at = f"at a side of {self.side}"
                raise ValueError(f"a picture of {rgb.shape[1]} × {rgb.shape[0]} has no pixel across {at}")
        # The order of axes is said, since a picture three pixels high could be either.
        given = [torch.from_numpy(np.array(rgb)).permute(2, 0, 1) for rgb in pictures]  # torch wants writable ones
        with torch.inference_mode():
            made = self.processor(
                images=given, return_tensors="pt", input_data_format="channels_first", device=self.model.device
            )
            features = self._encoded(made["pixel_values"].to(self.model.device, self.dtype))
        self.encoded_pictures += len(pictures)
        return Embedded(features, tuple((rgb.shape[0], rgb.shape[1]) for rgb in pictures))

    def _encoded(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        """What the encoder says about pixels (n, 3, side, side); each tensor is (n, …)."""
        return (self.model.get_image_embeddings(pixels),)


def check_picture(rgb: np.ndarray) -> None:
    """Raises ValueError for anything but uint8 (height, width, 3) with at least one pixel."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"a picture is uint8 (height, width, 3), not {rgb.dtype} {rgb.shape}")


def bilinear(logits: "torch.Tensor", size: Size) -> "torch.Tensor":
    """Logits (m, rows, columns) at another size, float32 (m, height, width)."""
    import torch.nn.functional as F  # noqa: N812

    return F.interpolate(logits.float()[None], size, mode="bilinear", align_corners=False)[0]
