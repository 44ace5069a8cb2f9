"""What asking a model will take, from a sampled few, before anything is asked.

Prompt tokens are counted from the very messages that would be sent, about four characters of English a token (Radford
et al. 2019; OpenAI says the same of its own) and one token a character of other scripts, or are the server's own count
where the reply cache holds a sampled request's reply. Completion tokens are the mean of such replies, or the kind's
own figure (`Kind.completion_tokens`) where there is none. Repairs are not in it: nobody knows how much will fail.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

from schemas.endpoint import PICO, EndpointConfig, Prices, Structured
from schemas.synthesize import SynthesizeConfig
from stages.synthesize import picture
from stages.synthesize.ask import Job, NoPicture, jobs, request
from stages.synthesize.endpoint.cache import Record, ReplyCache
from stages.synthesize.endpoint.wire import request_key
from stages.synthesize.kinds.base import Kind
from stages.synthesize.kinds.registry import kinds_of
from stages.synthesize.teacher import Asked

_MESSAGE, _CHAT = 4, 3
"""Tokens that a chat template adds to each message, and to the whole (OpenAI cookbook, "How to count tokens")."""
_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one kind. Means are per request."""

    kind: str
    samples: int
    """That were looked at."""
    requests: int
    """That they lead to."""
    prompt_tokens: float
    completion_tokens: float
    known: int
    """Of the requests, those whose reply is in the cache already: paid for, and their tokens as the server counted."""

    def tokens(self, samples: int) -> int:
        """Prompt and completion tokens over so many samples, repairs and cached replies not considered."""
        share = Fraction(self.requests, self.samples) if self.samples else Fraction(0)
        return round(share * samples * Fraction(self.prompt_tokens + self.completion_tokens))

    def cost(self, samples: int, prices: Prices) -> Decimal:
        """The same in the price table's currency."""
        share = self.requests / self.samples if self.samples else 0.0
        pico = prices.pico(round(share * samples * self.prompt_tokens), round(share * samples * self.completion_tokens))
        return Decimal(pico) / PICO


def estimate(asked: Sequence[Asked], config: SynthesizeConfig, folder: Path | None = None) -> list[Estimate]:
    """For each kind of the recipe what `asked`, a sampled few, take. `folder`: the reply cache, if there is one yet.

    Pictures may be missing where the teacher sees them: then their size is the contexts'. Raises WrongRequest as
    `kinds_of`."""
    assert config.endpoint is not None
    found = _Known(config, folder)
    by_kind: dict[str, list[Job]] = {name: [] for name in kinds_of(config)}
    for job in jobs(asked, config):
        by_kind[job.kind.name].append(job)
    try:
        return [_of(kinds_of(config)[name], todo, len(asked), found) for name, todo in by_kind.items()]
    finally:
        found.close()


def _of(kind: Kind, todo: Sequence[Job], samples: int, found: "_Known") -> Estimate:
    known = [found.usage(job) for job in todo]
    prompts = [use[0] if use else found.prompt_tokens(job) for job, use in zip(todo, known, strict=True)]
    completions = [use[1] for use in known if use]
    return Estimate(
        kind=kind.name,
        samples=samples,
        requests=len(todo),
        prompt_tokens=fmean(prompts) if prompts else 0.0,
        completion_tokens=fmean(completions) if completions else float(kind.completion_tokens),
        known=len(completions),
    )


class _Known:
    """The reply cache, read only, and how tokens are counted without it."""

    def __init__(self, config: SynthesizeConfig, folder: Path | None) -> None:
        assert config.endpoint is not None
        self._endpoint, self._pictures = config.endpoint, picture.Pictures(config.image_size)
        there = folder is not None and folder.is_dir()
        self._cache = ReplyCache(folder, _ignore, fsync=False) if folder is not None and there else None

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()

    def usage(self, job: Job) -> tuple[int, int] | None:
        """Prompt and completion tokens of the reply, if there is one."""
        if self._cache is None or len(self._cache) == 0:
            return None
        try:
            record = self._cache.get(request_key(request(job, self._pictures), self._endpoint))
        except NoPicture:
            return None
        return (record["use"][0], record["use"][1]) if record else None

    def prompt_tokens(self, job: Job) -> int:
        total = _CHAT + sum(_MESSAGE + text_tokens(str(m["content"])) for m in job.kind.messages(job.task))
        total += _schema_tokens(job.kind.schema(), self._endpoint)
        if job.task.shown:
            total += sum(picture.tokens(c.width, c.height, self._pictures.size) for c in job.task.contexts)
        return total


def text_tokens(text: str) -> int:
    """About as many as a byte-level BPE vocabulary makes of it."""
    plain = sum(c < "\x80" for c in text)
    return -(-plain // _CHARACTERS) + len(text) - plain


def _schema_tokens(schema: Mapping[str, Any], endpoint: EndpointConfig) -> int:
    told = endpoint.structured in (Structured.json_object, Structured.none)
    return text_tokens(json.dumps(schema)) if told else 0


def _ignore(record: Record) -> None:
    """Accounts are not looked at."""
