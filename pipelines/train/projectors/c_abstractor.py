"""Honeybee's C-Abstractor (arXiv:2312.06742, section 3.3): convolutions keep what lies beside what.

ResNet blocks with squeeze-and-excitation (timm's RegStage, as in khanrc/honeybee), pooling to side × side places, the
same blocks again, and two linear layers with SiLU between them.
"""

from torch import Tensor, nn

from pipelines.train.projectors.base import Grid, Projector, Shape, learned
from schemas.train import CAbstractorConfig


class CAbstractor(Projector):
    """(batch, patches, vision_width) -> (batch, side², text_width).

    Parameters, with v = vision_width, c = width: a place embedding rows × columns × v; 2 × depth blocks;
    (c + 1) × text_width + (text_width + 1) × text_width. A block of i channels in and c out, with s = round(i / 4):
    1 × 1 convolution ic, 3 × 3 with a group for each channel 9c, excitation (c + 1)s + (s + 1)c, 1 × 1 c², three norms
    (6c), and where i is not c a 1 × 1 shortcut ic with its norm (2c).
    """

    def __init__(self, config: CAbstractorConfig, shape: Shape) -> None:
        super().__init__(shape)
        self.side = config.side
        self.places = learned(1, shape.vision_width, shape.rows, shape.columns)
        self.before = _blocks(config.depth, shape.vision_width, config.width)
        self.pool = nn.AdaptiveAvgPool2d(config.side)
        self.behind = _blocks(config.depth, config.width, config.width)
        self.linear_1 = nn.Linear(config.width, shape.text_width)
        self.act = nn.SiLU()
        self.linear_2 = nn.Linear(shape.text_width, shape.text_width)

    def forward(self, features: Tensor, grid: Grid | None = None) -> Tensor:
        """Needs the grid. The embedding of places is stretched to another than the shape's."""
        laid = self.placed(features, grid)
        places = self.places
        if laid.shape[2:] != places.shape[2:]:
            places = nn.functional.interpolate(places, laid.shape[2:], mode="bilinear", align_corners=False)
        found = self.behind(self.pool(self.before(laid + places)))
        return self.linear_2(self.act(self.linear_1(found.flatten(2).transpose(1, 2))))

    def tokens(self, rows: int, columns: int) -> int:
        """side², whatever the grid."""
        return self.side**2


def _blocks(depth: int, inner: int, outer: int) -> nn.Module:
    from timm.layers.norm import LayerNorm2d
    from timm.models.regnet import RegStage

    return RegStage(depth, inner, outer, stride=1, dilation=1, act_layer=nn.SiLU, norm_layer=LayerNorm2d)
