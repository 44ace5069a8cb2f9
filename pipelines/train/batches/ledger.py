"""What became of every conversation that was read, and when there is too little left to train on."""

from collections import Counter
from typing import Any

from schemas.errors import WrongData
from schemas.train_batch import SKIPPED, BatchConfig, TrainReason, TrainRejection

_REMEDY = (
    "look at them (`pairmill explain BUILD SAMPLE_ID`) and at batch.template, or raise batch.max_bad_share or max_bad"
)


class TrainLedger:
    """Counts, and the rejections that were not taken yet. seen = examples + rejected, always."""

    def __init__(self, config: BatchConfig) -> None:
        self._config = config
        self.examples = 0
        """Conversations that became examples."""
        self.rejected: Counter[str] = Counter()
        """Reason → conversations."""
        self._undone = 0
        self._last: TrainRejection | None = None

    @property
    def bad(self) -> int:
        """Rejections that are faults."""
        return sum(n for reason, n in self.rejected.items() if TrainReason(reason) not in SKIPPED)

    def kept(self) -> None:
        self.examples += 1

    def reject(self, rejection: TrainRejection, undone: bool = False) -> None:
        """`undone`: it had been counted as an example; only this rank sees it. Raises WrongData beyond the bounds."""
        self.rejected[rejection.reason] += 1
        self.examples -= undone
        self._undone += undone
        if TrainReason(rejection.reason) not in SKIPPED:
            self._last = rejection
        self._judge(self._config.judged_from)

    def ended(self) -> None:
        """At the end of the stream. Raises WrongData beyond the bounds, and where nothing is left to train on."""
        if not self.examples:
            raise WrongData(f"no conversation is left to train on: {self._told()}", _REMEDY)
        self._judge(1)

    def _judge(self, judged_from: int) -> None:
        bad, judged = self.bad, self.examples + self.bad
        config = self._config
        too_many = config.max_bad is not None and bad > config.max_bad
        if too_many or (judged >= judged_from and bad > config.max_bad_share * judged):
            last = self._last
            example = "" if last is None else f"; the last is {last.sample_id}: {last.reason} {last.detail}".rstrip()
            raise WrongData(f"{bad} of {judged} conversations cannot be trained on ({self._told()}){example}", _REMEDY)

    def _told(self) -> str:
        return ", ".join(f"{n} {reason}" for reason, n in sorted(self.rejected.items())) or "the stream is empty"

    def state_dict(self) -> dict[str, Any]:
        """What all ranks have alike: pictures that this rank alone found undecodable are examples here."""
        rejected = self.rejected - Counter({TrainReason.bad_picture.value: self._undone})
        return {"examples": self.examples + self._undone, "rejected": dict(sorted(rejected.items()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._undone, self._last = 0, None
        self.examples, self.rejected = int(state["examples"]), Counter(state["rejected"])
