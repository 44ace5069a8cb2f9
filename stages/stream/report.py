"""What a mixture really drew."""

from dataclasses import dataclass

from stages.stream.sequence import Sequence


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One source up to some position of the stream."""

    source: str
    samples: int
    """In the source."""
    drawn: int
    epochs: float
    share: float
    """Of all that was drawn."""
    asked: float
    """Share that the weights in force at the position ask for."""
    left: int | None
    """Draws before cap or repeats end it; None: endless."""


def drawn(sequence: Sequence, position: int) -> list[SourceReport]:
    """One line per source, after `position` samples of the sequence."""
    mixture = sequence.mixture
    asked = mixture.weights_at(position)
    return [
        SourceReport(label, size, n, n / size, n / max(1, position), weight, mixture.left(i, n))
        for i, (label, size, n, weight) in enumerate(
            zip(mixture.labels, mixture.sizes, mixture.cursors(position), asked, strict=True)
        )
    ]
