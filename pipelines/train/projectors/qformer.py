"""BLIP-2's Q-Former (arXiv:2301.12597, section 3.1): learned queries look at the patches through a small transformer.

The transformer is transformers' Blip2QFormerModel, so weights of published Q-Formers fit `qformer` and `queries`.
"""

from torch import Tensor, nn

from pipelines.train.projectors.base import Grid, Projector, Shape, learned
from schemas.train import QformerConfig


class Qformer(Projector):
    """(batch, patches, vision_width) -> (batch, queries, text_width).

    Parameters, with w = width, h = hidden, v = vision_width: queries × w; a norm (2w); in each layer self-attention
    4w(w + 1), feed-forward (w + 1)h + (h + 1)w and two norms (4w); in each of the ceil(layers / cross_every) that look
    at the patches 2w(w + 1) + 2w(v + 1) and a norm (2w); (w + 1) × text_width to the language model.
    """

    def __init__(self, config: QformerConfig, shape: Shape) -> None:
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        super().__init__(shape)
        self.queries = learned(1, config.queries, config.width)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=config.hidden,
                cross_attention_frequency=config.cross_every,
                encoder_hidden_size=shape.vision_width,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
            )
        )
        self.output = nn.Linear(config.width, shape.text_width)

    def forward(self, features: Tensor, grid: Grid | None = None) -> Tensor:
        """A set of patches in, their places only in the features: the grid is not needed."""
        queries = self.queries.expand(len(features), -1, -1)
        found = self.qformer(query_embeds=queries, encoder_hidden_states=features).last_hidden_state
        return self.output(found.to(self.output.weight.dtype))

    def tokens(self, rows: int, columns: int) -> int:
        """As many as there are queries."""
        return self.queries.shape[1]
