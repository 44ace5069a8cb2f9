"""Why an exchange gave no reply, and what follows from it."""

from dataclasses import dataclass

from stages.synthesize.endpoint.pace import Verdict
from stages.synthesize.endpoint.wire import FailureReason, Tokens


@dataclass(frozen=True, slots=True)
class Trouble:
    """An exchange without a reply."""

    reason: FailureReason
    evidence: str
    verdict: Verdict
    billed: bool | None = None
    """False: the server did no work. None: nobody knows, unless `usage` says."""
    usage: Tokens | None = None
    wait: float | None = None
    """Seconds that the server asked for."""
    final: bool = False
    """The same request would fail again."""
    format_refused: bool = False
    """The server does not take this response_format."""
