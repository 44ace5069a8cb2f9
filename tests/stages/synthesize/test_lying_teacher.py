"""A lying teacher behind an endpoint: what it plants is dropped by the check that is for it, what is true is kept.

How much is caught, over 500 errors and several sets of phrasings, is `python -m bench lies`.
"""

import json
from collections import Counter
from pathlib import Path

from schemas.synthesize import SynthesizeConfig
from stages.synthesize.model import ModelTeacher
from stages.synthesize.teacher import Asked, Written
from tests.stages.synthesize.endpoint.conftest import settings
from tests.stages.synthesize.endpoint.server import Do, Seen, Server, completion
from tests.stages.synthesize.liar import KINDS, Liar, Told, scene_context

EACH = 5


def told() -> list[Told]:
    """EACH lies of every kind and as many true conversations, each about a scene of its own."""
    liar, found, seed = Liar("third"), list[Told](), 0
    wanted = Counter(dict.fromkeys(KINDS, EACH))
    while wanted.total():
        seed += 1
        context = scene_context(seed)
        kind = next(kind for kind, left in wanted.items() if left)
        lie = liar.lie(context, kind, seed)
        if lie is not None:
            wanted[kind] -= 1
            found.append(lie)
    return found + [liar.true(scene_context(1000 + i), i) for i in range(len(found))]


def as_reply(one: Told) -> str:
    turns = [text for _, text in one.draft.turns]
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return json.dumps({"exchanges": [{"question": q, "answer": a, "evidence": []} for q, a in pairs]})


def test_planted_errors_are_dropped_by_their_check_and_true_answers_kept(tmp_path: Path) -> None:
    planned, coming = told(), dict[str, Told]()

    def lying(server: Server, seen: Seen) -> Do:
        return Do(body=completion(as_reply(coming[seen.text])))

    with Server(lying) as server:
        endpoint = settings(server.url, max_tokens=900)
        config = SynthesizeConfig(teacher="model", kinds=("conversation",), endpoint=endpoint)
        teacher = ModelTeacher(config, tmp_path, {"TEST_KEY": "k"})
        coming |= {_question(config, one): one for one in planned}
        assert len(coming) == len(planned)
        teacher.open()
        try:
            written = teacher.write([Asked(one.context) for one in planned])
        finally:
            teacher.close()
    reasons = [_reason(w) for w in written]
    lies = [(KINDS[o.kind].value, r) for o, r in zip(planned, reasons, strict=True) if o.kind is not None]
    caught = sum(check == reason for check, reason in lies)
    assert caught >= 0.95 * len(lies), [x for x in lies if x[0] != x[1]]
    true = [r for o, r in zip(planned, reasons, strict=True) if o.kind is None]
    assert true.count(None) >= 0.95 * len(true), true


def _question(config: SynthesizeConfig, one: Told) -> str:
    from stages.synthesize.ask import jobs

    (job,) = jobs([Asked(one.context)], config)
    return job.kind.messages(job.task)[-1]["content"]


def _reason(written: Written) -> str | None:
    return written.dropped[0].reason if written.dropped else None
