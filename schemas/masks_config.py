"""The recipe's `masks`: who makes them, what from, and which are kept.

Defaults of the everything mode are Segment Anything's. AMG: the defaults of `SamAutomaticMaskGenerator`
(facebookresearch/segment-anything, segment_anything/automatic_mask_generator.py). SA-1B: what made the data set
(arXiv:2304.02643, appendix B, "Automatic mask generation details").
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.config import RUNTIME, StageConfig
from schemas.mask import Prompt
from schemas.rules import Rule

Share = Annotated[float, Field(ge=0, le=1)]


class EverythingConfig(StageConfig):
    """Segment everything: a grid of points, and what is thrown away of what they give."""

    points_per_side: Annotated[int, Field(ge=1, le=128)] = 32
    """Points in a row and rows of the grid; AMG and SA-1B: 32, so 1,024 points with three masks each."""
    predicted_iou: Share = 0.88
    """A mask needs more; AMG 0.88, SA-1B 88.0 %. 0: not judged."""
    stability: Share = 0.95
    """A mask needs more; AMG 0.95, SA-1B 95.0 %. 0: not judged."""
    stability_offset: Annotated[float, Field(gt=0)] = 1.0
    """Logits above and below the threshold at which stability is measured; AMG and SA-1B 1."""
    threshold: float = 0.0
    """Logit above which a pixel belongs to the mask; SAM's `mask_threshold`."""
    nms: Share = 0.7
    """Of two masks whose boxes' IoU is greater, the one with the lower predicted IoU goes; AMG and SA-1B 0.7."""
    smallest_region: Annotated[int, Field(ge=0)] = 100
    """Holes of fewer pixels are filled, islands of fewer removed, and so is a mask that is nothing else; SA-1B 100, AMG
    0 (its min_mask_region_area: off unless asked for)."""
    largest: Share | None = 0.95
    """A mask that covers this share of the picture or more goes, as uninteresting; SA-1B 95 %. None: not judged, as in
    AMG."""
    crop_layers: Annotated[int, Field(ge=0, le=4)] = 0
    """Layers of windows that are segmented beside the whole picture, layer n of 2^n × 2^n; AMG 0, SA-1B 2 (2 × 2 and
    4 × 4). Each window is a pass through the encoder."""
    crop_overlap: Annotated[float, Field(ge=0, lt=1)] = 512 / 1500
    """By how much the first layer's windows overlap, as a share of the picture's shorter side; halved from layer to
    layer. AMG 512 / 1500; SA-1B says "partially overlapping"."""
    crop_points_factor: Annotated[int, Field(ge=1)] = 1
    """From layer to layer, a grid has that many times fewer points a side; AMG 1, SA-1B 2 (32, 16, 8)."""
    crop_nms: Share = 0.7
    """As `nms`, between windows: there the mask of the smaller window stays; AMG and SA-1B 0.7."""
    crop_edge: Annotated[int, Field(ge=0)] = 20
    """A mask whose box ends within so many pixels of an inner edge of its window goes, as cut off; AMG 20 (`atol` of
    is_box_near_crop_edge, segment_anything/utils/amg.py), SA-1B: masks that touch it."""
    prompts_per_pass: Annotated[int, Field(ge=1)] = 64
    """Points in one pass of the decoder, over all pictures of a batch; AMG 64. Decisive: the shape of a batch changes
    the last bits of a matrix product."""


class GrabcutConfig(StageConfig):
    """GrabCut (Rother et al., SIGGRAPH 2004), by OpenCV: colour models of inside and outside, and a graph cut."""

    side: Annotated[int, Field(ge=32, le=2048)] = 256
    """Longer side at which a box and its surroundings are cut, in pixels; larger ones are averaged down, so that time
    is bounded."""
    margin: Annotated[float, Field(gt=0, le=2)] = 0.35
    """How much of the surroundings is looked at, as a share of the box's width and height on each side."""
    iterations: Annotated[int, Field(ge=1, le=20)] = 3
    collapse: Share = 0.2
    """A mask that covers less of its box than this is cut a second time, with the box's `core` held inside."""
    core: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Width and height of the box's middle that is held inside then, as a share of the box's."""


class SamConfig(StageConfig):
    """A SAM through transformers."""

    model: str
    """Name on the hub, or folder (relative to the recipe's), of a SAM, SAM-HQ, SAM 2 or SAM 3 checkpoint."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on GPU, fp32 on CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    """Torch threads per worker. Decisive: sums in another order differ in their last bits."""
    pictures_per_pass: Annotated[int, Field(ge=1)] = 8
    """Pictures in one pass of the image encoder. Decisive, as prompts_per_pass is."""
    word_score: Share = 0.3
    """prompt text: a mask needs a higher score for its word; transformers 0.3 (Sam3Processor,
    post_process_instance_segmentation)."""
    embeddings: Annotated[str | None, RUNTIME] = None
    """Folder (relative to the recipe's) in which embeddings are kept, so that another prompt over the same
    pictures needs no encoder. Pictures then are embedded one at a time, which is part of the stage's identity."""


class LabelConfig(StageConfig):
    """A label for each mask: the word of a vocabulary that CLIP (measure.clip) finds nearest to the mask's crop."""

    vocabulary: Literal["caption"] | list[str] = "caption"
    """caption: the content words of the sample's own captions; or a list for all samples."""
    least: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Cosine under which a mask stays without a label."""
    margin: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Room around a thing in its crop, as a share of its longer side; found with the sample web's small CLIP, which
    never saw a thing that fills its picture."""


class MaskRules(StageConfig):
    """What a sample's masks must be for it to stay. Judged over what was measured: no model runs again."""

    require: bool = True
    """Reject a sample without any mask (no_mask). False: it stays, with an empty list."""
    smallest: Annotated[int, Field(ge=0)] = 0
    """Pixels; a sample whose masks are all smaller is rejected (mask_too_small)."""
    agreement: Share = 0.0
    """A sample with a mask whose tight box has a lower IoU with the box that asked for it is rejected (box_disagrees);
    0: not judged."""
    rules: list[Rule] = []
    """Further rules, over these and all other measures; conditions only, since each part is judged by itself."""

    @model_validator(mode="after")
    def _conditions(self) -> Self:
        for rule in self.rules:
            if rule.keep is None:
                raise ValueError(f"masks.keep.rules: {rule.reason!r} ranks; write keep, or rank in select.rules")
        return self


class MasksConfig(StageConfig):
    """Masks of what select kept."""

    backend: Literal["grabcut", "sam"] = "grabcut"
    """grabcut: from boxes, without weights. sam: transformers' SAM."""
    prompt: Prompt = Prompt.box
    """everything: a grid of points. box, point: the pool's (`boxes`, `points`), or `boxes_from`. text: words of the
    caption, through SAM 3."""
    boxes_from: Literal["pool", "conversations"] = "pool"
    """conversations: the regions that synthesize wrote; synthesize then runs before masks."""
    vocabulary: Literal["caption"] | list[str] = "caption"
    """prompt text: the words asked for; caption: the content words of the sample's own captions."""
    most: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Boxes, points or words asked about one picture; further ones are not asked."""
    sam: SamConfig | None = None
    everything: EverythingConfig = EverythingConfig()
    grabcut: GrabcutConfig = GrabcutConfig()
    labels: LabelConfig | None = None
    """Null: a mask has the label of the box that asked for it, or none."""
    clip: bool = False
    """Measure `mask_clip`: the crops' cosine with the caption, by measure.clip."""
    keep: MaskRules = MaskRules()

    @model_validator(mode="after")
    def _backend(self) -> Self:
        if self.backend == "sam" and self.sam is None:
            raise ValueError("masks.backend sam needs masks.sam.model: a name or a folder that transformers loads")
        if self.backend == "grabcut" and self.prompt is not Prompt.box:
            raise ValueError(f"grabcut takes boxes only, not masks.prompt: {self.prompt}; write box, or backend: sam")
        if self.keep.agreement and self.prompt is not Prompt.box:
            raise ValueError(
                "masks.keep.agreement compares masks with the boxes that asked for them; write prompt: box, or 0"
            )
        if self.boxes_from != "pool" and self.prompt is not Prompt.box:
            raise ValueError(f"masks.boxes_from needs masks.prompt: box, not {self.prompt}")
        return self
