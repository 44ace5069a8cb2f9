"""Each kind from sample to kept conversation, over HTTP."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.synthesize import SynthesizeConfig
from stages.synthesize.context import Context
from stages.synthesize.kinds.base import Task
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.registry import KINDS
from stages.synthesize.model import ModelTeacher
from stages.synthesize.teacher import Asked, Written
from tests.stages.synthesize.endpoint.conftest import settings
from tests.stages.synthesize.endpoint.server import COMPLETION, PROMPT, Do, Seen, Server, completion
from tests.stages.synthesize.test_model import jpeg, pictures

A, B = (
    replace(STREET["en"], sample_id=name, vocabulary=frozenset({"person", "dog", "bicycle", "cat"})) for name in "ab"
)
DIALOGUE = {
    "exchanges": [
        {"pictures": [1], "question": "What is in the first picture?", "answer": "A woman with two dogs."},
        {"pictures": [1, 2], "question": "What do both share?", "answer": "A woman walks dogs in both of them."},
    ]
}


def reworded(reply: str) -> dict[str, Any]:
    """An example's reply in words of its own, sentence by sentence: a copy of the example is not kept."""
    return json.loads(re.sub(r'\.(?= |"[,}])', " here.", reply))


def wished(server: Server, seen: Seen) -> Do:
    """The example's reply of whichever kind is asked for; its name is the schema's."""
    name = seen.sent["response_format"]["json_schema"]["name"]
    if name == "interleaved":
        return Do(body=completion(json.dumps(DIALOGUE)))
    return Do(body=completion(json.dumps(reworded(KINDS[name].examples(Task((A,)))[0].reply.model_dump_json()))))


def ask(folder: Path, server: Server, asked: Asked, *kinds: str, **more: str) -> Written:
    config = SynthesizeConfig(teacher="model", kinds=kinds, endpoint=settings(server.url), **more)  # pyright: ignore
    teacher = ModelTeacher(config, folder, {"TEST_KEY": "k"})
    teacher.open()
    try:
        return teacher.write([asked])[0]
    finally:
        teacher.close()


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_comes_back_as_kept_conversations(tmp_path, name):
    with Server(wished) as server:
        written = ask(tmp_path, server, Asked(A, group=(A, B)), name)
    assert not written.dropped and {c.kind for c in written.conversations} == {name}
    assert sum(c.usage.prompt_tokens for c in written.conversations if c.usage) == PROMPT
    assert sum(c.usage.completion_tokens for c in written.conversations if c.usage) == COMPLETION
    assert len(written.conversations) == (2 if name == "recaption" else 1)
    schema = server.seen[0].sent["response_format"]["json_schema"]
    assert schema["strict"] is True and schema["schema"] == KINDS[name].schema()


def test_all_kinds_of_a_sample_come_in_the_recipes_order(tmp_path):
    names = [*reversed(KINDS)]
    with Server(wished) as server:
        written = ask(tmp_path, server, Asked(A, group=(A, B)), *names)
    assert list(dict.fromkeys(c.kind for c in written.conversations)) == names
    (pair,) = [c for c in written.conversations if c.kind == "preference"]
    assert pair.rejected and pair.planted and pair.planted.split(":")[0] in pair.planted
    (dialogue,) = [c for c in written.conversations if c.kind == "interleaved"]
    assert dialogue.images == ["a", "b"] and sum(t.text.count("<image>") for t in dialogue.turns) == 2


def test_a_group_is_shown_as_numbered_pictures_and_a_sample_as_its_own(tmp_path):
    with Server(wished) as server:
        asked = Asked(B, group=(A, B), images=(jpeg(60, 40), jpeg(30, 50)))
        ask(tmp_path, server, asked, "interleaved", "detail", sees="both")
        seen = {s.sent["response_format"]["json_schema"]["name"]: s for s in server.seen}
    assert [p.size for p in pictures(seen["interleaved"])] == [(60, 40), (30, 50)]
    assert [p.size for p in pictures(seen["detail"])] == [(30, 50)]
    parts = seen["interleaved"].sent["messages"][-1]["content"]
    assert [p["type"] for p in parts] == ["text", "image_url", "text", "image_url", "text"]
    assert [p["text"] for p in parts[:3:2]] == ["1.", "2."] and "Picture 2:\n<data>" in parts[-1]["text"]


def test_interleaved_is_not_asked_of_a_sample_alone(tmp_path):
    with Server(wished) as server:
        assert ask(tmp_path, server, Asked(A), "interleaved") == Written() and not server.seen


def test_a_second_reply_replaces_only_what_failed(tmp_path):
    """Recaption: the brief caption passes at once, the full one claims a cat until it is told."""
    good = reworded(KINDS["recaption"].examples(Task((A,)))[0].reply.model_dump_json())

    def script(server: Server, seen: Seen) -> Do:
        again = "absent_object" in seen.text
        cat = "A cat sits on the wall and looks at all who walk by."
        said = {**good, "brief": "Another one instead."} if again else {**good, "full": cat}
        return Do(body=completion(json.dumps(said)))

    with Server(script) as server:
        written = ask(tmp_path, server, Asked(A), "recaption", repair=1)  # pyright: ignore
        assert len(server.seen) == 2
    brief, full = written.conversations
    assert (brief.turns[1].text, brief.repaired) == (good["brief"], False)
    assert (full.turns[1].text, full.repaired) == (good["full"], True)
    assert [c.usage.prompt_tokens for c in written.conversations if c.usage] == [PROMPT, PROMPT]


def test_a_context_that_is_nothing_is_not_asked(tmp_path):
    with Server(wished) as server:
        assert ask(tmp_path, server, Asked(Context("x", 0, 0, boxes=(), texts=())), *KINDS) == Written()
        assert not server.seen
