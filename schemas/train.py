"""What is trained: vision tower, projector, language model, and what of them stays frozen.

Defaults are LLaVA-1.5's (arXiv:2310.03744; haotian-liu/LLaVA, scripts/v1_5) where no other source is named.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.config import StageConfig

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class LinearConfig(StageConfig):
    """One linear layer: LLaVA (arXiv:2304.08485, section 4.1)."""

    kind: Literal["linear"] = "linear"


class MlpConfig(StageConfig):
    """Linear layers with GELU between them: LLaVA-1.5 (arXiv:2310.03744, section 3.3)."""

    kind: Literal["mlp"] = "mlp"
    depth: Annotated[int, Field(ge=2, le=8)] = 2
    """Linear layers. 2 is LLaVA-1.5's mlp2x_gelu, and the only depth that stock transformers has a place for."""


class QformerConfig(StageConfig):
    """BLIP-2's Q-Former (arXiv:2301.12597, section 3.1), through transformers' Blip2QFormerModel; BLIP-2's sizes."""

    kind: Literal["qformer"] = "qformer"
    queries: Count = 32
    """Learned queries: so many image tokens, whatever the picture's size."""
    width: Count = 768
    layers: Count = 12
    heads: Count = 12
    hidden: Count = 3072
    """Width inside the feed-forward layers."""
    cross_every: Count = 2
    """Every so many layers look at the patches; the first does."""
    dropout: Rate = 0.1

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"projector.heads: {self.heads} does not divide width: {self.width}; take one that does")
        return self


class PerceiverConfig(StageConfig):
    """Flamingo's perceiver resampler (arXiv:2204.14198, section 3.1); 64 latents and 6 layers are Flamingo's, heads and
    feed-forward lucidrains/flamingo-pytorch's."""

    kind: Literal["perceiver"] = "perceiver"
    queries: Count = 64
    """Learned latents: so many image tokens, whatever the picture's size."""
    layers: Count = 6
    heads: Count = 8
    head_width: Count = 64
    """heads × head_width need not be the width of the features."""
    expansion: Count = 4
    """Width inside the feed-forward layers, as a multiple of the vision tower's."""


class CAbstractorConfig(StageConfig):
    """Honeybee's C-Abstractor (arXiv:2312.06742): ResNet blocks, pooling to fewer places, ResNet blocks."""

    kind: Literal["c_abstractor"] = "c_abstractor"
    side: Count = 12
    """Rows and columns after pooling: side² image tokens; Honeybee-C-7B-M144 has 144."""
    depth: Count = 3
    """Blocks before the pooling, and as many behind it."""
    width: Count = 1024
    """Channels of the blocks."""


class PixelShuffleConfig(StageConfig):
    """factor × factor neighbouring patches laid side by side and projected together: InternVL 1.5 (arXiv:2404.16821).
    Qwen2-VL (arXiv:2409.12191) merges 2 × 2 as well, with its norm before the merge."""

    kind: Literal["pixel_shuffle"] = "pixel_shuffle"
    factor: Annotated[int, Field(ge=2, le=8)] = 2
    """A grid that it does not divide is filled up with zeros to the right and below."""


ProjectorConfig = Annotated[
    LinearConfig | MlpConfig | QformerConfig | PerceiverConfig | CAbstractorConfig | PixelShuffleConfig,
    Field(discriminator="kind"),
]


class ProjectorCard(StageConfig):
    """projector.json: what a saved projector is, and what it fits."""

    version: Literal[1] = 1
    projector: ProjectorConfig
    vision_width: Count
    text_width: Count
    rows: Count
    """Rows of patches of the picture that it was made for, and columns."""
    columns: Count
    newline: bool
    """Whether a newline token is saved with it: LLaVA-NeXT and LLaVA-OneVision learn one."""


class TowerConfig(StageConfig):
    """The vision tower."""

    model: str
    """CLIP, SigLIP or DINOv2 of transformers: a name on the hub or a folder. Or a ViT of open_clip: its folder (with an
    open_clip_config.json), `hf-hub:…`, or a built-in name with `pretrained`."""
    pretrained: str | None = None
    """Only for a built-in name of open_clip: the tag, or the path of a checkpoint."""
    layer: Annotated[int, Field(lt=0)] = -2
    """Whose hidden states are the features: -1 is the last layer, -2 the one before it."""
    side: Annotated[int, Field(ge=8)] | None = None
    """Pixels of the square that the tower sees; null: the tower's own. Only DINOv2 takes another."""
    fit: Literal["pad", "own"] = "pad"
    """How a picture becomes a square in family llava. pad: with the mean colour, so nothing is cut off (LLaVA-1.5's
    image_aspect_ratio: pad). own: the tower's way; CLIP's is to cut off the longer side's ends."""


class LanguageConfig(StageConfig):
    """The language model."""

    model: str
    """A name on the hub, a folder of transformers, a .gguf file, or `local`: SmolLM2-135M-Instruct, of the extra
    `local`."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    quantize: Literal["nf4"] | None = None
    """nf4: while it is trained beside, its frozen matrices are kept in 4 bits (QLoRA, arXiv:2305.14314), on CUDA, by
    bitsandbytes. What is saved is the model in its own precision with what was learnt added."""


class AnyresConfig(StageConfig):
    """Dynamic resolution: a picture as a grid of tiles and a thumbnail of the whole (LLaVA-NeXT, 2024-01-30)."""

    grids: Annotated[list[tuple[Count, Count]], Field(min_length=1)] = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]
    """Tiles (rows, columns) among which the one that fits is chosen; a tile has the tower's side. The order decides
    between equals."""
    most: Annotated[int, Field(ge=1)] = 9
    """Only llava_onevision (anyres_max_9): features of more tiles than these are averaged down."""


class ModelConfig(StageConfig):
    """What is built."""

    family: Literal["llava", "llava_next", "llava_onevision"] = "llava"
    """transformers' LlavaForConditionalGeneration, LlavaNext…, LlavaOnevision…"""
    tower: TowerConfig
    language: LanguageConfig
    projector: ProjectorConfig = MlpConfig()
    anyres: AnyresConfig = AnyresConfig()
    """Not used by family llava."""
    image_token: Annotated[str, Field(min_length=1)] = "<image>"
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the parameters, as loaded."""
    seed: int = 0
    """Of the projector's first values."""

    @model_validator(mode="after")
    def _grid(self) -> Self:
        if self.family != "llava" and self.projector.kind not in ("linear", "mlp"):
            raise ValueError(
                f"family {self.family} lays its image tokens out by place and needs one for each patch, which projector"
                f" {self.projector.kind} does not give; take family: llava, or projector linear or mlp"
            )
        return self


class LoraConfig(StageConfig):
    """Low-rank adapters on the language model (arXiv:2106.09685), by peft; LLaVA-1.5's finetune_lora.sh."""

    rank: Count = 128
    alpha: Annotated[float, Field(gt=0)] = 256
    dropout: Rate = 0.05
    targets: list[str] = []
    """Names of linear layers (q_proj, v_proj …); empty: all of the language model but its head, as LLaVA does."""


class FreezeConfig(StageConfig):
    """What learns; everything else keeps its values."""

    train: Literal["projector", "lora", "language"] = "projector"
    """projector: stage 1. lora: projector and adapters on the language model. language: projector and the whole
    language model."""
    lora: LoraConfig = LoraConfig()
    """Only for train: lora."""
