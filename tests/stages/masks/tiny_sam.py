"""SAMs small enough for a test: transformers' own classes, random weights, 64 pixels, masks of many sizes."""

from pathlib import Path
from typing import Any

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


def saved(folder: Path, model: Any, processor: Any) -> Path:
    """A checkpoint as transformers saves it."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
