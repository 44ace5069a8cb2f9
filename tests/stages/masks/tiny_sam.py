"""A SAM small enough for a test: transformers' own classes, random weights, 64 pixels, masks of many sizes."""

from typing import Any

SIDE = 64


def tiny_sam(seed: int = 0) -> Any:
    """SamModel of a few thousand weights, in eval mode. Its masks mean nothing, and differ from point to point."""
    import torch
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
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            # transformers starts the encoder at 1e-10, which would embed every picture as the same; and biases would
            # drown what the prompts say.
            drawn = torch.randn(weights.shape, generator=generator) * 0.3
            flat = torch.full_like(drawn, float("norm" in name and name.endswith("weight")))
            weights.copy_(drawn if weights.ndim > 1 else flat)
    return model


def tiny_processor() -> Any:
    """The image processor of that model."""
    from transformers import SamImageProcessor

    return SamImageProcessor(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
