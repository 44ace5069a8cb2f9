"""One linear layer: LLaVA (arXiv:2304.08485, section 4.1)."""

from torch import Tensor, nn

from pipelines.train.projectors.base import Grid, Projector, Shape
from schemas.train import LinearConfig


class Linear(Projector):
    """(batch, patches, vision_width) -> (batch, patches, text_width). Parameters: (vision_width + 1) × text_width."""

    keeps_leading = True
    keeps_grid = True

    def __init__(self, config: LinearConfig, shape: Shape) -> None:
        super().__init__(shape)
        self.linear_1 = nn.Linear(shape.vision_width, shape.text_width)

    def forward(self, features: Tensor, grid: Grid | None = None) -> Tensor:
        """Each patch by itself: the grid is not needed."""
        return self.linear_1(features)

    def tokens(self, rows: int, columns: int) -> int:
        """One for each patch."""
        return rows * columns
