"""How well the small vision tower's features say what lies where, and how near its pooled vector is to the code.

Pictures go the way of a build, as for the small CLIP (`clip_pictures.shown`). A linear probe is fitted to features of
validation scenes and asked about features of test scenes: what a projector can read, it can.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.sample_web import tower_data, tower_files
from pipelines.sample_web.clip_eval import TEST_SEED, VALIDATION_SEED, auc
from pipelines.sample_web.tower_data import Drawn
from pipelines.sample_web.tower_files import ROWS, WIDTH

if TYPE_CHECKING:
    import torch

LAYER = -2
"""Of the hidden states: what `schemas.train.TowerConfig` takes by default."""
FILLED = 0.9
"""Share of a patch that an object covers at least where it fills it."""
_STEPS, _AT_ONCE = 300, 100


class Seen(NamedTuple):
    """Of N pictures."""

    features: "torch.Tensor"
    """float32 (N, ROWS², WIDTH)."""
    codes: np.ndarray
    """Unit length, float32 (N, CODE)."""


def see(model: Any, pictures: np.ndarray) -> Seen:
    """What the tower makes of uint8 (N, SIDE, SIDE, 3)."""
    import torch
    from torch.nn.functional import normalize

    features, codes = [], []
    with torch.inference_mode():
        for at in range(0, len(pictures), _AT_ONCE):
            made = model(pixel_values=pixels(pictures[at : at + _AT_ONCE]), output_hidden_states=True)
            features.append(made.hidden_states[LAYER][:, 1:])
            codes.append(normalize(made.image_embeds, dim=-1))
    return Seen(torch.cat(features).clone(), torch.cat(codes).numpy())


def pixels(pictures: np.ndarray) -> "torch.Tensor":
    """As the image processor gives them: float32 (N, 3, SIDE, SIDE)."""
    import torch

    made = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return (made - tower_files.MEAN) / tower_files.DEVIATION


class Asked(NamedTuple):
    """Patches and what is the answer there: rows of features (n, WIDTH), classes int64 (n,)."""

    rows: "torch.Tensor"
    answers: "torch.Tensor"


def asked(features: "torch.Tensor", data: Drawn) -> dict[str, Asked]:
    """`colour`, `shape`: of the object that fills a patch. `centre_colour`, `centre_shape`: of the object whose centre
    lies in it. `centre`: whether one does. Colours without grey pictures."""
    import torch

    out: dict[str, Asked] = {}
    count, grey = len(features), torch.from_numpy(data.grey)
    objects = torch.from_numpy(data.objects)
    share, which = torch.from_numpy(data.coverage).view(count, -1, ROWS * ROWS).float().div(255).max(1)
    real = objects[:, :, 0] >= 0
    cell = (objects[:, :, :2] * ROWS).floor().clamp(0, ROWS - 1).long()
    patch = (cell[..., 1] * ROWS + cell[..., 0])[real]
    rows = torch.arange(count)[:, None].expand_as(real)[real]
    centre = torch.zeros(count, ROWS * ROWS, dtype=torch.int64)
    centre[rows, patch] = 1
    for name, column in (("colour", 3), ("shape", 4)):
        full = (share >= FILLED) & ~(grey & (column == 3))[:, None]
        out[name] = Asked(features[full], objects[:, :, column].long().clamp(min=0).gather(1, which)[full])
        kept = ~(grey[rows] & (column == 3))
        out[f"centre_{name}"] = Asked(features[rows, patch][kept], objects[:, :, column][real].long()[kept])
    out["centre"] = Asked(features.flatten(0, 1), centre.flatten())
    return out


def probed(fit: Asked, test: Asked) -> float:
    """Share of `test` that a linear layer answers right when fitted to `fit`; of 0 or 1, the F1 of 1."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    mean, deviation = fit.rows.mean(0), fit.rows.std(0) + 1e-6
    layer = torch.nn.Linear(WIDTH, int(fit.answers.max()) + 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.02, weight_decay=0.01)
    rows = (fit.rows - mean) / deviation
    for _ in range(_STEPS):
        optimizer.zero_grad()
        cross_entropy(layer(rows), fit.answers).backward()
        optimizer.step()
    with torch.inference_mode():
        said = layer((test.rows - mean) / deviation).argmax(-1)
    if layer.out_features > 2:
        return float((said == test.answers).float().mean())
    both = int((said & test.answers).sum())
    return 2 * both / max(1, int(said.sum() + test.answers.sum()))


def figures(folder: Path, fit: Drawn, test: Drawn) -> dict[str, float]:
    """Of linear probes (`asked`), and of the pooled vector: median cosine with the true code, chance that the true code
    is nearer than another scene's."""
    model = tower_files.load(folder)
    seen, other = see(model, fit.pictures), see(model, test.pictures)
    learnt, held = asked(seen.features, fit), asked(other.features, test)
    found = {name: round(probed(learnt[name], held[name]), 4) for name in held}
    codes = test.codes[np.arange(len(test.grey)), test.grey.astype(int)].astype(np.float32)
    true, swapped = (other.codes * codes).sum(1), (other.codes * np.roll(codes, 1, 0)).sum(1)
    return {**found, "code_cosine": round(float(np.median(true)), 4), "code_auc": round(auc(true, swapped), 4)}


def card(folder: Path, count: int) -> dict[str, Any]:
    """Figures on `count` test scenes; probes are fitted to as many validation scenes."""
    fit, test = (tower_data.shown_scenes(start, count) for start in (VALIDATION_SEED, TEST_SEED))
    return {
        "scenes": count, "probed": count, "layer": LAYER, "weights_mb": tower_files.megabytes(folder),
        "test": figures(folder, fit, test),
    }  # fmt: skip
