"""The decoder's answers at a tenth of their cost, as long as its image-to-token attention adds nothing.

A model starts so (`sam_files.new_model`): the picture's side of the decoder is then the same for all prompts and is
computed once for each picture, and all four masks of a prompt come at once. `whole`: the same at its cost.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Answers:
    """To p prompts of each of n pictures. The first mask is that of `multimask_output=False`."""

    masks: "torch.Tensor"
    """Logits (n, p, 4, rows, columns)."""
    iou: "torch.Tensor"
    """Predicted, (n, p, 4)."""
    weights: "torch.Tensor"
    """What a mask's logits are made with from `cells`: (n, p, 4, codes)."""
    cells: "torch.Tensor"
    """(n, codes, rows, columns)."""
    tokens: "torch.Tensor"
    """(n, p, tokens, channels)."""


def answers(model: Any, features: "torch.Tensor", sparse: "torch.Tensor") -> Answers:
    """What `model.mask_decoder` says: prompts (n, p, tokens, channels), pictures (n, channels, rows, columns)."""
    import torch

    decoder = model.mask_decoder
    many, asked = sparse.shape[:2]
    own = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight)).expand(many, asked, -1, -1)
    tokens = torch.cat((own, sparse), 2)
    place = model.get_image_wide_positional_embeddings().flatten(2).transpose(1, 2)[:, None]
    dense = model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    keys = (features + dense).flatten(2).transpose(1, 2)[:, None]
    queries = tokens
    for layer in decoder.transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(query=queries, key=queries, value=queries)[0]
        else:
            queries = queries + layer.self_attn(query=queries + tokens, key=queries + tokens, value=queries)[0]
        queries = layer.layer_norm1(queries)
        queries = layer.layer_norm2(_looked(layer.cross_attn_token_to_image, queries, tokens, keys, place))
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        keys = layer.layer_norm4(keys)
    final = decoder.transformer.final_attn_token_to_image
    queries = decoder.transformer.layer_norm_final_attn(_looked(final, queries, tokens, keys, place))
    cells = _fine(decoder, keys[:, 0].transpose(1, 2).reshape(features.shape))
    heads = enumerate(decoder.output_hypernetworks_mlps, start=1)
    weights = torch.stack([head(queries[:, :, index]) for index, head in heads], 2)
    masks = torch.einsum("npmc,ncyx->npmyx", weights, cells)
    return Answers(masks, decoder.iou_prediction_head(queries[:, :, 0]), weights, cells, queries)


def whole(model: Any, features: "torch.Tensor", sparse: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """All four masks of each prompt, logits (n, p, 4, rows, columns), and their predicted IoU (n, p, 4), the picture
    looking at each prompt's tokens."""
    import torch

    decoder = model.mask_decoder
    many, asked = sparse.shape[:2]
    own = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight)).expand(many, asked, -1, -1)
    dense = model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    queries, keys = decoder.transformer(
        point_embeddings=torch.cat((own, sparse), 2),
        image_embeddings=(features + dense).repeat_interleave(asked, 0),
        image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(many * asked, 1, 1, 1),
        attention_similarity=None,
    )[:2]
    cells = _fine(decoder, keys.transpose(2, 3).reshape(many * asked, *features.shape[1:]))
    heads = enumerate(decoder.output_hypernetworks_mlps, start=1)
    weights = torch.stack([head(queries[:, :, index]) for index, head in heads], 2)
    masks = torch.einsum("npmc,npcyx->npmyx", weights, cells.reshape(many, asked, *cells.shape[1:]))
    return masks, decoder.iou_prediction_head(queries[:, :, 0])


def _looked(look: Any, queries: Any, tokens: Any, keys: Any, place: Any) -> "torch.Tensor":
    """Queries after a look at the picture, which all prompts' tokens take together."""
    flat = (queries + tokens).flatten(1, 2)[:, None]
    return queries + look(query=flat, key=keys + place, value=keys)[0].reshape(queries.shape)


def _fine(decoder: Any, keys: "torch.Tensor") -> "torch.Tensor":
    """The picture's side at the resolution of the masks."""
    up = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(keys)))
    return decoder.activation(decoder.upscale_conv2(up))
