"""What a projector is: features of picture patches in, embeddings for the language model out."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from math import isqrt

import torch
from torch import Tensor, nn

Grid = tuple[int, int]
"""Rows and columns of patches."""


@dataclass(frozen=True)
class Shape:
    """What a projector connects. Widths are those of the hidden states; rows and columns count the tower's patches."""

    vision_width: int
    text_width: int
    rows: int
    columns: int

    def plain(self) -> dict[str, int]:
        """As JSON has it."""
        return asdict(self)


class Projector(nn.Module, ABC):
    """Base of all projectors. `transformers` calls one with the features alone; the grid is then the shape's."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def forward(self, features: Tensor, grid: Grid | None = None) -> Tensor:
        """(batch, patches, vision_width) -> (batch, tokens, text_width). Patches go row by row; null: the shape's grid.
        Tokens of the tower that are no patches (CLS, registers) stand before them."""

    @abstractmethod
    def tokens(self, rows: int, columns: int) -> int:
        """Image tokens that come out for so many patches."""

    def image_tokens(self, leading: int = 0) -> int:
        """Image tokens of one picture in the shape's grid, where `leading` tokens stand before the patches."""
        return self.tokens(self.shape.rows, self.shape.columns) + (leading if self.keeps_leading else 0)

    keeps_leading = False
    """Whether tokens before the patches come out as image tokens, too."""

    keeps_grid = False
    """Whether one token comes out for each patch, at its place."""

    def placed(self, features: Tensor, grid: Grid | None) -> Tensor:
        """The patches where they lie: (batch, patches, width) -> (batch, width, rows, columns). ValueError where there
        are fewer features than the grid has places."""
        rows, columns = grid or (self.shape.rows, self.shape.columns)
        batch, patches, width = features.shape
        if patches < rows * columns:
            raise ValueError(
                f"{patches} features cannot fill a grid of {rows} × {columns}; "
                f"give the grid{f' {isqrt(patches)} × {isqrt(patches)}' if isqrt(patches) ** 2 == patches else ''}"
            )
        return features[:, patches - rows * columns :].transpose(1, 2).reshape(batch, width, rows, columns)


def learned(*size: int, std: float = 0.02) -> nn.Parameter:
    """A learned tensor with normal first values; 0.02 is BERT's initializer_range."""
    return nn.Parameter(torch.randn(*size) * std)
