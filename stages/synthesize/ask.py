"""Which requests a sample leads to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from schemas.synthesize import SynthesizeConfig
from stages.measure.decode import Undecodable
from stages.synthesize.checks.finding import Finding
from stages.synthesize.context import Context
from stages.synthesize.endpoint.wire import Request
from stages.synthesize.kinds.base import Kind, Message, Need, Task
from stages.synthesize.kinds.registry import kinds_of
from stages.synthesize.picture import Pictures, with_pictures
from stages.synthesize.teacher import Asked

SAID_MOST = 8_000
"""Characters of an earlier reply that are told again."""


@dataclass(frozen=True, slots=True)
class Job:
    """One kind about one sample."""

    sample: int
    """Index into the batch."""
    kind: Kind
    task: Task
    images: tuple[bytes | None, ...]
    """Parallel to the task's contexts where the teacher sees pictures; else empty."""


class NoPicture(Exception):
    """A job's picture cannot be sent. The message is evidence."""


def jobs(asked: Sequence[Asked], config: SynthesizeConfig) -> list[Job]:
    """For each sample each kind that applies, in the recipe's order."""
    kinds = [*kinds_of(config).values()]
    return [job for index, one in enumerate(asked) for job in _of(index, one, kinds, config)]


def _of(index: int, asked: Asked, kinds: Sequence[Kind], config: SynthesizeConfig) -> Iterator[Job]:
    seeing = config.sees != "text"
    for kind in kinds:
        if kind.needs is Need.group:
            contexts, images = asked.group, asked.images or (None,) * len(asked.group)
        else:
            contexts, images = (asked.context,), (_own(asked),)
        if len(contexts) < (2 if kind.needs is Need.group else 1):
            continue
        language = _language(contexts[0], kind, config)
        task = Task(contexts, language, config.sees, config.seed)
        if kind.applies(task):
            yield Job(index, kind, task, images if seeing else ())


def _own(asked: Asked) -> bytes | None:
    """The sample's own picture."""
    if not asked.images:
        return None
    ids = [context.sample_id for context in asked.group or (asked.context,)]
    return asked.images[ids.index(asked.context.sample_id)]


def _language(context: Context, kind: Kind, config: SynthesizeConfig) -> str:
    if config.language != "caption":
        return config.language
    said = context.language.replace("_", "-").split("-")[0].lower()
    return said if said in kind.prompts else "en"


def request(job: Job, pictures: Pictures) -> Request:
    """The first request of a job. Raises NoPicture."""
    messages = job.kind.messages(job.task)
    if job.task.shown:
        messages = with_pictures(messages, _urls(job, pictures), pictures.size)
    return Request(messages, job.kind.schema(), job.kind.name)


def again(first: Request, said: str, finding: Finding, language: str) -> Request:
    """The one more request that `repair` allows: the earlier reply, and what is wrong with it."""
    told = _REPAIR["zh" if language == "zh" else "en"].format(f"{finding.check}: {finding.evidence}")
    more: list[Message] = [{"role": "assistant", "content": said[:SAID_MOST]}, {"role": "user", "content": told}]
    return replace(first, messages=[*first.messages, *more])


_REPAIR = {
    "en": "This reply cannot be used: {}. Write the whole reply again, without that error and with no new one.",
    "zh": "这个回复不能用：{}。请重新写出完整的回复，改正这个错误，也不要出现新的错误。",
}


def _urls(job: Job, pictures: Pictures) -> list[str]:
    found: list[str] = []
    for context, data in zip(job.task.contexts, job.images, strict=True):
        if data is None:
            raise NoPicture(f"there is no picture of {context.sample_id}")
        try:
            found.append(pictures.data_url(data))
        except Undecodable as error:
            raise NoPicture(f"the picture of {context.sample_id} does not decode: {error}") from error
    return found
