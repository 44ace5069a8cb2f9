"""SAMs small enough for a test: transformers' own classes, random weights, 64 pixels, masks of many sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.mask import Prompt
from schemas.masks_config import EverythingConfig, MasksConfig, SamConfig
from stages.masks.backend import Found
from stages.masks.sam_backend import SamBackend

SIDE = 64


def tiny_sam(seed: int = 0) -> Any:
    """SamModel of a few thousand weights, in eval mode. Its masks mean nothing, and differ from point to point."""
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    vision = SamVisionConfig(
        hidden_size=16, output_channels=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8,
        window_size=4, global_attn_indexes=[1], num_pos_feats=8, mlp_dim=32,
    )  # fmt: skip
    prompt = SamPromptEncoderConfig(hidden_size=16, image_size=SIDE, patch_size=8, mask_input_channels=8)
    decoder = SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_depth=2, iou_head_hidden_dim=16
    )
    model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)).eval()
    return drawn(model, seed)


def drawn(model: Any, seed: int) -> Any:
    """`model` with weights drawn anew."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in [*model.named_parameters(), *_buffers(model)]:
            # transformers starts the encoder at 1e-10, which would embed every picture as the same; and biases would
            # drown what the prompts say.
            random = torch.randn(weights.shape, generator=generator) * 0.3
            flat = torch.full_like(random, float("norm" in name and name.endswith("weight")))
            weights.copy_(random if weights.ndim > 1 else flat)
    return model


def _buffers(model: Any) -> list[tuple[str, Any]]:
    """SAM 2 keeps its positional embedding as one."""
    return [(name, buffer) for name, buffer in model.named_buffers() if name.endswith("positional_embedding")]


def tiny_processor() -> Any:
    """The image processor of that model."""
    from transformers import SamImageProcessor

    return SamImageProcessor(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})


def tiny_hq(seed: int = 0) -> Any:
    """SamHQModel, as `tiny_sam`."""
    from transformers import SamHQConfig, SamHQMaskDecoderConfig, SamHQModel, SamHQPromptEncoderConfig
    from transformers import SamHQVisionConfig as Vision

    vision = Vision(
        hidden_size=16, output_channels=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8,
        window_size=4, global_attn_indexes=[1], num_pos_feats=8, mlp_dim=32,
    )  # fmt: skip
    prompt = SamHQPromptEncoderConfig(hidden_size=16, image_size=SIDE, patch_size=8, mask_input_channels=8)
    decoder = SamHQMaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_depth=2, iou_head_hidden_dim=16, vit_dim=16
    )
    config = SamHQConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return drawn(SamHQModel(config).eval(), seed)


def tiny_sam2(seed: int = 0) -> Any:
    """Sam2Model, as `tiny_sam`."""
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2MaskDecoderConfig, Sam2Model
    from transformers import Sam2PromptEncoderConfig as Prompt
    from transformers import Sam2VisionConfig as Vision

    backbone = Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[SIDE, SIDE], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[4, 2, 2, 2], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = Vision(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    prompt = Prompt(hidden_size=16, image_size=SIDE, patch_size=16, mask_input_channels=8)
    decoder = Sam2MaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_depth=3, iou_head_hidden_dim=16
    )
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return drawn(Sam2Model(config).eval(), seed)


def tiny_sam2_processor() -> Any:
    """The image processor of SAM 2's, which stretches a picture to a square."""
    from transformers import Sam2ImageProcessor

    return Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})


SIDE3 = 56
"""Of SAM 3: four patches of 14."""
WORDS = ("a", "dog", "red", "ball", "cat", "sky", "<pad>", "<s>", "</s>", "<unk>")


def _vision3() -> Any:
    from transformers import Sam3VisionConfig, Sam3ViTConfig

    backbone = Sam3ViTConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE3,
        patch_size=14, window_size=2, global_attn_indexes=[1], pretrain_image_size=28,
    )  # fmt: skip
    return Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=16, backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]]
    )


def tiny_sam3(seed: int = 0) -> Any:
    """Sam3Model, as `tiny_sam`; it knows WORDS."""
    from transformers import CLIPTextConfig, Sam3Config, Sam3Model

    text = CLIPTextConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, projection_dim=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32, pad_token_id=6, bos_token_id=7, eos_token_id=8,
    )  # fmt: skip
    part = {"hidden_size": 16, "num_attention_heads": 2}
    layers = {**part, "num_layers": 1, "intermediate_size": 32}
    config = Sam3Config(
        vision_config=_vision3(), text_config=text, geometry_encoder_config=layers, detr_encoder_config=layers,
        detr_decoder_config={**layers, "num_queries": 8}, mask_decoder_config=part,
    )  # fmt: skip
    return drawn(Sam3Model(config).eval(), seed)


def tiny_sam3_tracker(seed: int = 0) -> Any:
    """Sam3TrackerModel, as `tiny_sam`."""
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    prompt = {"hidden_size": 16, "image_size": SIDE3, "patch_size": 14, "mask_input_channels": 8}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    config = Sam3TrackerConfig(vision_config=_vision3(), prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return drawn(Sam3TrackerModel(config).eval(), seed)


def tiny_sam3_processor(words: bool = True) -> Any:
    """Sam3Processor with a tokenizer of WORDS, or Sam3TrackerProcessor."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast, Sam3ImageProcessor, Sam3Processor, Sam3TrackerProcessor

    images = Sam3ImageProcessor(size={"height": SIDE3, "width": SIDE3})
    if not words:
        return Sam3TrackerProcessor(images)
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 7), ("</s>", 8)])  # pyright: ignore
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    return Sam3Processor(images, fast)


def saved(folder: Path, model: Any, processor: Any) -> Path:
    """A checkpoint as transformers saves it."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def backend(folder: Path, prompt: Prompt = Prompt.box, embeddings: Path | None = None, **everything: Any) -> SamBackend:
    """Not open; float32 on the CPU, two pictures a pass."""
    kept = None if embeddings is None else str(embeddings)
    sam = SamConfig(model=str(folder), precision="fp32", device="cpu", pictures_per_pass=2, embeddings=kept)
    return SamBackend(MasksConfig(backend="sam", prompt=prompt, sam=sam, everything=EverythingConfig(**everything)))


def same(ours: list[Found], others: list[Found]) -> bool:
    """Equal but for the last bits of the scores."""
    return len(ours) == len(others) and all(
        a.box == b.box
        and np.array_equal(a.pixels, b.pixels)
        and a.predicted_iou == pytest.approx(b.predicted_iou, rel=1e-4, abs=1e-6)
        and (a.prompt_index, a.point, a.best) == (b.prompt_index, b.point, b.best)
        for a, b in zip(ours, others, strict=True)
    )
