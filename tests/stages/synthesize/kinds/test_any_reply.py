"""Whatever a teacher writes, every kind makes drafts of it or says why not; nothing else is raised."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.endpoint.wire import Reply, Tokens
from stages.synthesize.kinds.base import Task
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.registry import KINDS
from stages.synthesize.reply import judged

TASK = Task(tuple(replace(STREET["en"], sample_id=name, vocabulary=frozenset({"dog", "cat"})) for name in "ab"))
WORDS = st.sampled_from(["exchanges", "question", "answer", "evidence", "text", "brief", "full", "pictures", "chosen",
                         "rejected", "error", "\ud800"])  # fmt: skip
ODD = ("{box:1}", "{box:99999999}", "<image>", "\x00", "\ud800", "dog " * 40)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.sampled_from(ODD))
JSON = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=5))
)
SHAPED = st.builds(
    lambda exchanges, more: {**more, "exchanges": exchanges},
    st.lists(
        st.fixed_dictionaries(
            {"question": LEAVES, "answer": LEAVES},
            optional={"evidence": st.lists(st.text(max_size=9)), "pictures": st.lists(st.integers(-3, 9), max_size=3)},
        ),
        max_size=5,
    ),
    st.dictionaries(WORDS, LEAVES, max_size=1),
)
MARGIN = st.text(max_size=9)
TEXT = st.one_of(
    st.text(max_size=200),
    st.builds(lambda found, a, b: a + json.dumps(found) + b, st.one_of(JSON, SHAPED), MARGIN, MARGIN),
)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(text=TEXT)
def test_any_reply_is_judged(name: str, text: str) -> None:
    task = TASK if name == "interleaved" else replace(TASK, contexts=TASK.contexts[:1])
    clean = text.encode("utf-8", "replace").decode()  # as the wire hands it on
    found = judged(Reply(clean, "stop", Tokens(1, 1), False, Decimal(0)), KINDS[name], task, ChecksConfig())
    if isinstance(found, Finding):
        assert found.turn == -1 and found.evidence and len(found.evidence) <= 300 and "\n" not in found.evidence
        assert found.evidence.encode()  # no lone surrogate: it goes into a table
    else:
        assert all(text.encode() for one in found for _, text in one.draft.turns)
        assert found and all(one.draft.turns and one.draft.kind == name for one in found)
