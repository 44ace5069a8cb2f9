"""Each projector: shapes, parameters counted by hand, gradients, and a toy task that it learns."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from pipelines.train.projectors.base import Projector, Shape
from pipelines.train.projectors.registry import PROJECTORS, projector
from schemas.train import (
    CAbstractorConfig,
    LinearConfig,
    MlpConfig,
    PerceiverConfig,
    PixelShuffleConfig,
    ProjectorConfig,
    QformerConfig,
)

V, T, ROWS, COLUMNS = 12, 8, 4, 6
SHAPE = Shape(vision_width=V, text_width=T, rows=ROWS, columns=COLUMNS)


def _block(i: int, c: int) -> int:
    s = round(i / 4)
    shortcut = 0 if i == c else i * c + 2 * c
    return i * c + 9 * c + (c + 1) * s + (s + 1) * c + c * c + 6 * c + shortcut


QFORMER = QformerConfig(queries=5, width=16, layers=3, heads=2, hidden=24, cross_every=2, dropout=0.0)
CASES: dict[str, tuple[ProjectorConfig, int, int]] = {  # config, tokens, parameters
    "linear": (LinearConfig(), 24, (V + 1) * T),
    "mlp": (MlpConfig(depth=3), 24, (V + 1) * T + 2 * (T + 1) * T),
    "qformer": (
        QFORMER,
        5,
        5 * 16
        + 2 * 16
        + 3 * (4 * 16 * 17 + 17 * 24 + 25 * 16 + 4 * 16)
        + 2 * (2 * 16 * 17 + 2 * 16 * (V + 1) + 2 * 16)
        + 17 * T,
    ),
    "perceiver": (
        PerceiverConfig(queries=5, layers=2, heads=2, head_width=6, expansion=2),
        5,
        5 * V + 2 * (4 * V * 12 + 4 * V + 2 * 2 * V * V + 2 * V) + 2 * V + (V + 1) * T,
    ),
    "c_abstractor": (
        CAbstractorConfig(side=2, depth=1, width=16),
        4,
        ROWS * COLUMNS * V + _block(V, 16) + _block(16, 16) + 17 * T + (T + 1) * T,
    ),
    "pixel_shuffle": (PixelShuffleConfig(factor=2), 6, 2 * 4 * V + (4 * V + 1) * T + (T + 1) * T),
}
KINDS = pytest.mark.parametrize("kind", CASES)


def _made(kind: str, shape: Shape = SHAPE) -> Projector:
    return projector(CASES[kind][0], shape, seed=3)


def test_every_kind_is_tried() -> None:
    assert set(CASES) == set(PROJECTORS)


@KINDS
def test_shape(kind: str) -> None:
    made = _made(kind)
    out = made(torch.randn(3, ROWS * COLUMNS, V))
    assert out.shape == (3, CASES[kind][1], T)
    assert made.tokens(ROWS, COLUMNS) == made.image_tokens() == CASES[kind][1]


@KINDS
def test_parameters_by_hand(kind: str) -> None:
    assert sum(p.numel() for p in _made(kind).parameters()) == CASES[kind][2]


@KINDS
def test_gradients(kind: str) -> None:
    small = Shape(vision_width=4, text_width=3, rows=2, columns=2)
    config = {
        "qformer": QformerConfig(queries=2, width=4, layers=1, heads=2, hidden=4, dropout=0.0),
        "perceiver": PerceiverConfig(queries=2, layers=1, heads=2, head_width=2, expansion=1),
        "c_abstractor": CAbstractorConfig(side=1, depth=1, width=4),
    }.get(kind, CASES[kind][0])
    made = projector(config, small, seed=1).double()
    names, values = zip(*made.named_parameters(), strict=True)

    def run(features: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(made, dict(zip(names, parameters, strict=True)), (features,))

    features = torch.randn(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(run, (features.requires_grad_(), *values))


@KINDS
def test_learns_which_sign_is_shown(kind: str) -> None:
    """One patch of 16, anywhere, carries one of four signs; the image tokens must say which."""
    torch.manual_seed(0)
    signs = 3 * torch.nn.functional.normalize(torch.randn(4, V), dim=1)
    config = QFORMER.model_copy(update={"layers": 1}) if kind == "qformer" else CASES[kind][0]
    made = projector(config, Shape(V, text_width=16, rows=4, columns=4), seed=3)

    def shown(pictures: int) -> tuple[torch.Tensor, torch.Tensor]:
        which = torch.randint(4, (pictures,))
        features = 0.1 * torch.randn(pictures, 16, V)
        features[torch.arange(pictures), torch.randint(16, (pictures,))] += signs[which]
        return made(features).mean(1)[:, :4], which

    @torch.no_grad()
    def right() -> float:
        said, which = shown(400)
        return (said.argmax(1) == which).float().mean().item()

    before = right()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        cross_entropy(*shown(32)).backward()
        optimizer.step()
    assert before < 0.6
    assert right() > 0.95


@pytest.mark.parametrize("kind", ["c_abstractor", "pixel_shuffle"])
def test_patches_lie_row_by_row(kind: str) -> None:
    features = torch.randn(1, ROWS * COLUMNS, V)
    laid = _made(kind).placed(features, None)
    assert laid.shape == (1, V, ROWS, COLUMNS)
    assert torch.equal(laid[0, :, 2, 5], features[0, 2 * COLUMNS + 5])


def test_pixel_shuffle_takes_each_place_once() -> None:
    made = _made("pixel_shuffle")
    seen: list[torch.Tensor] = []
    made.norm = torch.nn.Identity()
    made.linear_1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    features = torch.arange(float(ROWS * COLUMNS * V)).reshape(1, ROWS * COLUMNS, V)
    made(features)
    laid = features.reshape(ROWS, COLUMNS, V)
    assert set(seen[0][0, 0].tolist()) == set(laid[:2, :2].flatten().tolist())
    assert set(seen[0][0, 5].tolist()) == set(laid[2:, 4:].flatten().tolist())


@pytest.mark.parametrize(("rows", "columns", "tokens"), [(3, 5, 6), (27, 27, 196), (24, 24, 144)])
def test_pixel_shuffle_fills_up_an_odd_grid(rows: int, columns: int, tokens: int) -> None:
    made = _made("pixel_shuffle", Shape(V, T, rows, columns))
    assert made(torch.randn(1, rows * columns, V)).shape[1] == tokens == made.tokens(rows, columns)


@pytest.mark.parametrize("kind", ["c_abstractor", "pixel_shuffle"])
def test_tokens_before_the_patches_are_left_out(kind: str) -> None:
    made = _made(kind).eval()
    patches = torch.randn(2, ROWS * COLUMNS, V)
    assert torch.equal(made(torch.cat([torch.randn(2, 1, V), patches], dim=1)), made(patches))


def test_another_grid_than_the_towers() -> None:
    made = _made("c_abstractor")
    assert made(torch.randn(1, 6, V), grid=(3, 2)).shape == (1, 4, T)


def test_fewer_features_than_places() -> None:
    with pytest.raises(ValueError, match="23 features cannot fill a grid of 4 × 6"):
        _made("pixel_shuffle")(torch.randn(1, 23, V))


@KINDS
def test_the_seed_decides_the_first_values_and_nothing_else(kind: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same = _made(kind).state_dict(), _made(kind).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    other = projector(CASES[kind][0], SHAPE, seed=4).state_dict()
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="heads: 5 does not divide width: 16"):
        QformerConfig(width=16, heads=5)
