"""SAM 3 and words: every thing that a word names in a picture is one mask."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from stages.masks.backend import Found, tight
from stages.masks.cut import full_size
from stages.masks.encoder import Embedded, PictureEncoder, Size

if TYPE_CHECKING:
    import torch

MOST_TOKENS = 32
"""Of a word, as Sam3Processor pads them; what is longer is cut."""
_INSIDE = 0.5
"""Probability above which a pixel belongs to a mask (post_process_instance_segmentation of Sam3ImageProcessor)."""


class Sam3Words(PictureEncoder):
    """Transformers' Sam3Model, in eval mode, and its Sam3Processor. The encoder alone runs in `dtype`: what follows it
    is light, and works with coordinates."""

    classes: ClassVar[tuple[str, str]] = ("Sam3Model", "Sam3Processor")

    def __init__(self, model: Any, processor: Any, dtype: "torch.dtype | None" = None) -> None:
        import torch

        super().__init__(model, processor, dtype or model.dtype)
        self._tokenizer = processor.tokenizer
        model.to(torch.float32).vision_encoder.to(self.dtype)

    def find(
        self, embedded: Embedded, words: Sequence[Sequence[str]], least: float, per_pass: int
    ) -> list[list[Found]]:
        """The masks of each picture, in the order of its words and by score, best first; none is empty.

        `score` is the model's own for the word, more than `least`; each mask is a thing of its own, so all are `best`.
        """
        import torch

        pairs = [(picture, index) for picture, mine in enumerate(words) for index in range(len(mine))]
        found: list[list[Found]] = [[] for _ in words]
        for start in range(0, len(pairs), per_pass):
            some = pairs[start : start + per_pass]
            with torch.inference_mode():
                said = self._asked(embedded.take([p for p, _ in some]), [words[p][index] for p, index in some])
                scores = said.pred_logits.float().sigmoid() * said.presence_logits.float().sigmoid()
                for row, (picture, index) in enumerate(some):
                    found[picture] += self._masks(
                        scores[row], said.pred_masks[row], embedded.sizes[picture], (index, least)
                    )
        return found

    def _asked(self, embedded: Embedded, words: Sequence[str]) -> Any:
        """One word about each of the embedded pictures."""
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        tokens = self._tokenizer(
            list(words), return_tensors="pt", padding="max_length", max_length=MOST_TOKENS, truncation=True
        ).to(self.model.device)
        levels = tuple(level.float() for level in embedded.features)
        places = tuple(self.model.vision_encoder.neck.position_encoding(x.shape, x.device, x.dtype) for x in levels)
        # The model itself leaves the last, coarsest level out.
        seen = Sam3VisionEncoderOutput(
            fpn_hidden_states=(*levels, levels[-1]), fpn_position_encoding=(*places, places[-1])
        )
        return self.model(vision_embeds=seen, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)

    def _masks(
        self, scores: "torch.Tensor", logits: "torch.Tensor", size: Size, asked: tuple[int, float]
    ) -> Iterator[Found]:
        index, least = asked
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] > least]
        inside = (m for part in full_size(self, logits[order].sigmoid(), size) for m in part > _INSIDE)
        for mask, score in zip(inside, scores[order].tolist(), strict=True):
            if (left := tight(mask.cpu().numpy())) is not None:
                yield Found(*left, prompt_index=index, score=score)

    def _encoded(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        return tuple(self.model.get_vision_features(pixels).fpn_hidden_states[:-1])
