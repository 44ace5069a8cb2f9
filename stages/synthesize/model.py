"""The `model` teacher: kinds are asked of an endpoint, replies become drafts, drafts are checked.

All requests of a batch go out at once, bounded by the endpoint's own limits; what comes back is put in the order of
samples and kinds, so that the bytes depend on the replies and not on when they came. With `repair`, what fails is asked
for once more, with the finding; what passed the first time stays.

Samples whose requests are the very same (the same caption, nothing else known) share one reply, paid once; each of them
tells what it took, so that a sample's bytes do not depend on its neighbours.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

from schemas.conversation import Conversation, Dropped, FailureReason, Usage
from schemas.endpoint import PICO, EndpointConfig
from schemas.errors import Stopped, WrongRequest
from schemas.synthesize import SynthesizeConfig
from stages.ahead import ahead
from stages.synthesize.ask import Job, NoPicture, again, jobs, request
from stages.synthesize.checks.finding import Finding
from stages.synthesize.endpoint.wire import TOKENS_MOST, Failure, Reply, Request
from stages.synthesize.picture import Pictures
from stages.synthesize.reply import Judged, judged
from stages.synthesize.teacher import TEXT_MOST, Asked, Credit, Written, dropped, kept

Outcome = Reply | Failure
_STOPS = {
    FailureReason.over_cap: (
        "the cap of synthesize.endpoint.caps is reached",
        "raise it and run the same command again: every reply so far is in the cache and costs nothing",
    ),
    FailureReason.circuit_open: (
        "the endpoint does not answer",
        "run the same command again when it is up: every reply so far is in the cache and costs nothing",
    ),
}
"""Failures that are no sample's fault."""


class Asks(Protocol):
    """Asker, or what sends the same requests another way (BatchAsker)."""

    def open(self) -> object: ...
    def ask_all(
        self, requests: Iterable[Request], seen: Callable[[int, Outcome], object] | None = None
    ) -> list[Outcome]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Case:
    """A job and what came of it."""

    job: Job
    outcome: Outcome | NoPicture
    judged: list[Judged] | Finding | None = None
    """None where there is no reply."""

    @property
    def finding(self) -> Finding | None:
        """The first; None: all is well, or there is no reply."""
        if not isinstance(self.judged, list):
            return self.judged
        return next((one.finding for one in self.judged if one.finding), None)


class ModelTeacher:
    """A Teacher. `folder`: of the reply cache, on this machine. Picklable before `open`; one thread.

    `write` raises Stopped where a cap is reached or the endpoint is down, after all that was paid for is in the cache,
    and WrongRequest where no request can succeed (key, model, address)."""

    def __init__(self, config: SynthesizeConfig, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        if config.endpoint is None:
            raise WrongRequest("synthesize.teacher model needs synthesize.endpoint", "give base_url and model")
        self._config, self._folder, self._endpoint = config, folder, config.endpoint
        name = config.endpoint.api_key_env
        self._environ = {name: environ[name]} if name and name in environ else {}
        self._asker: Asks | None = None

    def open(self) -> None:
        if self._asker is None:
            asker = asker_of(self._config, self._endpoint, self._folder, self._environ)
            asker.open()
            self._asker = asker

    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()
            self._asker = None

    def write(self, asked: Sequence[Asked]) -> list[Written]:
        pictures = Pictures(self._config.image_size)
        first = self._asked(jobs(asked, self._config), lambda job: request(job, pictures))
        second = self._repaired(first, pictures) if self._config.repair else {}
        written = [Written() for _ in asked]
        for index, case in enumerate(first):
            out = written[case.job.sample]
            for one in accounted(case, second.get(index), self._endpoint.model):
                if isinstance(one, Conversation):
                    out.conversations.append(one)
                else:
                    out.dropped.append(one)
        return written

    def _repaired(self, first: Sequence[_Case], pictures: Pictures) -> dict[int, _Case]:
        """What failed a check, asked for once more; by its index in `first`."""
        failed = {id(case.job): index for index, case in enumerate(first) if case.finding is not None}
        todo = [first[index].job for index in failed.values()]

        def remade(job: Job) -> Request:
            case = first[failed[id(job)]]
            assert isinstance(case.outcome, Reply) and case.finding is not None
            return again(request(job, pictures), case.outcome.text, case.finding, job.task.language)

        return dict(zip(failed.values(), self._asked(todo, remade), strict=True))

    def _asked(self, todo: Sequence[Job], make: Callable[[Job], Request]) -> list[_Case]:
        """Each job's outcome, in order. Pictures are made in threads, a few ahead of what is sent; replies are judged
        in one while others are still to come."""
        unseen: dict[int, NoPicture] = {}
        sent: list[Job] = []

        def made(numbered: tuple[int, Job]) -> Request | None:
            try:
                return make(numbered[1])
            except NoPicture as error:
                unseen[numbered[0]] = error
                return None

        numbered = enumerate(todo)
        requests = map(made, numbered) if self._config.sees == "text" else ahead(made, numbered)
        cases: dict[int, Future[_Case]] = {}
        with ThreadPoolExecutor(1, thread_name_prefix="judge") as judge:

            def going() -> Iterator[Request]:
                for job, one in zip(todo, requests, strict=True):
                    if one is not None:
                        sent.append(job)
                        yield one

            def came(index: int, outcome: Outcome) -> None:
                cases[index] = judge.submit(self._case, sent[index], outcome)

            self._outcomes(going(), came)
        judged = iter([cases[index].result() for index in range(len(sent))])
        return [_Case(job, unseen[i]) if i in unseen else next(judged) for i, job in enumerate(todo)]

    def _outcomes(self, requests: Iterable[Request], came: Callable[[int, Outcome], object]) -> list[Outcome]:
        assert self._asker is not None, "write before open"
        found = self._asker.ask_all(requests, came)
        for one in found:
            if isinstance(one, Failure) and one.reason in _STOPS:
                what, remedy = _STOPS[one.reason]
                answered = sum(isinstance(other, Reply) for other in found)
                raise Stopped(f"{what}: {answered} of {len(found)} requests are answered; {one.evidence}", remedy)
        return found

    def _case(self, job: Job, outcome: Outcome) -> _Case:
        if not isinstance(outcome, Reply):
            return _Case(job, outcome)
        return _Case(job, outcome, judged(outcome, job.kind, job.task, self._config.checks))


def asker_of(config: SynthesizeConfig, endpoint: EndpointConfig, folder: Path, environ: Mapping[str, str]) -> Asks:
    """Who sends the requests: one by one, or as batches."""
    from stages.synthesize.endpoint.batch import BatchAsker
    from stages.synthesize.endpoint.many import Asker

    if config.batch is not None:
        return BatchAsker(endpoint, config.batch, folder, environ)
    return Asker(endpoint, folder, environ)


def accounted(case: _Case, second: _Case | None, teacher: str) -> list[Conversation | Dropped]:
    """What is kept and dropped of a case, with what its replies took divided among all of it."""
    kind = case.job.kind
    if not isinstance(case.outcome, Reply) or case.judged is None:
        return [_failed(kind.name, teacher, case.outcome)]
    again = second.outcome if second is not None and isinstance(second.outcome, Reply) else None
    ends = merged(case.judged, None if second is None else second.judged)
    shares = divided([case.outcome] if again is None else [case.outcome, again], len(ends))
    found: list[Conversation | Dropped] = []
    for (one, repaired), usage in zip(ends, shares, strict=True):
        credit = Credit(teacher, kind.version, usage, repaired)
        if isinstance(one, Finding):
            text = (again if again is not None and repaired else case.outcome).text
            found.append(_unread(kind.name, one, text, credit))
        elif one.finding is None:
            found.append(kept(one.draft, credit))
        else:
            found.append(dropped(one.draft, one.finding, credit))
    return found


End = tuple[Judged | Finding, bool]
"""A draft and its judgement, or why a reply has none; and whether it is of the second reply."""


def merged(first: list[Judged] | Finding, second: list[Judged] | Finding | None) -> list[End]:
    """What passed the first time stays; what failed is replaced by the second reply's draft at its place."""
    if isinstance(first, Finding):
        if second is None:
            return [(first, False)]
        return [(second, True)] if isinstance(second, Finding) else [(one, True) for one in second]
    others = second if isinstance(second, list) else []
    pairs = zip_longest(first, others[: len(first)])
    return [(one, False) if one.finding is None or other is None else (other, True) for one, other in pairs]


def divided(replies: Sequence[Reply], among: int) -> list[Usage]:
    """What replies took in `among` shares whose sums are exact; the first ones take what is left over."""
    prompt = min(sum(reply.usage.prompt for reply in replies), TOKENS_MOST)
    completion = min(sum(reply.usage.completion for reply in replies), TOKENS_MOST)
    pico = int(sum((reply.cost for reply in replies), Decimal(0)) * PICO)
    shares = zip(*(_split(total, among) for total in (prompt, completion, pico)), strict=True)
    return [Usage(prompt_tokens=p, completion_tokens=c, cost=float(Decimal(m) / PICO)) for p, c, m in shares]


def _split(total: int, among: int) -> list[int]:
    share, left = divmod(total, among)
    return [share + (i < left) for i in range(among)]


def _failed(kind: str, teacher: str, outcome: Outcome | NoPicture) -> Dropped:
    if isinstance(outcome, Failure):
        reason, evidence = outcome.reason, outcome.evidence
    else:
        reason, evidence = FailureReason.no_picture, str(outcome)
    return Dropped(kind=kind, teacher=teacher, reason=reason.value, turn=None, evidence=evidence, text=None, usage=None)


def _unread(kind: str, finding: Finding, text: str, credit: Credit) -> Dropped:
    return Dropped(
        kind=kind,
        teacher=credit.teacher,
        reason=finding.check.value,
        turn=None,
        evidence=finding.evidence,
        text=text[:TEXT_MOST],
        usage=credit.usage,
    )
