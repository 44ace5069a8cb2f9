"""The small SAM as files: transformers' own configuration, image processor and weights.

The folder is an ordinary checkpoint: `SamModel.from_pretrained(FOLDER)` and `SamProcessor.from_pretrained(FOLDER)` load
it.
"""

import json
import math
from pathlib import Path
from typing import Any

from schemas.masks_config import EverythingConfig

SIDE = 192
"""Longer side of a picture, in pixels."""
PATCH = 8
MASK_SIDE = 4 * SIDE // PATCH
"""Of the decoder's logits: it makes each patch four times as fine."""
WIDTH, CHANNELS = 128, 128
"""Of the encoder, and of what it hands to the decoder."""
FREQUENCY = 1.5
"""Standard deviation of the frequencies that say where a point is; SAM's is 1 at 64 patches a side, and transformers
would start at half the width, which tells neighbours as little as far points."""
EVERYTHING = EverythingConfig(points_per_side=16, predicted_iou=0.6, stability=0.55, smallest_region=30)
"""What suits it. A grid of 16 has a point on every object; a logit is worth more pixels at this size than at SAM's, so
that masks are less stable."""


def new_model(seed: int) -> Any:
    """SamModel with fresh weights.

    transformers starts SAM's encoder at 1e-10, since it expects a checkpoint. Here matrices start normal, by their
    fan-in, what is added to patches at 0.02 as in ViT, and what tells prompts and masks apart at 0.5.
    The decoder's image-to-token attention adds nothing at first (`sam_fast`).
    """
    import torch
    from transformers import SamModel

    torch.manual_seed(seed)
    model: Any = SamModel(model_config())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1:
                weights.copy_(torch.randn(weights.shape, generator=generator) * _spread(name, weights.shape))
            elif name.endswith("bias"):
                weights.zero_()
        for layer in model.mask_decoder.transformer.layers:
            layer.cross_attn_image_to_token.out_proj.weight.zero_()
    return model


def _spread(name: str, shape: tuple[int, ...]) -> float:
    """Standard deviation at which a matrix or table starts."""
    if name.endswith("positional_embedding"):
        return FREQUENCY
    if any(part in name for part in ("pos_embed", "rel_pos", "no_mask_embed")):
        return 0.02
    if any(part in name for part in ("point_embed", "not_a_point_embed", "_token")):
        return 0.5
    if "upscale_conv" in name:  # transposed: each output sees its inputs once
        return shape[0] ** -0.5
    return math.prod(shape[1:]) ** -0.5


def model_config() -> Any:
    """Five layers, three of them in windows of 8 × 8 patches; SAM's decoder at half its width."""
    from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

    vision = SamVisionConfig(
        hidden_size=WIDTH, output_channels=CHANNELS, num_hidden_layers=5, num_attention_heads=4, image_size=SIDE,
        patch_size=PATCH, window_size=8, global_attn_indexes=[2, 4], num_pos_feats=CHANNELS // 2, mlp_dim=3 * WIDTH,
    )  # fmt: skip
    prompt = SamPromptEncoderConfig(hidden_size=CHANNELS, image_size=SIDE, patch_size=PATCH, mask_input_channels=8)
    decoder = SamMaskDecoderConfig(
        hidden_size=CHANNELS, mlp_dim=2 * CHANNELS, num_attention_heads=2, iou_head_depth=3,
        iou_head_hidden_dim=CHANNELS,
    )  # fmt: skip
    config: Any = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    config._attn_implementation = "eager"
    return config


def processor() -> Any:
    """SamProcessor that brings the longer side to SIDE and pads to a square."""
    from transformers import SamImageProcessor, SamProcessor

    sizes: dict[str, Any] = {
        "size": {"longest_edge": SIDE},
        "pad_size": {"height": SIDE, "width": SIDE},
        "mask_size": {"longest_edge": MASK_SIDE},
        "mask_pad_size": {"height": MASK_SIDE, "width": MASK_SIDE},
    }
    return SamProcessor(SamImageProcessor(**sizes))


def write(folder: Path, model: Any) -> None:
    """The checkpoint's files; weights in half the precision, which load as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    model.float()
    config = json.loads((folder / "config.json").read_text())
    _write_json(folder / "config.json", {**config, "dtype": "float32"})
    processor().save_pretrained(folder)


def load(folder: Path) -> tuple[Any, Any]:
    """SamModel in float32 and eval mode, and its SamProcessor."""
    import torch
    from transformers import SamModel, SamProcessor

    return SamModel.from_pretrained(folder, dtype=torch.float32).eval(), SamProcessor.from_pretrained(folder)


def megabytes(folder: Path) -> float:
    return sum(f.stat().st_size for f in folder.iterdir()) / 1e6


def write_card(folder: Path, measured: dict[str, Any]) -> None:
    """`card.json`, the figures of `sam_eval.card`, and README.md, the same for people."""
    _write_json(folder / "card.json", measured)
    text = _README.format(
        rows="\n".join(_row(name, measured["validation"], measured["test"]) for name in _ROWS),
        everything="\n".join(f"    {k}: {v}" for k, v in measured["everything_config"].items()),
        scenes=measured["scenes"],
        few=measured["scenes_everything"],
        objects=measured["test"]["prompts"]["objects"],
        side=SIDE,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _row(name: str, *sets: dict[str, Any]) -> str:
    part, key = _ROWS[name]
    found = [f"{(s[part][key] if key else s[part]):.3f}" for s in sets]
    return f"| {name} | {' | '.join(found)} |"


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


_ROWS = {
    "one point, best of three masks by true IoU": ("prompts", "point_best"),
    "one point, best by predicted IoU": ("prompts", "point"),
    "box, best of three masks by true IoU": ("prompts", "box_best"),
    "box, best by predicted IoU": ("prompts", "box"),
    "box, `multimask_output=False`": ("prompts", "box_single"),
    "error of the predicted IoU, absolute": ("prompts", "error"),
    "everything mode: share of objects found at IoU 0.5": ("everything", "found"),
    "everything mode: mean IoU of an object's best mask": ("everything", "mean_iou"),
    "everything mode: share of its masks that are an object's": ("everything", "masks_of_objects"),
    "for comparison, GrabCut from the box": ("grabcut_box", ""),
}

_README = """# The small SAM of the sample web

For the demo and the tests of pairmill, and for nothing else: it knows the flat shapes of `pipelines/sample_web`, and
no photograph. Trained on scenes of the sample web alone, so no licence but the repository's applies. Real work names
real weights in its recipe.

An ordinary checkpoint of transformers (`SamModel`, `SamProcessor`; fp16 safetensors that load as float32):
`SamModel.from_pretrained("pipelines/sample_web/sam")`. The longer side of a picture becomes {side} pixels. Each
prompt is one point on an object, or one box; points that say what is not meant, several points for one object and
masks as prompts were never trained. Of the three masks of a prompt none has a meaning of its own (part, object,
whole): all are guesses of the one object. A point on no object gets a low predicted IoU.

What everything mode should be set to, in a recipe under `masks.everything`:

{everything}

Trained by the phases of `pipelines/sample_web/train_sam.py`, not in one run of it but in several sittings
(`docs/decisions/2026-11-23-small-sam.md`), measured by `uv run python -m pipelines.sample_web.train_sam --out
pipelines/sample_web/sam --only-card`. Scenes for training, for the settings above (validation) and for the figures
below (test) are disjoint, and disjoint from every demo pool. Mean IoU at the scenes' own size over {scenes} scenes
({objects} objects of the test scenes); everything mode and GrabCut over {few} of them:

| | validation | test |
| --- | --- | --- |
{rows}
"""
