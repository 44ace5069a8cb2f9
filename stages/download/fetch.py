"""Many URLs at once: turns, retries, redirects hop by hop, and one result for each, in order of completion.

A job waits in its host's queue, has its host's name looked up, is checked by the guard, transferred, and then done,
redirected (checked anew, as if it were new) or tried again. All of it runs in one thread; only name look-ups do not.
"""

import heapq
import itertools
import time
from collections.abc import Generator, Iterable

import pycurl

from schemas.recipe import DownloadConfig
from stages.download.answer import retry_after
from stages.download.dns import Resolver
from stages.download.guard import Address, Guard
from stages.download.hosts import Hosts
from stages.download.job import Job, SampleBug
from stages.download.reasons import DownloadReason, Refusal
from stages.download.transfer import Transfer
from stages.download.url import Target, join, parse
from stages.download.wire import Wire

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WORTH_RETRYING = frozenset({408, 425, 429})
_TRANSIENT = frozenset({DownloadReason.TIMEOUT, DownloadReason.CONNECT_ERROR, DownloadReason.PARTIAL_BODY})
_TICK_S = 0.1


class Fetcher:
    """The loop. Keeps its connections, handles and DNS cache from one `run` to the next; one run at a time."""

    def __init__(self, config: DownloadConfig, guard: Guard, resolver: Resolver, ca_bundle: str) -> None:
        self._config = config
        self._guard = guard
        self._resolver = resolver
        self._ca_bundle = ca_bundle
        self._wire = Wire(config.concurrency)
        self._idle: list[Transfer] = []
        self._order = itertools.count()
        self._reset()

    def run(self, jobs: Iterable[Job]) -> Generator[Job, None, None]:
        """Fetch every job; yields each when it is done. Leaving early drops what is in flight."""
        try:
            for job in jobs:
                self._admit(job)
            while self._open or self._done:
                self._start()
                if not self._done:
                    self._turn()
                done, self._done = self._done, []
                yield from done
        finally:
            self._abandon()

    def close(self) -> None:
        """Close connections and handles."""
        for transfer in self._idle:
            transfer.close()
        self._idle.clear()
        self._wire.close()

    # ------------------------------------------------------------------ the loop

    def _reset(self) -> None:
        self._hosts: Hosts[Job] = Hosts(self._config.per_host)
        self._flying: dict[pycurl.Curl, tuple[Transfer, Job]] = {}
        self._pauses: list[tuple[float, int, Job]] = []
        self._done: list[Job] = []
        self._open = 0
        self._next_look = 0.0

    def _abandon(self) -> None:
        for transfer, _ in self._flying.values():
            self._wire.remove(transfer.easy)
            transfer.close()
        self._resolver.drop()
        self._reset()

    def _admit(self, job: Job) -> None:
        self._open += 1
        found = parse(job.url)
        if isinstance(found, Refusal):
            self._finish(job, found)
        else:
            job.target = found
            self._hosts.push(job)

    def _turn(self) -> None:
        now = time.monotonic()
        wait = min(
            _TICK_S if self._flying or self._resolver.busy else 1.0, self._pauses[0][0] - now if self._pauses else 1.0
        )
        # all of them leave the flying ones first: should one raise, the others are no longer on the wire either
        ended = [(self._flying.pop(easy), code) for easy, code in self._wire.poll(max(0.0, wait))]
        for (transfer, job), code in ended:
            self._landed(transfer, job, code)
        self._stop_silent()
        now = time.monotonic()
        while self._pauses and self._pauses[0][0] <= now:
            self._hosts.push(heapq.heappop(self._pauses)[2])

    def _start(self) -> None:
        for host in self._resolver.turn():
            self._hosts.resume(host)
        while len(self._flying) < self._config.concurrency and (job := self._hosts.pop()) is not None:
            job.began = job.began or time.monotonic()
            self._depart(job, _target(job))
        for host in self._resolver.turn():
            self._hosts.resume(host)

    # ------------------------------------------------------------------ one job

    def _depart(self, job: Job, target: Target) -> None:
        """Check where the job leads and start its transfer; or have its host looked up first."""
        route = self._guard.route(target.host)
        addresses: tuple[Address, ...] = () if target.ip is None else (target.ip,)
        if route is None and target.ip is None:
            names = self._resolver.cached(target.host, job.attempts)
            if names is None:
                self._hosts.pause(target.host)
                self._hosts.release(target.host)
                self._hosts.push(job, front=True)
                self._resolver.want(target.host, self._wire.wake)
                return
            addresses = names.addresses
            if not addresses:
                detail = "no such name" if names.permanent else "no answer"
                self._ended(job, Refusal(DownloadReason.DNS_ERROR, detail=detail), transient=not names.permanent)
                return
        refusal = None if route is not None else self._guard.check(target.host, addresses)
        if refusal is not None:
            self._ended(job, refusal)
            return
        self._fly(job, target, route, addresses)

    def _fly(self, job: Job, target: Target, route: str | None, addresses: tuple[Address, ...]) -> None:
        transfer = self._idle.pop() if self._idle else Transfer(self._config, self._ca_bundle)
        transfer.begin(target, route, addresses)
        job.requests += 1
        self._flying[transfer.easy] = (transfer, job)
        self._wire.add(transfer.easy)

    def _landed(self, transfer: Transfer, job: Job, code: int) -> None:
        self._answered(transfer, job, _verdict(transfer, job, code))
        self._park(transfer)

    def _stop_silent(self) -> None:
        """End the transfers that have sent no byte for too long; libcurl's own check counts whole seconds."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _TICK_S
        limit = now - self._config.read_timeout_s
        late = [e for e, (t, _) in self._flying.items() if t.last_byte is not None and t.last_byte < limit]
        for easy in late:
            transfer, job = self._flying.pop(easy)
            self._wire.remove(easy)
            refusal = _verdict(transfer, job, pycurl.E_OPERATION_TIMEDOUT)
            silent = refusal is not None and refusal.reason is DownloadReason.TIMEOUT
            self._answered(transfer, job, transfer.timed_out() if silent else refusal)
            self._park(transfer)

    def _park(self, transfer: Transfer) -> None:
        transfer.rest()
        self._idle.append(transfer)

    def _answered(self, transfer: Transfer, job: Job, refusal: Refusal | None) -> None:
        """What follows from a transfer that has ended: done, redirected, tried again or refused."""
        status = transfer.answer.status
        if status is not None:
            job.status, job.final_url = status, transfer.target.url
        if status in _REDIRECTS:
            self._redirected(job, transfer)
            return
        if refusal is None:
            job.body = transfer.body()
            self._ended(job, None)
            return
        transient = refusal.reason in _TRANSIENT
        if refusal.reason is DownloadReason.HTTP_STATUS and status is not None:
            transient = status in _WORTH_RETRYING or status >= 500
        self._ended(job, refusal, transient, retry_after(transfer.answer.headers.get("retry-after", [])))

    def _redirected(self, job: Job, transfer: Transfer) -> None:
        job.redirects += 1
        most = self._config.max_redirects
        location = transfer.answer.headers.get("location", [])
        if job.redirects > most:
            self._ended(job, Refusal(DownloadReason.TOO_MANY_REDIRECTS, float(job.redirects), float(most)))
        elif not location:
            self._ended(job, Refusal(DownloadReason.BAD_REDIRECT, detail="no Location"))
        elif isinstance(found := join(transfer.target.url, location[0]), Refusal):
            self._ended(job, found)
        else:
            self._hosts.release(job.host)
            job.target = found
            self._hosts.push(job, front=True)

    def _ended(
        self, job: Job, refusal: Refusal | None, transient: bool = False, asked_pause: float | None = None
    ) -> None:
        """The present try is over: try again after a pause, or be done. Gives the host's turn back."""
        self._hosts.release(job.host)
        if refusal is None or not transient or job.attempts > self._config.retries:
            self._finish(job, refusal)
            return
        pause = self._config.backoff_s * 2 ** (job.attempts - 1)
        if asked_pause is not None and asked_pause < self._config.total_timeout_s:
            pause = asked_pause
        job.attempts += 1
        heapq.heappush(self._pauses, (time.monotonic() + pause, next(self._order), job))

    def _finish(self, job: Job, refusal: Refusal | None) -> None:
        job.refusal = refusal
        job.seconds = time.monotonic() - job.began if job.began else 0.0
        self._open -= 1
        self._done.append(job)


def _verdict(transfer: Transfer, job: Job, code: int) -> Refusal | None:
    try:
        return transfer.refusal(code)
    except RuntimeError as error:
        raise SampleBug(job.sample_id, str(error)) from error


def _target(job: Job) -> Target:
    if job.target is None:
        raise ValueError(f"sample {job.sample_id} was queued without a target")
    return job.target
