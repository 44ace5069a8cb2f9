"""A ViT of open_clip as transformers' CLIPVisionModel: the same numbers under other names.

Only what CLIPVisionModel computes can be converted: open_clip's own VisionTransformer with a norm before its blocks,
and none of its later variants. What has been converted is run beside the original before it is handed out.
"""

from typing import Any

from schemas.errors import WrongRequest
from schemas.recipe import ClipConfig
from schemas.train import TowerConfig
from stages.measure import clip_model

_REMEDY = "take a ViT of open_clip, or a CLIP, SigLIP or DINOv2 of transformers by its name there"
_NAMES = {  # within a block
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def convert(config: TowerConfig, dtype: Any) -> tuple[Any, Any]:
    """(CLIPVisionModel, CLIPImageProcessor) of an open_clip model. Raises WrongRequest for another architecture."""
    from transformers import CLIPVisionModel

    original = _load(config)
    visual = original.visual
    settings = _settings(visual, config.model)
    model = CLIPVisionModel(settings)
    missing, unexpected = model.load_state_dict(_renamed(visual), strict=False)
    missing = [name for name in missing if not name.endswith("position_ids")]
    if missing or unexpected:
        raise _refused(config.model, f"its tensors are others: {[*missing, *unexpected][0]}")
    _compare(visual, model.eval(), config.model)
    return model.to(dtype), _image_processor(visual)


def _load(config: TowerConfig) -> Any:
    name = config.model
    if config.pretrained is None and not name.startswith(("local-dir:", "hf-hub:")):
        name = f"local-dir:{name}"
    asked = ClipConfig(model=name, pretrained=config.pretrained)
    try:
        clip_model.check(asked)
        return clip_model.load(asked, "cpu", "fp32")[0]
    except WrongRequest as error:
        raise WrongRequest(f"tower.model: {error.what}", error.remedy) from error


def _settings(visual: Any, name: str) -> Any:
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
    from torch import nn
    from transformers import CLIPVisionConfig

    if not isinstance(visual, VisionTransformer):
        raise _refused(name, f"its vision half is a {type(getattr(visual, 'trunk', visual)).__name__}")
    blocks: list[Any] = list(visual.transformer.resblocks)
    if not all(type(b) is ResidualAttentionBlock and isinstance(b.ls_1, nn.Identity) for b in blocks):
        raise _refused(name, "its blocks are not plain ones (layer scale, query norm …)")
    if isinstance(visual.ln_pre, nn.Identity):
        raise _refused(name, "it has no norm before its blocks")
    (side, width), (patch, across) = visual.image_size, visual.patch_size
    if side != width or patch != across:
        raise _refused(name, "its pictures or patches are not square")
    return CLIPVisionConfig(
        hidden_size=visual.conv1.out_channels,
        intermediate_size=blocks[0].mlp.c_fc.out_features,
        num_hidden_layers=len(blocks),
        num_attention_heads=blocks[0].attn.num_heads,
        image_size=side,
        patch_size=patch,
        hidden_act=_activation(blocks[0].mlp.gelu, name),
        layer_norm_eps=visual.ln_pre.eps,
    )


def _activation(layer: Any, name: str) -> str:
    from open_clip.transformer import QuickGELU
    from torch import nn

    if isinstance(layer, QuickGELU):
        return "quick_gelu"
    if isinstance(layer, nn.GELU):
        return "gelu" if layer.approximate == "none" else "gelu_pytorch_tanh"
    raise _refused(name, f"its activation is {type(layer).__name__}")


def _renamed(visual: Any) -> dict[str, Any]:
    state = visual.state_dict()
    found = {
        "embeddings.class_embedding": state["class_embedding"],
        "embeddings.patch_embedding.weight": state["conv1.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
    }
    for end in ("weight", "bias"):
        found[f"pre_layrnorm.{end}"] = state[f"ln_pre.{end}"]
        # Behind the layers that LLaVA reads. A pooler of another width has another norm: then it stays as it is.
        if state[f"ln_post.{end}"].shape == state[f"ln_pre.{end}"].shape:
            found[f"post_layernorm.{end}"] = state[f"ln_post.{end}"]
        else:
            import torch

            fill = torch.ones_like if end == "weight" else torch.zeros_like
            found[f"post_layernorm.{end}"] = fill(state[f"ln_pre.{end}"])
        for i in range(len(visual.transformer.resblocks)):
            old, new = f"transformer.resblocks.{i}", f"encoder.layers.{i}"
            parts = state[f"{old}.attn.in_proj_{end}"].chunk(3)
            found |= {f"{new}.self_attn.{x}_proj.{end}": p for x, p in zip("qkv", parts, strict=True)}
            found |= {f"{new}.{theirs}.{end}": state[f"{old}.{ours}.{end}"] for ours, theirs in _NAMES.items()}
    return found


def _compare(visual: Any, model: Any, name: str) -> None:
    """Raises WrongRequest where the two see one noise picture differently, by more than float32 explains."""
    import torch

    noise = torch.randn(1, 3, *visual.image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = visual.forward_intermediates(noise, intermediates_only=True, output_fmt="NLC")["image_intermediates"]
        ours = model(noise, output_hidden_states=True).hidden_states[1:]
    for layer, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        if not torch.allclose(a, b[:, 1:], rtol=1e-3, atol=1e-3 * float(a.abs().max())):
            raise _refused(name, f"converted, its layer {layer} gives other features")


def _image_processor(visual: Any) -> Any:
    from transformers import CLIPImageProcessor

    told = visual.preprocess_cfg
    side = visual.image_size[0]
    squeezed = told.get("resize_mode", "shortest") == "squash"
    return CLIPImageProcessor(
        size={"height": side, "width": side} if squeezed else {"shortest_edge": side},
        crop_size={"height": side, "width": side},
        resample={"bilinear": 2, "bicubic": 3}[told.get("interpolation", "bicubic")],
        image_mean=list(told["mean"]),
        image_std=list(told["std"]),
    )


def _refused(name: str, why: str) -> WrongRequest:
    return WrongRequest(
        f"tower.model {name!r} of open_clip has no counterpart in transformers' CLIPVisionModel: {why}", _REMEDY
    )
