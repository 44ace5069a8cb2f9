"""SAM, SAM-HQ, SAM 2 and SAM 3's tracker through transformers, with one face: pictures are embedded once, and any
number of points and boxes is asked about them in their own pixels.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stages.masks.encoder import Embedded, PictureEncoder, Size, bilinear

if TYPE_CHECKING:
    import torch


class Sam(PictureEncoder):
    """Transformers' SamModel, in eval mode, and its SamProcessor or image processor.

    The model becomes this object's own, in `dtype`. Prompts are encoded and IoU is predicted in float32 all the same:
    bfloat16 has 8 bits, which is ±1 pixel of 1024 for a coordinate, ±0.002 for an IoU.
    """

    classes: ClassVar[tuple[str, str]] = ("SamModel", "SamProcessor")
    """Names in transformers of the model and of its processor."""
    exact: ClassVar[Literal["float32", "float64"]] = "float64"
    """In which its processor scales prompts."""

    def __init__(self, model: Any, processor: Any, dtype: "torch.dtype | None" = None) -> None:
        import torch

        super().__init__(model, processor, dtype or model.dtype)
        exact = (model.prompt_encoder, model.shared_image_embedding, model.mask_decoder.iou_prediction_head)
        weights = [module.state_dict() for module in exact]
        model.to(self.dtype)
        for module, mine in zip(exact, weights, strict=True):
            module.float().load_state_dict(mine)
        exact[-1].register_forward_pre_hook(_in_float)
        with torch.inference_mode():
            self._places = model.get_image_wide_positional_embeddings().to(self.dtype)

    def fits(self, height: int, width: int) -> bool:
        """Whether a picture has at least a pixel across once its longer side is `side`; a thinner one is not seen."""
        return min(height, width) * self.side / max(height, width) >= 0.5

    def shown(self, size: Size) -> Size:
        """Height and width of a picture in the model's square, whose rest is padding."""
        scale = self.side / max(size)
        return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)

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
        """As SAM's: bilinear to the square, the padding cut off, bilinear to the picture (postprocess_masks of
        segment_anything/modeling/sam.py).
        """
        rows, columns = self.shown(size)
        return bilinear(bilinear(logits, (self.side, self.side))[..., :rows, :columns], size)

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

    fits = PictureEncoder.fits
    upscaled = PictureEncoder.upscaled

    def shown(self, size: Size) -> Size:
        return self.side, self.side

    def _encoded(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        return tuple(self.model.get_image_embeddings(pixels))

    def _decoded(self, features: "tuple[torch.Tensor, ...]") -> dict[str, Any]:
        return {"image_embeddings": features[-1], "high_resolution_features": list(features[:-1])}


class Sam3Tracker(Sam2):
    """Transformers' Sam3TrackerModel: SAM 3's answers to points and boxes."""

    classes = ("Sam3TrackerModel", "Sam3TrackerProcessor")


def _in_float(_module: Any, given: "tuple[torch.Tensor, ...]") -> "tuple[torch.Tensor, ...]":
    return tuple(tensor.float() for tensor in given)
