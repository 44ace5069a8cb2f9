"""How often labels occur, alone and together, over the whole pool: `groups/labels.parquet`.

POPE's popular and adversarial questions (arXiv:2305.10355) ask for it. Counted are the rows that are candidates, kept
or not, so that another threshold changes no conversation.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pyarrow as pa

from schemas.row import Row
from stages.families import part_file
from stages.store import Store
from stages.synthesize.facts import fold
from stages.synthesize.negatives import Statistics

LABELS = "groups/labels.parquet"
MOST_LABELS = 2_000
"""Pairs are counted among the most frequent labels only: labels of the web would make millions of pairs."""


class LabelCount(Row):
    """In how many samples a label is boxed; with `other`: in how many both are."""

    label: str | None
    """Null: all samples that have boxes."""
    other: str | None
    """The later one by name."""
    samples: int


def count_labels(store: Store, parts: int) -> pa.Table:
    """Schema `LabelCount`, in order of label, other. Reads the pool twice, a part in memory at a time."""
    samples, labels = 0, Counter[str]()
    for found in _label_sets(store, parts):
        samples += 1
        labels.update(found)
    frequent = {label for label, _ in sorted(labels.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_LABELS]}
    pairs = Counter[tuple[str, str]]()
    for found in _label_sets(store, parts):
        pairs.update(combinations(sorted(found & frequent), 2))
    rows: list[tuple[str | None, str | None, int]] = [(None, None, samples)]
    rows += sorted([(label, None, n) for label, n in labels.items()])
    rows += sorted([(a, b, n) for (a, b), n in pairs.items()])
    columns = list(zip(*rows, strict=True))
    return pa.table(dict(zip(LabelCount.columns(), columns, strict=True)), schema=LabelCount.arrow_schema())


def read_labels(store: Store) -> Statistics:
    """Raises WrongData where the file is torn."""
    samples, labels = 0, dict[str, int]()
    together: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in store.read_table(LABELS).to_pylist():
        a, b, n = row["label"], row["other"], row["samples"]
        if a is None:
            samples = n
        elif b is None:
            labels[a] = n
        else:
            together[a][b] = together[b][a] = n
    return Statistics(samples, labels, dict(together))


def _label_sets(store: Store, parts: int) -> Iterator[set[str]]:
    for part in range(parts):
        table = store.read_table(part_file("pool", part), ["boxes", "reason"])
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            if row["boxes"] is not None and row["reason"] is None:
                yield {fold(box["label"]) for box in row["boxes"] if box["label"] and box["label"].strip()}
