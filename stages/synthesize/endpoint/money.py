"""The account: reserved before a request leaves, settled with the server's own usage, read again after a kill.

Every request is an `ask` record (an upper bound of its tokens and money) before it leaves, and one of these after:
`reply` (paid and kept), `spent` (paid, nothing worth keeping), `void` (the server says it did not work on it). An ask
that none of them closes was cut off (a kill, a timeout, a reset): nobody knows whether it is billed, so it stays open
and counts against the caps with its upper bound. `spent` is exact; `open` is what may come on top. Money: whole 10⁻¹².
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from schemas.endpoint import PICO, EndpointConfig
from stages.synthesize.endpoint.cache import Record, ReplyCache
from stages.synthesize.endpoint.wire import Answer, Tokens


@dataclass(slots=True)
class Account:
    """The fold of all records of a folder."""

    tokens: int = 0
    pico: int = 0
    replies: int = 0
    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Attempt → tokens and money it may take at most."""
    open_tokens: int = 0
    open_pico: int = 0
    early: set[str] = field(default_factory=set[str])
    """Settled in one log before the log that holds their ask was read: a batch that another run took over."""

    def fold(self, record: Record) -> None:
        """One record of the log."""
        kind, attempt = record["t"], record["n"]
        if kind == "batch":
            return
        if kind == "ask" and attempt in self.early:
            self.early.discard(attempt)
            return
        if kind == "ask":
            self.open[attempt] = (record["tok"], record["pico"])
            self.open_tokens += record["tok"]
            self.open_pico += record["pico"]
            return
        if attempt not in self.open:
            self.early.add(attempt)
        tokens, pico = self.open.pop(attempt, (0, 0))
        self.open_tokens -= tokens
        self.open_pico -= pico
        if kind in ("reply", "spent"):
            self.tokens += record["use"][0] + record["use"][1]
            self.pico += record["pico"]
            self.replies += kind == "reply"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request that may leave. `attempt` goes out as X-Client-Request-Id, so that a bill can be compared."""

    attempt: str
    key: str
    tokens: Tokens
    pico: int
    batch: str = ""
    """The batch it goes out in; empty: it goes out alone."""


class Refusal(StrEnum):
    """Why a request may not leave."""

    paid_already = "paid_already"
    """Another process has its reply since."""
    wait = "wait"
    """It may fit when those in flight have settled."""
    over_cap = "over_cap"


class Budget:
    """Caps over one folder of records, shared by all processes that use it. `cache`: the replies in it."""

    def __init__(
        self,
        config: EndpointConfig,
        folder: Path,
        also: Callable[[Record], None] | None = None,
        discount: Decimal = Decimal(1),
    ) -> None:
        """`also`: another fold of the same records. `discount`: the share of the table's prices that is paid."""
        self.account = Account()

        def both(record: Record) -> None:
            self.account.fold(record)
            if also is not None:
                also(record)

        self.cache = ReplyCache(folder, both, config.fsync)
        self._prices = config.prices
        self._discount = discount
        self._tokens_cap = config.caps.tokens
        self._pico_cap = None if config.caps.money is None else int(config.caps.money * PICO)
        self._flying: dict[str, Reservation] = {}
        self._begun = 0
        self._changed = asyncio.Event()

    @property
    def spent(self) -> Decimal:
        """Money the server's usage amounts to, over all runs."""
        return Decimal(self.account.pico) / PICO

    @property
    def doubtful(self) -> Decimal:
        """Most that requests without an answer may have cost on top."""
        return Decimal(self.account.open_pico) / PICO

    def money(self, usage: Tokens) -> Decimal:
        """What a usage costs at the recipe's prices."""
        return Decimal(self._pico(usage)) / PICO

    def _pico(self, usage: Tokens) -> int:
        return int(self._prices.pico(usage.prompt, usage.completion, usage.cached) * self._discount)

    def reserve(self, key: str, most: Tokens, more: Record | None = None) -> Reservation | Refusal:
        """Room for a request that takes at most `most`; recorded, with `more`, before this returns."""
        pico = self._pico(most)
        with self.cache.locked():
            self.cache.refresh()
            if key in self.cache:
                return Refusal.paid_already
            if not self._fits(most.total, pico, 0, 0):
                return self._refusal(most.total, pico)
            self._begun += 1
            made = Reservation(f"{self.cache.writer}-{self._begun}", key, most, pico, (more or {}).get("b", ""))
            ask: Record = {"t": "ask", "n": made.attempt, "k": key, "tok": most.total, "pico": pico}
            self.cache.append({**ask, **(more or {})})
        self._flying[made.attempt] = made
        return made

    def resume(self, made: Reservation) -> None:
        """A dead run's request, which this one settles."""
        self._flying[made.attempt] = made

    def _fits(self, tokens: int, pico: int, less_tokens: int, less_pico: int) -> bool:
        at = self.account
        if self._tokens_cap and at.tokens + at.open_tokens - less_tokens + tokens > self._tokens_cap:
            return False
        return self._pico_cap is None or at.pico + at.open_pico - less_pico + pico <= self._pico_cap

    def _refusal(self, tokens: int, pico: int) -> Refusal:
        flying = self._flying.values()
        less = (sum(r.tokens.total for r in flying), sum(r.pico for r in flying))
        return Refusal.wait if self._flying and self._fits(tokens, pico, *less) else Refusal.over_cap

    async def change(self) -> None:
        """Returns after the next request has settled."""
        event = self._changed
        await event.wait()

    def keep(self, made: Reservation, answer: Answer) -> Record:
        """Paid and kept. A server that tells no usage is taken to have used the reservation."""
        usage = answer.usage or made.tokens
        record: Record = {
            "t": "reply",
            "n": made.attempt,
            "k": made.key,
            "text": answer.text,
            "finish": answer.finish_reason,
            "refused": answer.refused,
            "counted": answer.usage is not None,
            "use": [usage.prompt, usage.completion, usage.cached],
            "pico": self._pico(usage),
        }
        self._settle(made, record)
        return record

    def spend(self, made: Reservation, usage: Tokens) -> None:
        """Paid, and nothing worth keeping came."""
        pico = self._pico(usage)
        use = [usage.prompt, usage.completion, usage.cached]
        self._settle(made, {"t": "spent", "n": made.attempt, "use": use, "pico": pico})

    def void(self, made: Reservation) -> None:
        """The server did no work: it refused, or was never reached."""
        self._settle(made, {"t": "void", "n": made.attempt})

    def lose(self, made: Reservation) -> None:
        """Nobody knows: the ask stays open."""
        self._settle(made, None)

    def _settle(self, made: Reservation, record: Record | None) -> None:
        if record is not None:
            self.cache.append({**record, "b": made.batch} if made.batch else record)
        self._flying.pop(made.attempt, None)
        self._changed.set()
        self._changed = asyncio.Event()
