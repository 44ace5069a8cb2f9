"""Masks from the feature under a prompt, before the decoder's attention has learnt to fetch it.

A decoder that starts fresh learns to ignore its prompts: three masks of three objects, whatever is asked, are soon
right more often than a look at a random place. So the encoder, the upscaling and the hypernetworks learn first,
with the feature of the prompt's patch handed to them. Then `lay_out` sets the decoder's attention so that it hands over
that feature by itself: its first look goes by place alone, what it reads is turned as the hand-over did, and whatever
else it adds starts near nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.sample_web.sam_files import CHANNELS, SIDE

if TYPE_CHECKING:
    import torch

_QUIET = 0.25
"""Size of features beside that of places, which are added to them: a look by place must not see contents."""
_SHARP = 3.2
"""Gain of a look's queries and keys: about six tenths of it fall on the prompt's own patch, the rest beside it."""
_PLACE = 0.5
"""Size of the place in a token, beside what is read."""
_FAINT, _OWN = 0.05, 0.2
"""By how much other additions, and what tells tokens apart, start smaller."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Turns a patch's feature into the token that makes its object's masks. Not kept."""

    turn: Any
    norm: Any

    def __call__(self, features: "torch.Tensor") -> "torch.Tensor":
        return self.norm(self.turn(features))

    def parameters(self) -> "list[torch.nn.Parameter]":
        return [*self.turn.parameters(), *self.norm.parameters()]


def new_hand_over() -> HandOver:
    """A fresh one."""
    import torch

    return HandOver(torch.nn.Linear(CHANNELS, CHANNELS), torch.nn.LayerNorm(CHANNELS))


def matched(model: Any, hand_over: HandOver, features: "torch.Tensor", points: "torch.Tensor") -> "torch.Tensor":
    """Logits (n, p, 4, rows, columns) for points (n, p, 2) in pixels of the square, from features (n, channels, …)."""
    import torch
    from torch.nn.functional import grid_sample

    decoder, level = model.mask_decoder, levelled(features)
    up = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(level)))
    cells = decoder.activation(decoder.upscale_conv2(up))
    places = (points / SIDE * 2 - 1)[:, :, None, :]
    under = grid_sample(level, places, mode="nearest", align_corners=False)[..., 0].transpose(1, 2)
    tokens = hand_over(under)
    weights = torch.stack([head(tokens) for head in decoder.output_hypernetworks_mlps], 2)
    return torch.einsum("npmc,ncyx->npmyx", weights, cells)


def levelled(features: "torch.Tensor") -> "torch.Tensor":
    """Features (n, channels, rows, columns) as the decoder's norms make them."""
    from torch.nn.functional import layer_norm

    return layer_norm(features.permute(0, 2, 3, 1), (CHANNELS,)).permute(0, 3, 1, 2)


def fetched(hand_over: HandOver, features: "torch.Tensor", coverage: "torch.Tensor") -> "torch.Tensor":
    """The token of each object, (n, objects, channels): of the mean feature of what its coverage shows."""
    import torch
    from torch.nn.functional import avg_pool2d

    shown = avg_pool2d(coverage, coverage.shape[-1] // features.shape[-1])
    share = shown / shown.sum((2, 3), keepdim=True).clamp(min=1e-3)
    return hand_over(torch.einsum("nohw,nchw->noc", share, levelled(features)))


def lay_out(model: Any, hand_over: HandOver, seed: int = 0) -> None:
    """Set the decoder's attention so that a point's token becomes what `hand_over` makes of its patch."""
    import torch

    decoder = model.mask_decoder
    first, second = decoder.transformer.layers
    last = decoder.transformer.final_attn_token_to_image
    looks = [first.cross_attn_token_to_image, second.cross_attn_token_to_image, last]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        _share_place(model, first)
        neck = model.vision_encoder.neck.layer_norm2
        for scaled in (neck.weight, neck.bias, first.layer_norm4.weight, second.layer_norm4.weight):
            scaled.mul_(_QUIET)
        decoder.upscale_conv1.weight.div_(_QUIET)
        for look in looks:
            half = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS, generator=generator))[0][: CHANNELS // 2]
            look.k_proj.weight.copy_(half * _SHARP)
            look.q_proj.weight.copy_(half * _SHARP)
            look.v_proj.weight.div_(_QUIET)
        _hand_over_in(looks[0], hand_over)
        for quiet in (first.mlp.lin2, second.self_attn.out_proj, looks[1].out_proj, second.mlp.lin2, last.out_proj):
            quiet.weight.mul_(_FAINT)
            quiet.bias.zero_()
        ended = decoder.transformer.layer_norm_final_attn
        ended.weight.copy_(hand_over.norm.weight)
        ended.bias.copy_(hand_over.norm.bias)


def _share_place(model: Any, layer: Any) -> None:
    """Every token gets the place of the prompt: the first self-attention becomes a mean of the tokens."""
    import torch

    mean, own = layer.self_attn, (model.mask_decoder.iou_token, model.mask_decoder.mask_tokens)
    mean.q_proj.weight.zero_()
    mean.q_proj.bias.zero_()
    for through in (mean.v_proj, mean.out_proj):
        through.weight.copy_(torch.eye(CHANNELS))
        through.bias.zero_()
    for table in (*own, *model.prompt_encoder.point_embed, model.prompt_encoder.not_a_point_embed):
        table.weight.mul_(_OWN)
    layer.layer_norm1.weight.fill_(_PLACE)


def _hand_over_in(look: Any, hand_over: HandOver) -> None:
    """What a look reads is turned as `hand_over` turns it, as far as half the channels can (the largest singular
    values)."""
    import torch

    u, s, v = torch.linalg.svd(hand_over.turn.weight)
    half, root = CHANNELS // 2, s[: CHANNELS // 2].sqrt()
    look.v_proj.weight.copy_(root[:, None] * v[:half] / _QUIET)
    look.v_proj.bias.zero_()
    look.out_proj.weight.copy_(u[:, :half] * root)
    look.out_proj.bias.copy_(hand_over.turn.bias)
