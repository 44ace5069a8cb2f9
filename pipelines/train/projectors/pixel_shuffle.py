"""factor × factor patches side by side, then a norm and two linear layers: InternVL 1.5 (arXiv:2404.16821).

A quarter of the tokens at factor 2 and nothing thrown away. A grid that the factor does not divide is filled up with
zeros to the right and below, as NVILA does (arXiv:2412.04468).
"""

from torch import Tensor, nn

from pipelines.train.projectors.base import Grid, Projector, Shape
from schemas.train import PixelShuffleConfig


class PixelShuffle(Projector):
    """(batch, rows × columns, vision_width) -> (batch, ceil(rows / f) × ceil(columns / f), text_width), f = factor.

    Parameters, with m = f² × vision_width: a norm (2m), (m + 1) × text_width and (text_width + 1) × text_width.
    """

    def __init__(self, config: PixelShuffleConfig, shape: Shape) -> None:
        super().__init__(shape)
        self.factor = config.factor
        merged = config.factor**2 * shape.vision_width
        self.norm = nn.LayerNorm(merged)
        self.linear_1 = nn.Linear(merged, shape.text_width)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(shape.text_width, shape.text_width)

    def forward(self, features: Tensor, grid: Grid | None = None) -> Tensor:
        """Needs the grid. Tokens go row by row."""
        laid = self.placed(features, grid)
        rows, columns = laid.shape[2:]
        laid = nn.functional.pad(laid, (0, -columns % self.factor, 0, -rows % self.factor))
        merged = nn.functional.pixel_unshuffle(laid, self.factor).flatten(2).transpose(1, 2)
        return self.linear_2(self.act(self.linear_1(self.norm(merged))))

    def tokens(self, rows: int, columns: int) -> int:
        """One for factor × factor patches."""
        return -(-rows // self.factor) * -(-columns // self.factor)
