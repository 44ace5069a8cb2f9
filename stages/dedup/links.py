"""Links between duplicates, kept in memory that grows with the rows and not with the pairs.

A node is a row's place in sample_id order, so the smaller node is the smaller sample_id. Of all links only two things
are kept: which nodes hang together, and each node's nearest link. Both are independent of the order of arrival.
"""

import numpy as np
from numpy.typing import NDArray

KINDS = ("exact", "near", "semantic")
"""Nearest first: a link of an earlier kind is nearer than any of a later one, whatever the distances."""

Nodes = NDArray[np.int64]

_NO_KIND = len(KINDS)
_COMPACT_AT = 4_000_000


class Links:
    """Collects links; `nodes` rows, 25 bytes each, and at most 4 million links (64 MB) not yet folded in."""

    def __init__(self, nodes: int) -> None:
        self.kind = np.full(nodes, _NO_KIND, np.uint8)
        """Index into KINDS of each node's nearest link; `len(KINDS)` for none."""
        self.distance = np.full(nodes, np.inf)
        self.other = np.full(nodes, nodes, np.int64)
        self._roots = np.arange(nodes)
        self._edges: list[Nodes] = []
        self._waiting = 0

    def add(
        self, kind: str, a: Nodes, b: Nodes, distance: "NDArray[np.floating] | NDArray[np.integer] | float"
    ) -> None:
        """Link a[i] and b[i] at distance[i]. A pair may come twice; a ≠ b."""
        if not len(a):
            return
        distances = np.broadcast_to(np.asarray(distance, np.float64), a.shape)
        self._offer(KINDS.index(kind), np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([distances] * 2))
        self._edges.append(np.stack([a, b]).astype(np.int64))
        self._waiting += len(a)
        if self._waiting >= _COMPACT_AT:
            self._compact()

    def groups(self) -> Nodes:
        """For each node the smallest node that it hangs together with (itself when it has no link)."""
        self._compact()
        return self._roots

    def _offer(self, kind: int, nodes: Nodes, others: Nodes, distances: NDArray[np.float64]) -> None:
        take = self.kind[nodes] >= kind
        nodes, others, distances = nodes[take], others[take], distances[take]
        touched, where = np.unique(nodes, return_inverse=True)
        nearer = np.full(len(touched), np.inf)
        np.minimum.at(nearer, where, distances)
        better = (self.kind[touched] > kind) | (nearer < self.distance[touched])
        chosen = touched[better]
        self.kind[chosen], self.distance[chosen], self.other[chosen] = kind, nearer[better], len(self.kind)
        equal = distances == self.distance[nodes]
        np.minimum.at(self.other, nodes[equal], others[equal])  # ties: the smaller sample_id

    def _compact(self) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        if not self._edges:
            return
        n = len(self._roots)
        known = np.flatnonzero(self._roots != np.arange(n))
        a, b = np.concatenate([*self._edges, np.stack([known, self._roots[known]])], axis=1)
        graph = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(n, n))
        _, labels = connected_components(graph, directed=False)
        first = np.full(int(labels.max()) + 1, n)
        np.minimum.at(first, labels, np.arange(n))
        self._roots = first[labels]
        self._edges, self._waiting = [], 0
