"""Batches as Arrow tables, for those who want no torch."""

from collections.abc import Iterator

import pyarrow as pa

from stages.stream.batches import Batch, BatchReader
from stages.stream.members import IMAGE

_TEXT = ("txt", "json")


def tables(reader: BatchReader) -> Iterator[pa.Table]:
    """One table per batch: sample_id, source (its name), and a column per member.

    `image` is binary, or fixed_shape_tensor<uint8, (size, size, 3)> where the stream decodes; txt and json are strings,
    other members binary; null where a sample has none.
    """
    labels = [source.label for source in reader.sources]
    for batch in reader:
        yield _table(batch, labels)


def _table(batch: Batch, labels: list[str]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "sample_id": pa.array(batch.sample_id, pa.string()),
        "source": pa.DictionaryArray.from_arrays(pa.array(batch.source, pa.int32()), pa.array(labels)),
    }
    if batch.image is not None:
        columns[IMAGE] = pa.FixedShapeTensorArray.from_numpy_ndarray(batch.image)
    for name, found in batch.members.items():
        column = pa.array([None if m is None else bytes(m) for m in found], pa.binary())
        columns[name] = column.cast(pa.string()) if name in _TEXT else column
    return pa.table(columns)
