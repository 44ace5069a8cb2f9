"""The small vision tower as files: transformers' own configuration, image processor and weights.

The folder is an ordinary checkpoint: `CLIPVisionModel.from_pretrained(FOLDER)` loads it; `load` adds the projection to
the small CLIP's codes. Pictures are squashed to a square, as the
small CLIP's are: `TowerConfig(model=FOLDER, fit="own")`.
"""

import json
import math
from pathlib import Path
from typing import Any

SIDE, PATCH = 128, 16
ROWS = SIDE // PATCH
WIDTH, LAYERS, HEADS = 192, 6, 8
CODE = 256
"""Of the small CLIP's codes."""
MEAN, DEVIATION = 0.5, 0.25
LOOKING = 4
"""The first so many layers' heads begin by looking at the eight patches around."""
_TO_CODE = "visual_projection.weight"
_PLACE, _SHARP = 4.0, 4.0
"""How much of a patch's vector says where it is, and the logit of a neighbour's row, or column, at first."""


def model_config() -> Any:
    from transformers import CLIPVisionConfig

    config: Any = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        image_size=SIDE, patch_size=PATCH, projection_dim=CODE, hidden_act="gelu",
    )  # fmt: skip
    config._attn_implementation = "eager"  # SDPA's way back in bfloat16 takes far longer on a CPU
    return config


def new_model(seed: int) -> Any:
    """CLIPVisionModelWithProjection with fresh weights, its attention laid out."""
    import torch
    from transformers import CLIPVisionModelWithProjection

    torch.manual_seed(seed)
    model: Any = CLIPVisionModelWithProjection(model_config())
    with torch.no_grad():
        _lay_out(model.vision_model)
    return model


def _lay_out(vision: Any) -> None:
    """Row and column of a patch, one-hot, in the first channels; the heads of the first layers find a neighbour each by
    them. Fresh attention has to find out that neighbours belong together before it can tell a shape."""
    import torch
    from torch import nn

    places, at = 2 * ROWS, torch.arange(ROWS * ROWS)
    table = vision.embeddings.position_embedding.weight.zero_()
    table[1 + at, at // ROWS] = _PLACE
    table[1 + at, ROWS + at % ROWS] = _PLACE
    nn.init.normal_(vision.embeddings.patch_embedding.weight, std=0.04)
    vision.embeddings.patch_embedding.weight[:places] = 0
    vision.embeddings.class_embedding.normal_(std=0.5)
    for number, layer in enumerate(vision.encoder.layers):
        attention, after = layer.self_attn, (layer.self_attn.out_proj, layer.mlp.fc2)
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, layer.mlp.fc1, *after):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in after:
            linear.weight *= 0.7
            linear.weight[:places] *= 0.1
        if number < LOOKING:
            _look_around(attention)


def _look_around(attention: Any) -> None:
    around = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    size = WIDTH // HEADS
    strength = math.sqrt(_SHARP * math.sqrt(size)) / _PLACE
    attention.q_proj.weight.mul_(0.1)
    attention.k_proj.weight.mul_(0.1)
    for head, steps in enumerate(around):
        for axis, step in enumerate(steps):
            first = axis * ROWS
            for k in range(ROWS):
                attention.k_proj.weight[head * size + first + k, first + k] = strength
                if 0 <= k + step < ROWS:
                    attention.q_proj.weight[head * size + first + k + step, first + k] = strength


def processor() -> Any:
    """CLIPImageProcessor that squashes, as the small CLIP's transform does: questions are about the whole picture."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(
        size={"height": SIDE, "width": SIDE}, do_center_crop=False, crop_size={"height": SIDE, "width": SIDE},
        image_mean=[MEAN] * 3, image_std=[DEVIATION] * 3,
    )  # fmt: skip


def write(folder: Path, model: Any) -> None:
    """The checkpoint's files; weights in half the precision, which load as float32. The projection to the code is a
    file of its own: CLIPVisionModel has no place for it."""
    from safetensors.torch import save_file
    from transformers import CLIPVisionModel

    folder.mkdir(parents=True, exist_ok=True)
    model.half()
    alone: Any = CLIPVisionModel(model.config).half()
    alone.load_state_dict(model.vision_model.state_dict())
    alone.save_pretrained(folder)
    save_file({_TO_CODE: model.state_dict()[_TO_CODE].contiguous()}, str(folder / "code.safetensors"))
    model.float()
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "dtype": "float32"})
    processor().save_pretrained(folder)


def load(folder: Path) -> Any:
    """CLIPVisionModelWithProjection in float32 and eval mode."""
    import torch
    from safetensors.torch import load_file
    from transformers import CLIPVisionModel, CLIPVisionModelWithProjection

    model: Any = CLIPVisionModelWithProjection(model_config())
    alone: Any = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32)
    model.vision_model.load_state_dict(alone.state_dict())
    model.visual_projection.weight.data.copy_(load_file(str(folder / "code.safetensors"))[_TO_CODE])
    return model.eval()


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def megabytes(folder: Path) -> float:
    """Of the weights."""
    return round((folder / "model.safetensors").stat().st_size / 1e6, 2)


def write_card(folder: Path, measured: dict[str, Any]) -> None:
    """`card.json`, the figures of `tower_eval.card`, and README.md, the same for people."""
    write_json(folder / "card.json", measured)
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in measured["test"].items())
    text = _README.format(rows=rows, scenes=measured["scenes"], probed=measured["probed"])
    (folder / "README.md").write_text(text, encoding="utf-8")


_README = """# The small vision tower of the sample web

For `pairmill demo --train` and the tests of pairmill, and for nothing else: it knows the flat shapes of
`pipelines/sample_web`, and no photograph. Trained on scenes of the sample web alone, so no licence but the repository's
applies. Real work names a real tower in its configuration.

An ordinary checkpoint of transformers (fp16 safetensors that load as float32): CLIP's ViT with 128 × 128 pixels,
patches of 16, six layers of width 192. In a configuration of `pairmill train`:

    model: {{tower: {{model: pipelines/sample_web/vision, fit: own}}}}

`fit: own` squashes a picture to a square, as it was trained. `layer: -2`, the default, is where its features are: a
teacher that is thrown away read there, from each patch, what lies in it, and from the patch of an object's centre which
object. The layer behind it makes CLIP's pooled vector, and `code.safetensors` (CLIPVisionModelWithProjection's
`visual_projection`) takes that towards the code that the small CLIP's towers speak (`clip_codes.py`); it comes far less
near than the small CLIP itself, and nothing here uses it.

Trained in two sittings by what is in `pipelines/sample_web/train_tower.py`, not in one run of it: about 2,000 steps on
140,000 pictures of 80,000 scenes, 60,000 of them as a build shows them, then 2,300 with centres shared over borders
and counts in the loss (`docs/decisions/2026-11-23-small-vlm.md`). Measured by `uv run python -m
pipelines.sample_web.train_tower --out pipelines/sample_web/vision --only-card` on {scenes} test scenes as files of the
demo's kinds (re-encoded, halved, cropped, brighter, darker, CMYK, alpha, GIF, WebP, EXIF-rotated among them; colours
without the grey files). Linear probes on the features of `layer: -2`, fitted on {probed} validation scenes ("centre":
F1 of whether an object's centre lies in a patch):

| | test |
| --- | --- |
{rows}
"""
