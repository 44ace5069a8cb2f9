"""A row on its way through the download."""

from dataclasses import dataclass

from stages.download.reasons import Refusal
from stages.download.url import Target


class SampleBug(RuntimeError):
    """A bug in our own code, met on one sample: the engine need not search for it."""

    def __init__(self, sample_id: str, cause: str) -> None:
        self.sample_id = sample_id
        self.cause = cause
        super().__init__(sample_id, cause)

    def __str__(self) -> str:
        return f"sample {self.sample_id}: {self.cause}"


@dataclass(slots=True)
class Job:
    """One row's URL on its way. `refusal` or `body` says how it ended."""

    row: int
    sample_id: str
    url: str | None
    promised: str | None = None
    """sha256 that the pool promises for the body."""
    target: Target | None = None
    attempts: int = 1
    redirects: int = 0
    requests: int = 0
    began: float = 0.0
    seconds: float = 0.0
    """From its first turn to its end, pauses included."""
    status: int | None = None
    final_url: str | None = None
    refusal: Refusal | None = None
    body: bytes = b""

    @property
    def host(self) -> str:
        return self.target.host if self.target is not None else ""
