"""How well a checkpoint tells true captions from swapped and from subtly wrong ones.

Scores are cosines; a low one rejects. Recall = wrong captions rejected; precision = rejected that are wrong. Pictures
go the way of a build: encoded files of the demo's kinds, decoded, oriented, through open_clip's own transform.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from pipelines.sample_web.captions import sentence
from pipelines.sample_web.claims import HardKind, holds, make_claims, spoil
from pipelines.sample_web.clip_pictures import is_grey, shown
from pipelines.sample_web.scenes import make_scene

VALIDATION_SEED, TEST_SEED = 20_000_000, 30_000_000
HARD_SHARE = 0.12
"""Share of hard wrong captions among the pairs that the hard threshold is meant for; precision depends on it."""
SWAPPED_FALSE_SHARE = 0.001
"""Share of true captions that the threshold against swapped ones may cost on the validation set."""


def threshold_at_precision(clean: np.ndarray, wrong: np.ndarray, precision: float, share: float | None = None) -> float:
    """The highest t at which `score < t` is wrong with at least `precision`; -1.0 if there is none.

    `share`: of wrong pairs among all, where it is another than that of the given scores.
    """
    scores = np.concatenate([clean, wrong])
    is_wrong = np.concatenate([np.zeros(len(clean), bool), np.ones(len(wrong), bool)])
    order = np.argsort(scores, kind="stable")
    weight = 1.0 if share is None else share / (1 - share) * len(clean) / len(wrong)
    hits = np.cumsum(is_wrong[order]) * weight
    good = np.flatnonzero(hits / (hits + np.cumsum(~is_wrong[order])) >= precision)
    if not len(good):
        return -1.0
    last = int(good[-1])
    upper = scores[order[last + 1]] if last + 1 < len(order) else scores[order[last]] + 1e-3
    return float((scores[order[last]] + upper) / 2)


def precision_recall(
    clean: np.ndarray, wrong: np.ndarray, threshold: float, share: float | None = None
) -> tuple[float, float]:
    """(precision, recall) of rejecting below `threshold`; `share` as in `threshold_at_precision`."""
    weight = 1.0 if share is None else share / (1 - share) * len(clean) / len(wrong)
    hits, false = int((wrong < threshold).sum()), int((clean < threshold).sum())
    return hits * weight / max(1e-9, hits * weight + false), hits / max(1, len(wrong))


def auc(clean: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a clean pair scores above a wrong one; NaN where either side is empty."""
    if not len(clean) or not len(wrong):
        return float("nan")
    ranks = np.searchsorted(np.sort(wrong), clean, side="left")
    return float(ranks.mean() / len(wrong))


def scores(folder: Path, start: int, count: int) -> dict[str, np.ndarray]:
    """Cosines on `count` scenes from seed `start`: "clean", "swapped" (another scene's caption), each hard kind."""
    import open_clip
    import torch
    from torch.nn.functional import normalize

    loaded: tuple[Any, Any, Any] = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model, _, transform = loaded
    tokenize: Any = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    texts, images = [_texts(start + i) for i in range(count)], []
    with torch.inference_mode():

        def embedded(captions: list[str]) -> torch.Tensor:
            parts = [model.encode_text(tokenize(captions[a : a + 256])) for a in range(0, len(captions), 256)]
            return normalize(torch.cat(parts), dim=-1)

        for at in range(0, count, 128):
            batch = torch.stack([transform(shown(start + i)) for i in range(at, min(count, at + 128))])
            images.append(normalize(model.encode_image(batch), dim=-1))
        image = torch.cat(images)
        found = {}
        for name in ("clean", "swapped", *map(str, HardKind)):
            rows = [i for i, t in enumerate(texts) if name in t]
            found[name] = (image[rows] * embedded([texts[i][name] for i in rows])).sum(1).numpy()
    return found


def card(folder: Path, count: int) -> dict[str, Any]:
    """Thresholds from the validation scenes, and what they do on the test scenes."""
    seen, test = scores(folder, VALIDATION_SEED, count), scores(folder, TEST_SEED, count)
    hard = np.concatenate([seen[str(k)] for k in HardKind])
    thresholds = {
        "swapped": float(np.quantile(seen["clean"], SWAPPED_FALSE_SHARE)),
        "hard": threshold_at_precision(seen["clean"], hard, 0.95, HARD_SHARE),
    }
    test["hard"] = np.concatenate([test[str(k)] for k in HardKind])
    figures = {}
    for name, wrong in test.items():
        if name == "clean":
            continue
        at, share = (thresholds["swapped"], 0.05) if name == "swapped" else (thresholds["hard"], HARD_SHARE)
        precision, recall = precision_recall(test["clean"], wrong, at, share)
        figures[name] = {
            "pairs": len(wrong), "auc": round(auc(test["clean"], wrong), 5), "recall": round(recall, 4),
            "precision": round(precision, 4), "wrong_share": share,
        }  # fmt: skip
    return {"scenes": count, "thresholds": {k: round(v, 4) for k, v in thresholds.items()}, "test": figures}


def _texts(seed: int) -> dict[str, str]:
    """True caption ("clean"), another scene's ("swapped", where that is false here), and the possible hard ones."""
    scene, other, rng = make_scene(seed), make_scene(seed + 5_000_000), Random(f"evaluate:{seed}")
    coloured = not is_grey(seed)
    claims, foreign = make_claims(scene, rng, coloured), make_claims(other, rng)
    words = rng.getrandbits(48)
    found = {"clean": sentence(claims, words)}
    if not holds(foreign, scene):
        found["swapped"] = sentence(foreign, rng.getrandbits(48))
    for kind in HardKind:
        wrong = spoil(claims, scene, kind, rng)
        if wrong is not None:
            found[str(kind)] = sentence(wrong, words)
    return found
