"""SAM, SAM-HQ, SAM 2 and SAM 3's tracker through transformers, with one face: pictures are embedded once, and any
number of points and boxes is asked about them in their own pixels.

The image encoder is the heavy part; what it says about a picture serves every prompt that follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

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


class Sam:
    """Transformers' SamModel, in eval mode, and its SamProcessor or image processor.

    The model becomes this object's own. Where its weights are in half precision, prompts are still encoded and IoU
    still predicted in float32: bfloat16 has 8 bits, which is ±1 pixel of 1024 for a coordinate, ±0.002 for an IoU.
    """

    classes: ClassVar[tuple[str, str]] = ("SamModel", "SamProcessor")
    """Names in transformers of the model and of its processor."""
    exact: ClassVar[Literal["float32", "float64"]] = "float64"
    """In which its processor scales prompts."""

    def __init__(self, model: Any, processor: Any) -> None:
        import torch

        self.model = model
        self.processor = getattr(processor, "image_processor", processor)
        self.side = _side(self.processor)
        self.encoded_pictures = 0
        """How many pictures went through the encoder."""
        self.dtype: torch.dtype = model.dtype
        model.prompt_encoder.float()
        model.shared_image_embedding.float()
        head = model.mask_decoder.iou_prediction_head.float()
        head.register_forward_pre_hook(_in_float)
        with torch.inference_mode():
            self._places = model.get_image_wide_positional_embeddings().to(self.dtype)

    def fits(self, height: int, width: int) -> bool:
        """Whether a picture has at least a pixel across once its longer side is `side`; thinner ones cannot be encoded.

        SAM 2 and 3 stretch every picture to a square, so any fits.
        """
        return min(height, width) * self.side / max(height, width) >= 0.5

    def shown(self, size: Size) -> Size:
        """Height and width of a picture in the model's square, whose rest is padding."""
        scale = self.side / max(size)
        return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)

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
        given = [torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1) for rgb in pictures]
        with torch.inference_mode():
            made = self.processor(
                images=given, return_tensors="pt", input_data_format="channels_first", device=self.model.device
            )
            features = self._encoded(made["pixel_values"].to(self.model.device, self.dtype))
        self.encoded_pictures += len(pictures)
        return Embedded(features, tuple((rgb.shape[0], rgb.shape[1]) for rgb in pictures))

    def ask(
        self, embedded: Embedded, kind: Literal["point", "box"], prompts: "torch.Tensor"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Masks for points (n, p, 2: x, y) or boxes (n, p, 4: left, top, right, bottom) in pixels of their pictures.

        Logits (n, p, 3, rows, columns), over what the decoder sees of a picture (`upscaled` brings them to its size),
        and predicted IoU (n, p, 3), float32. Coordinates are scaled in the dtype that they come in.
        """
        import torch

        factors = [(new[1] / old[1], new[0] / old[0]) for old in embedded.sizes for new in [self.shown(old)]]
        scale = torch.tensor(factors, dtype=prompts.dtype, device=prompts.device).repeat(1, prompts.shape[2] // 2)
        scaled = (prompts * scale[:, None, :]).to(self.model.device)
        points = scaled[:, :, None, :] if kind == "point" else None
        labels = None if points is None else torch.ones(points.shape[:3], dtype=torch.int, device=points.device)
        with torch.inference_mode():
            sparse, dense = self.model.prompt_encoder(
                input_points=points,
                input_labels=labels,
                input_boxes=scaled if kind == "box" else None,
                input_masks=None,
            )
            logits, iou = self.model.mask_decoder(
                image_positional_embeddings=self._places.expand(len(scaled), -1, -1, -1),
                sparse_prompt_embeddings=sparse.to(self.dtype),
                dense_prompt_embeddings=dense.to(self.dtype),
                multimask_output=True,
                **self._decoded(embedded.features),
            )[:2]
        return logits, iou.float()

    def upscaled(self, logits: "torch.Tensor", size: Size) -> "torch.Tensor":
        """Logits (m, rows, columns) of one picture at its own size, float32 (m, height, width).

        As SAM's: bilinear to the square, the padding cut off, bilinear to the picture (postprocess_masks of
        segment_anything/modeling/sam.py).
        """
        rows, columns = self.shown(size)
        return _bilinear(_bilinear(logits, (self.side, self.side))[..., :rows, :columns], size)

    def _encoded(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        return (self.model.get_image_embeddings(pixels),)

    def _decoded(self, features: "tuple[torch.Tensor, ...]") -> dict[str, Any]:
        """The decoder's arguments."""
        return {"image_embeddings": features[0]}


class SamHq(Sam):
    """Transformers' SamHQModel. Its decoder sorts the three masks by predicted IoU."""

    classes = ("SamHQModel", "SamHQProcessor")

    def _encoded(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        features, inner = self.model.get_image_embeddings(pixels)
        return features, inner[0]  # The decoder reads the first of the global blocks alone.

    def _decoded(self, features: "tuple[torch.Tensor, ...]") -> dict[str, Any]:
        return {"image_embeddings": features[0], "intermediate_embeddings": [features[1]], "hq_token_only": False}


class Sam2(Sam):
    """Transformers' Sam2Model: pictures are stretched to a square, masks brought straight to their size."""

    classes = ("Sam2Model", "Sam2Processor")
    exact = "float32"

    def fits(self, height: int, width: int) -> bool:
        return min(height, width) > 0

    def shown(self, size: Size) -> Size:
        return self.side, self.side

    def upscaled(self, logits: "torch.Tensor", size: Size) -> "torch.Tensor":
        """Bilinear to the picture (transformers, Sam2ImageProcessor.post_process_masks)."""
        return _bilinear(logits, size)

    def _encoded(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        return tuple(self.model.get_image_embeddings(pixels))

    def _decoded(self, features: "tuple[torch.Tensor, ...]") -> dict[str, Any]:
        return {"image_embeddings": features[-1], "high_resolution_features": list(features[:-1])}


class Sam3Tracker(Sam2):
    """Transformers' Sam3TrackerModel: SAM 3's answers to points and boxes."""

    classes = ("Sam3TrackerModel", "Sam3TrackerProcessor")


def check_picture(rgb: np.ndarray) -> None:
    """Raises ValueError for anything but uint8 (height, width, 3) with at least one pixel."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"a picture is uint8 (height, width, 3), not {rgb.dtype} {rgb.shape}")


def _side(processor: Any) -> int:
    size = processor.size
    return int(size.get("longest_edge") or size["height"])


def _bilinear(logits: "torch.Tensor", size: Size) -> "torch.Tensor":
    import torch.nn.functional as F  # noqa: N812

    return F.interpolate(logits.float()[None], size, mode="bilinear", align_corners=False)[0]


def _in_float(_module: Any, given: "tuple[torch.Tensor, ...]") -> "tuple[torch.Tensor, ...]":
    return tuple(tensor.float() for tensor in given)
