"""The signatures of all rows, read part by part: what dedup needs to know of a build."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from schemas.errors import WrongData
from stages.ahead import ahead
from stages.families import part_file
from stages.store import Store

pc: Any = pyarrow.compute  # its stubs refuse plain Python scalars


@dataclass(frozen=True, slots=True)
class Signed:
    """Rows that have a signature, by node (see links.py), in node order."""

    node: NDArray[np.int64]
    value: Any
    """PDQ: n × 32 uint8. CLIP: n × d float16. Content: an Arrow string array."""


@dataclass(frozen=True, slots=True)
class Signatures:
    """The rows that were fetched, sorted by sample_id: 36 bytes each, and 72 more for their content's sha256."""

    sample_id: pa.Array
    content: Signed
    place: NDArray[np.int64]
    """Row among all rows of the pool → node; −1 for a row that was not fetched."""
    part_start: NDArray[np.int64]
    """First pool row of each part."""


def read_content(store: Store, parts: int) -> Signatures:
    """sample_id and sha256 of every row that the download kept."""
    ids, hashes, alive, starts = [], [], [], [0]
    for table in _tables(store, "parts", parts, ["sample_id", "sha256", "reason"]):
        kept = pc.and_(pc.is_null(table["reason"]), pc.is_valid(table["sha256"])).combine_chunks()
        alive.append(kept.to_numpy(zero_copy_only=False))
        chosen = table.filter(kept)
        ids.append(chosen["sample_id"].combine_chunks())
        hashes.append(chosen["sha256"].combine_chunks())
        starts.append(starts[-1] + table.num_rows)
    sample_id = pa.concat_arrays(ids) if ids else pa.array([], pa.string())
    order = pc.sort_indices(sample_id)
    mask = np.concatenate(alive) if alive else np.zeros(0, bool)
    place = np.full(len(mask), -1, np.int64)
    node = np.empty(len(order), np.int64)
    node[order.to_numpy()] = np.arange(len(order))
    place[mask] = node
    sha = (pa.concat_arrays(hashes) if hashes else pa.array([], pa.string())).take(order)
    return Signatures(sample_id.take(order), Signed(np.arange(len(order)), sha), place, np.array(starts))


def read_pdq(store: Store, parts: int, known: Signatures, min_quality: int) -> Signed:
    """PDQ hashes of quality `min_quality` or better: n × 32 uint8. 40 bytes a row."""
    nodes, hashes = [np.zeros(0, np.int64)], [np.zeros((0, 32), np.uint8)]
    columns = ["pdq", "pdq_quality", "reason"]
    for part, table in enumerate(_tables(store, "measures/pdq", parts, columns)):
        fit = pc.greater_equal(table["pdq_quality"], min_quality)
        node, chosen = _alive(known, part, table, pc.and_(fit, pc.is_valid(table["pdq"])))
        nodes.append(node)
        raw = b"".join(chosen["pdq"].to_pylist())
        hashes.append(np.frombuffer(raw, np.uint8).reshape(-1, 32))
    return _in_node_order(nodes, hashes)


def read_clip(store: Store, parts: int, known: Signatures) -> Signed:
    """CLIP image embeddings, n × d float16 (2·d bytes a row); none that is zero or not finite."""
    nodes, vectors = [], []
    for part, table in enumerate(_tables(store, "measures/clip", parts, ["clip_image", "reason"])):
        node, chosen = _alive(known, part, table, pc.is_valid(table["clip_image"]))
        column = chosen["clip_image"].combine_chunks()
        if not len(column):
            continue
        flat = column.flatten().to_numpy(zero_copy_only=False)
        if len(flat) % len(column):
            raise WrongData(
                f"{part_file('measures/clip', part)} holds embeddings of several lengths", "measure it anew"
            )
        matrix = flat.reshape(len(column), -1)
        sound = np.isfinite(matrix).all(1) & (matrix != 0).any(1)
        nodes.append(node[sound])
        vectors.append(matrix[sound])
    if not nodes:
        return Signed(np.zeros(0, np.int64), np.zeros((0, 1), np.float16))
    return _in_node_order(nodes, vectors)


def _tables(store: Store, family: str, parts: int, columns: list[str]) -> Iterator[Any]:
    return ahead(lambda part: store.read_table(part_file(family, part), columns), range(parts))


def _alive(known: Signatures, part: int, table: Any, signed: Any) -> tuple[NDArray[np.int64], Any]:
    """Nodes and rows of one part that were fetched, not rejected by the measure, and signed."""
    place = known.place[known.part_start[part] : known.part_start[part + 1]]
    if len(place) != table.num_rows:
        raise WrongData(
            f"part {part:05d} has {len(place)} rows fetched and {table.num_rows} measured", "measure it anew"
        )
    ok = pc.fill_null(pc.and_(pc.is_null(table["reason"]), signed), False)
    mask = ok.combine_chunks().to_numpy(zero_copy_only=False) & (place >= 0)
    return place[mask], table.filter(pa.array(mask))


def _in_node_order(nodes: list[NDArray[np.int64]], values: list[NDArray[Any]]) -> Signed:
    node = np.concatenate(nodes)
    order = np.argsort(node)
    return Signed(node[order], np.concatenate(values)[order])
