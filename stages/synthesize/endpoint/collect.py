"""What became of a batch: every request in it is settled once, and what has no reply is asked again or fails."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from schemas.endpoint import EndpointConfig, Structured
from schemas.errors import WrongRequest
from stages.synthesize.endpoint.book import Batch
from stages.synthesize.endpoint.lines import as_status, meaning, outcomes
from stages.synthesize.endpoint.money import Budget, Reservation
from stages.synthesize.endpoint.pace import Verdict
from stages.synthesize.endpoint.remote import Object, Remote
from stages.synthesize.endpoint.transport import weaker
from stages.synthesize.endpoint.trouble import Trouble
from stages.synthesize.endpoint.wire import Answer, Failure, FailureReason, Request, one_line

_OVER = ("completed", "expired", "cancelled", "failed")
_FULL = ("limit", "quota")
"""In a refused batch's error code: too much is queued already."""


@dataclass(slots=True)
class Round:
    """One `ask_all`: what is wanted, what failed for good, how often each was tried, with which mode it goes next."""

    wanted: dict[str, Request]
    failed: dict[str, Failure] = field(default_factory=dict[str, Failure])
    tries: dict[str, int] = field(default_factory=dict[str, int])
    modes: dict[str, Structured] = field(default_factory=dict[str, Structured])
    doom: WrongRequest | None = None
    """What one request found to be wrong for all."""
    held: bool = False
    """Nothing is handed in before the next look: the caps or the provider's queue are full for now."""

    def fail(self, key: str, reason: FailureReason, evidence: str) -> None:
        if key in self.wanted:
            self.failed[key] = Failure(reason, evidence, self.tries.get(key, 0))


class Collector:
    """`folder`: for the files while they are read."""

    def __init__(self, config: EndpointConfig, budget: Budget, remote: Remote, folder: Path) -> None:
        self._config, self._budget, self._remote, self._folder = config, budget, remote, folder
        self._accepted: set[Structured] = set()
        self.mode = Structured.json_schema if config.structured is Structured.auto else config.structured

    def note(self, batch: Batch, step: str, **more: object) -> None:
        """A step of a batch, in the log."""
        self._budget.cache.append({"t": "batch", "n": batch.uid, "s": step, **more})

    async def advance(self, batch: Batch, round: Round) -> None:
        """As far as the provider has come with it."""
        if batch.state == "draft":  # a dead run's: nothing was sent
            (self._folder / f"{batch.uid}.jsonl").unlink(missing_ok=True)
            self.drop(batch)
        elif batch.state == "creating":
            await self._find(batch, round)
        if batch.state == "made":
            await self._look(batch, round)

    def drop(self, batch: Batch) -> None:
        """The provider does no work on it."""
        for made in list(batch.asks.values()):
            self._budget.void(made)
        self.note(batch, "done")

    def wait(self, batch: Batch, met: Trouble, round: Round) -> None:
        """The provider does not answer. The batch stays in the book; its requests fail for this run."""
        for made in batch.asks.values():
            said = one_line(f"batch {batch.id or batch.uid}: {met.reason}: {met.evidence}")
            round.fail(made.key, FailureReason.circuit_open, said)

    async def _find(self, batch: Batch, round: Round) -> None:
        """A run died as it created this one. Asked twice: a list may lag."""
        for turn in range(2):
            there = await self._remote.find(batch)
            if isinstance(there, Trouble):
                return self.wait(batch, there, round)
            if there is not None:
                return self.note(batch, "made", id=there["id"])
            if turn == 0:
                await asyncio.sleep(self._config.timing.backoff_s)
        self.drop(batch)
        return None

    async def _look(self, batch: Batch, round: Round) -> None:
        there = await self._remote.look(batch)
        if isinstance(there, Trouble):
            if there.final:
                raise WrongRequest(
                    f"{self._config.base_url} does not know the batch {batch.id}, which was handed in earlier",
                    "use the base_url and the key it was handed in with, or another folder for replies",
                )
            self.wait(batch, there, round)
        elif there.get("status") == "failed":
            self._refused(batch, there, round)
        elif there.get("status") in _OVER:
            await self._collect(batch, there, round)

    async def _collect(self, batch: Batch, there: Object, round: Round) -> None:
        left = dict(batch.asks)
        refused: set[Structured] = set()
        for name in ("output_file_id", "error_file_id"):
            file = there.get(name)
            if not isinstance(file, str) or not file:
                continue
            path = self._folder / f"{batch.uid}.{name}"
            met = await self._remote.fetch(file, path)
            if met is not None and not met.final:
                return self.wait(batch, met, round)
            for attempt, found in outcomes(path) if met is None else ():
                made = left.pop(attempt, None)
                if made is not None and self._settle(made, found, batch, round):
                    refused.add(batch.modes[attempt])
            path.unlink(missing_ok=True)
        self._leave(left, str(there["status"]), batch, round)
        for mode in refused - self._accepted:
            self.mode = weaker(mode) or mode if mode is self.mode else self.mode
        self.note(batch, "done")
        return await self._budget.cache.durable()

    def _leave(self, left: dict[str, Reservation], status: str, batch: Batch, round: Round) -> None:
        """Requests with no line. Of a completed batch nobody knows what they cost: their asks stay open."""
        late = status != "completed"
        reason = FailureReason.expired if late else FailureReason.malformed
        met = Trouble(reason, f"batch {batch.id} is {status} and has no line for it", Verdict.fault)
        for attempt, made in left.items():
            if late:
                self._budget.void(made)
            else:
                self._budget.lose(made)
            self._again(made.key, batch.modes[attempt], met, round)

    def _settle(self, made: Reservation, found: Object, batch: Batch, round: Round) -> bool:
        """One line. True: the server does not take its response_format."""
        mode = batch.modes[made.attempt]
        try:
            met = meaning(found, batch.api, self._config)
        except WrongRequest as wrong:
            self._budget.void(made)
            round.doom = wrong
            return False
        if isinstance(met, Answer):
            self._budget.keep(made, met)
            self._accepted.add(mode)
            return False
        if met.usage is not None:
            self._budget.spend(made, met.usage)
        elif met.billed is False:
            self._budget.void(made)
        else:
            self._budget.lose(made)
        self._again(made.key, mode, met, round)
        return met.format_refused

    def _again(self, key: str, mode: Structured, met: Trouble, round: Round) -> None:
        if met.format_refused:
            less = weaker(mode) if self._config.structured is Structured.auto else None
            if less is not None:
                round.modes[key] = less
                return
        round.tries[key] = round.tries.get(key, 0) + 1
        if met.final or met.format_refused or round.tries[key] >= self._config.timing.tries:
            round.fail(key, met.reason, met.evidence)

    def _refused(self, batch: Batch, there: Object, round: Round) -> None:
        """Validation failed: nothing was worked on. Lines that are named fail; the others go again without them."""
        errors = there.get("errors")
        data = errors.get("data") if isinstance(errors, dict) else None
        told = [e for e in data if isinstance(e, dict)] if isinstance(data, list) else []
        asks = list(batch.asks.values())
        modes = dict(batch.modes)
        self.drop(batch)
        bad = {e["line"] - 1: e for e in told if isinstance(e.get("line"), int) and 1 <= e["line"] <= len(asks)}
        if not bad and any(word in str(e.get("code")) for e in told for word in _FULL):
            round.held = True
            return
        try:
            for index, made in enumerate(asks):
                error = bad.get(index) or (told[0] if told and not bad else None)
                if error is not None:
                    status = 404 if "model" in str(error.get("code")) else 400
                    self._again(made.key, modes[made.attempt], as_status(status, error, self._config), round)
                elif not bad:
                    met = Trouble(FailureReason.bad_request, f"batch {batch.id} failed and says not why", Verdict.ok)
                    self._again(made.key, modes[made.attempt], met, round)
        except WrongRequest as wrong:
            round.doom = wrong
