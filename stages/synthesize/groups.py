"""Related samples, for dialogues over several pictures (Flamingo's interleaved data, arXiv:2204.14198)."""

from collections.abc import Sequence

from stages.synthesize.context import Context
from stages.synthesize.facts import fold


def groups_of(contexts: Sequence[Context], size: int) -> dict[int, tuple[int, ...]]:
    """First member → indices of a group of `size`, in the order in which its pictures are shown.

    From the first sample on, each that is free takes the free ones that share most labels with it (Jaccard; ties to the
    earlier). A sample is in one group at most, and alone where fewer than `size` share a label.
    """
    labels = [_labels(context) for context in contexts]
    free = [bool(found) for found in labels]
    groups: dict[int, tuple[int, ...]] = {}
    for i, mine in enumerate(labels):
        if not free[i]:
            continue
        alike = [(len(mine & labels[j]) / len(mine | labels[j]), -j) for j in range(i + 1, len(labels)) if free[j]]
        nearest = [-j for share, j in sorted(alike, reverse=True)[: size - 1] if share > 0]
        if len(nearest) == size - 1:
            groups[i] = (i, *nearest)
            for j in groups[i]:
                free[j] = False
    return groups


def _labels(context: Context) -> frozenset[str]:
    return frozenset(fold(box.label) for box in context.boxes or () if box.label and box.label.strip())
