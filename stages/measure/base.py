"""Measures: a number or a signature per sample. They reject nothing on a threshold, that is what rules are for.

A pixel measure works in two steps so that no decoded image outlives the thread that decoded it: `look` takes from one
image what the measure needs (a hash, a small tensor), and `gather` turns the looks of many rows into columns.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar

import pyarrow as pa

from schemas.row import Row
from schemas.sample import Picture
from stages.base import Outcome, Stage
from stages.measure.decode import Decoded, libraries


class MeasureReason(StrEnum):
    """Why a sample cannot be measured."""

    UNDECODABLE = "undecodable"
    """The stored bytes are no whole image; detail says what the decoder found."""
    MISSING_CAPTION = "missing_caption"
    """The measure reads the caption and there is none."""


class Measure(Stage):
    """Base of all measures. Outcomes hold the emitted columns only, `sample_id` first."""

    reasons: ClassVar[type[StrEnum]] = MeasureReason


class PixelMeasure(Measure):
    """Base of the measures that see the image."""

    accepts: ClassVar[type[Row]] = Picture

    @property
    def cut(self) -> int:
        """How many rows `gather` wants at once, counted over the part and not over the caller's batches; 0: any."""
        return 0

    def look(self, image: Decoded) -> Any:
        """What the measure keeps of one image. Called from several threads at once, after `open`."""
        raise NotImplementedError

    def gather(self, batch: pa.Table, looks: Sequence[Any]) -> Outcome:
        """Columns from looks, one per row of `batch`. `batch` has what `accepts` names, and no image."""
        raise NotImplementedError

    def measure(self, batch: pa.Table, images: Sequence[Decoded]) -> Outcome:
        """Columns from images that are already decoded, one per row."""
        return self.gather(batch, [self.look(image) for image in images])

    def process(self, batch: pa.Table) -> Outcome:
        """Decode and measure one batch; `undecodable` for the rows that hold no whole image."""
        from stages.measure.pixel_pass import PixelPass

        return PixelPass([self], threads=1).run([batch])[self.name]

    def identity(self) -> dict[str, Any]:
        """Adds the decoders' versions."""
        return {**super().identity(), "libraries": libraries()}


def columns(schema: pa.Schema, **values: Any) -> pa.Table:
    """A table of `schema` from one sequence or array per column, cast so that a null where none may be raises."""
    loose = pa.table({name: pa.array(values[name], schema.field(name).type) for name in schema.names})
    return loose.cast(schema)
