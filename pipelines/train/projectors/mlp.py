"""Linear layers with GELU between them: LLaVA-1.5 (arXiv:2310.03744, section 3.3)."""

from torch import Tensor, nn

from pipelines.train.projectors.base import Grid, Projector, Shape
from schemas.train import MlpConfig


class Mlp(Projector):
    """(batch, patches, vision_width) -> (batch, patches, text_width).

    Parameters: (vision_width + 1) × text_width + (depth - 1) × (text_width + 1) × text_width. The layers are named as
    transformers names the two of its own projector, so depth 2 loads there as it is.
    """

    keeps_leading = True
    keeps_grid = True

    def __init__(self, config: MlpConfig, shape: Shape) -> None:
        super().__init__(shape)
        self.depth = config.depth
        for layer in range(1, config.depth + 1):
            width = shape.vision_width if layer == 1 else shape.text_width
            self.add_module(f"linear_{layer}", nn.Linear(width, shape.text_width))
        self.act = nn.GELU()

    def forward(self, features: Tensor, grid: Grid | None = None) -> Tensor:
        """Each patch by itself: the grid is not needed."""
        hidden = self.get_submodule("linear_1")(features)
        for layer in range(2, self.depth + 1):
            hidden = self.get_submodule(f"linear_{layer}")(self.act(hidden))
        return hidden

    def tokens(self, rows: int, columns: int) -> int:
        """One for each patch."""
        return rows * columns
