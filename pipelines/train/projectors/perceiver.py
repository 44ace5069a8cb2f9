"""Flamingo's perceiver resampler (arXiv:2204.14198, section 3.1): learned latents read the patches, layer after layer.

In each layer the latents look at the patches and at themselves, concatenated; no biases in attention and feed-forward,
as in lucidrains/flamingo-pytorch. Flamingo's time embeddings are left out: one picture has no time.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pipelines.train.projectors.base import Grid, Projector, Shape, learned
from schemas.train import PerceiverConfig


class Perceiver(Projector):
    """(batch, patches, vision_width) -> (batch, queries, text_width).

    Parameters, with v = vision_width, a = heads × head_width, e = expansion: queries × v; in each layer 4va and two
    norms (4v), feed-forward 2ev² and its norm (2v); a norm (2v); (v + 1) × text_width to the language model.
    """

    def __init__(self, config: PerceiverConfig, shape: Shape) -> None:
        super().__init__(shape)
        width = shape.vision_width
        self.latents = learned(1, config.queries, width)
        self.layers = nn.ModuleList(_Layer(config, width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, shape.text_width)

    def forward(self, features: Tensor, grid: Grid | None = None) -> Tensor:
        """A set of patches in, their places only in the features: the grid is not needed."""
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            latents = layer(latents, features)
        return self.output(self.norm(latents))

    def tokens(self, rows: int, columns: int) -> int:
        """As many as there are latents."""
        return self.latents.shape[1]


class _Layer(nn.Module):
    """Attention and feed-forward, both added to the latents."""

    def __init__(self, config: PerceiverConfig, width: int) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.norm_features = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        hidden = config.expansion * width
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, width, bias=False)
        )

    def forward(self, latents: Tensor, features: Tensor) -> Tensor:
        """(batch, queries, width), (batch, patches, width) -> (batch, queries, width)."""
        asking = self.norm_latents(latents)
        seen = torch.cat([self.norm_features(features), asking], dim=1)
        key, value = self.key_value(seen).chunk(2, dim=-1)
        query = self._split(self.query(asking))
        found = scaled_dot_product_attention(query, self._split(key), self._split(value))
        latents = latents + self.out(found.transpose(1, 2).flatten(2))
        return latents + self.feed(latents)

    def _split(self, x: Tensor) -> Tensor:
        """(batch, length, inner) -> (batch, heads, length, head_width)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
