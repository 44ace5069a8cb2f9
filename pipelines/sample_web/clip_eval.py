"""How well a checkpoint tells true captions from swapped and from subtly wrong ones.

Scores are cosines; a low one rejects. Recall = wrong captions rejected; precision = rejected that are wrong.
"""

from __future__ import annotations

import numpy as np


def threshold_at_precision(clean: np.ndarray, wrong: np.ndarray, precision: float) -> float:
    """The highest threshold t such that `score < t` is wrong with at least `precision`; -1.0 if none is."""
    scores = np.concatenate([clean, wrong])
    is_wrong = np.concatenate([np.zeros(len(clean), bool), np.ones(len(wrong), bool)])
    order = np.argsort(scores, kind="stable")
    hits = np.cumsum(is_wrong[order])
    good = np.flatnonzero(hits / np.arange(1, len(order) + 1) >= precision)
    if not len(good):
        return -1.0
    last = int(good[-1])
    upper = scores[order[last + 1]] if last + 1 < len(order) else scores[order[last]] + 1e-3
    return float((scores[order[last]] + upper) / 2)


def precision_recall(clean: np.ndarray, wrong: np.ndarray, threshold: float) -> tuple[float, float]:
    """(precision, recall) of rejecting below `threshold`."""
    hits, false = int((wrong < threshold).sum()), int((clean < threshold).sum())
    return hits / max(1, hits + false), hits / max(1, len(wrong))


def auc(clean: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a clean pair scores above a wrong one."""
    ranks = np.searchsorted(np.sort(wrong), clean, side="left")
    return float(ranks.mean() / max(1, len(wrong)))
