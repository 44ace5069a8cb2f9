"""Every kind: its examples pass its own checks, its schema is fit for strict output, its prompt is pinned."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.errors import WrongRequest
from schemas.sample import Box, TextLine
from schemas.synthesize import ChecksConfig, SynthesizeConfig
from stages.synthesize.checks.registry import examine
from stages.synthesize.context import Context
from stages.synthesize.endpoint.wire import Reply, Tokens
from stages.synthesize.kinds import symbols
from stages.synthesize.kinds.base import Need, Task
from stages.synthesize.kinds.examples import STREET
from stages.synthesize.kinds.grounded import REGION
from stages.synthesize.kinds.preference import Planted, planted
from stages.synthesize.kinds.registry import KINDS, USUAL, kinds_of
from stages.synthesize.reply import judged, read
from tests.stages.synthesize.kinds.prompts import PINNED

VOCABULARY = frozenset({"person", "dog", "bicycle", "cat", "car", "horse", "bench"})
SINGLE = [name for name, kind in KINDS.items() if kind.needs is not Need.group]


def street(language: str = "en", **more: Any) -> Context:
    return replace(STREET[language], vocabulary=VOCABULARY, **more)


def tasks(name: str, language: str) -> list[Task]:
    """Enough of them that every sort of planted error is drawn."""
    seeds = range(60) if name == "preference" else range(1)
    return [Task((street(language),), language, seed=seed) for seed in seeds]


def said(found: object) -> Reply:
    text = found if isinstance(found, str) else json.dumps(found)
    return Reply(text, "stop", Tokens(1, 1), False, cost=0)  # pyright: ignore[reportArgumentType]


def drafts(name: str, found: object, task: Task) -> list[Any]:
    """Drafts that the checks pass, or findings."""
    ends = judged(said(found), KINDS[name], task, ChecksConfig())
    return [one.finding or one.draft for one in ends] if isinstance(ends, list) else [ends]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", SINGLE)
def test_the_example_is_a_reply_that_one_would_keep(name, language):
    sorts = set()
    for task in tasks(name, language):
        assert KINDS[name].applies(task)
        for example in KINDS[name].examples(task):
            found = read(said(example.reply.model_dump_json()), KINDS[name], task)
            faults = [examine(KINDS[name].examined(draft), task.context, ChecksConfig()) for draft in found]
            assert not any(faults), faults
            assert all(draft.kind == name and draft.language == language for draft in found)
            assert all(any(draft.evidence) for draft in found)
            sorts.add(found[0].planted and found[0].planted.split(":")[0])
    assert sorts == ({None} if name != "preference" else set(Planted) if language == "en" else {"wrong_count"})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_example_told_again_is_not_kept(language):
    """Small models do that: what they saw in the prompt, about another picture."""
    task = Task((Context("other", 640, 480, ("A horse.",)),), language)
    reply = json.loads(KINDS["conversation"].examples(task)[0].reply.model_dump_json())
    reply["exchanges"][0]["answer"] = "A horse." if language == "en" else "一匹马。"
    (finding,) = drafts("conversation", reply, task)
    assert (finding.check, finding.turn) == ("duplicate", 3) and "example" in finding.evidence
    seeing = replace(task, sees="both")
    assert drafts("conversation", reply, seeing)[0].turns


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("detail", {"text": "A quiet street."}),
        ("reasoning", {"question": "Why?", "answer": "Because it rains."}),
        ("recaption", {"brief": "A street in the rain.", "full": "A street."}),
        (
            "recaption",
            {"brief": "Street.", "full": "A street in the rain with a bakery, a bicycle and some dogs."},
        ),
    ],
)
def test_a_text_that_is_too_short_for_its_kind_is_not_kept(name, reply):
    (finding,) = drafts(name, reply, Task((street(),)))
    assert finding.check == "bad_schema" and "words where at least" in finding.evidence


@pytest.mark.parametrize("name", KINDS)
def test_the_schema_is_fit_for_strict_structured_output(name):
    def walk(node: dict[str, Any]) -> None:
        assert node["type"] in ("object", "array", "string", "integer")
        if node["type"] == "object":
            assert node["additionalProperties"] is False and node["required"] == list(node["properties"])
            for child in node["properties"].values():
                walk(child)
        extra = {"type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems"}
        assert set(node) <= extra
        if node["type"] == "array":
            walk(node["items"])

    assert KINDS[name].schema()["type"] == "object"
    walk(dict(KINDS[name].schema()))


def prompt(name: str) -> str:
    """A digest of all that a kind may send about one sample."""
    contexts = (street(), street("zh")) if KINDS[name].needs is Need.group else (street(),)
    digest = hashlib.sha256()
    for language in ("en", "zh"):
        for sees in ("text", "image", "both"):
            for seed in range(40 if name == "preference" else 1):
                task = Task(contexts, language, sees, seed)
                digest.update(json.dumps(KINDS[name].messages(task), sort_keys=True).encode())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", KINDS)
def test_a_prompt_does_not_change_without_its_version(name):
    """Where this fails on purpose: raise the kind's `version`, and pin (version, digest) in prompts.py."""
    assert PINNED[name] == (KINDS[name].version, prompt(name))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_says_where_it_comes_from_and_what_it_takes(name):
    kind = KINDS[name]
    assert kind.name == name and "arXiv:" in kind.source and 50 <= kind.completion_tokens <= 1024
    assert set(kind.prompts) == {"en", "zh"}


def test_the_usual_kinds_are_llavas_three():
    assert tuple(kinds_of(config())) == USUAL == ("conversation", "detail", "reasoning")


def config(*kinds: str, **more: Any) -> SynthesizeConfig:
    return SynthesizeConfig(teacher="model", kinds=kinds, endpoint={"model": "m"}, **more)  # pyright: ignore


def test_what_is_not_told_cannot_be_asked_about():
    for name in ("counting", "relation", "grounded", "text"):
        with pytest.raises(WrongRequest, match=f"{name} is written from"):
            kinds_of(config(name, sees="image"))
    assert list(kinds_of(config("recaption", "vqa", "vqa", sees="image"))) == ["recaption", "vqa"]


@pytest.mark.parametrize(
    ("name", "missing"),
    [("text", {"texts": ()}), ("text", {"texts": None}), ("counting", {"boxes": ()}), ("relation", {"boxes": None}),
     ("counting", {"vocabulary": frozenset()}), ("relation", {"boxes": STREET["en"].boxes[:1]}),
     ("grounded", {"boxes": ()}), ("recaption", {"captions": (" \n",)})],
)  # fmt: skip
def test_a_kind_does_not_apply_where_its_source_is_missing(name, missing):
    assert KINDS[name].applies(Task((street(),)))
    assert not KINDS[name].applies(Task((replace(street(), **missing),)))


SHORT = {"question": "Is there a dog?", "answer": "Yes.", "evidence": ["box:1", "box:77", "caption", "absent:cat"]}


def test_vqa_prompts_for_short_answers_once_and_strips_full_stops():
    (draft,) = drafts(
        "vqa", {"exchanges": [SHORT, {**SHORT, "question": "Is it dry?", "answer": "No"}]}, Task((street(),))
    )
    assert draft.turns[0][1] == "Is there a dog?\nAnswer the question using a single word or phrase."
    assert [text for _, text in draft.turns[1:]] == ["Yes", "Is it dry?", "No"]
    assert draft.evidence[1] == ("box:1", "caption")


def test_vqa_tells_what_is_absent_where_the_vocabulary_decides_it():
    (line,) = KINDS["vqa"].certain(Task((street(),)))
    told = json.loads("[" + line.removeprefix("absent: ") + "]")
    assert len(told) == 3 and set(told) < VOCABULARY - {"person", "dog", "bicycle"}
    absent = {**SHORT, "question": "Is there one?", "answer": "No", "evidence": [f"absent:{told[0]}"]}
    (draft,) = drafts("vqa", {"exchanges": [absent, SHORT]}, Task((street(),)))
    assert draft.evidence[1] == (f"absent:{told[0]}",)
    assert not KINDS["vqa"].certain(Task((replace(street(), vocabulary=frozenset()),)))
    assert not KINDS["vqa"].certain(Task((street(),), sees="image"))


def test_vqa_refuses_long_answers():
    long = {**SHORT, "answer": "There are two dogs and both of them are on leads"}
    (finding,) = drafts("vqa", {"exchanges": [SHORT, long]}, Task((street(),)))
    assert finding.check == "bad_schema" and "short phrase" in finding.evidence


def test_counting_tells_what_can_be_counted():
    assert KINDS["counting"].certain(Task((street(),))) == ['certain numbers: "person" 1, "dog" 2, "bicycle" 1']


def test_grounded_answers_get_their_numbers_from_the_boxes():
    spelt = [
        ("Two dogs {box:1} {box:2} walk.", "Two dogs [0.516, 0.625, 0.688, 0.854] [0.141, 0.646, 0.297, 0.875] walk."),
        ("A bicycle [box:3].", "A bicycle [0.719, 0.458, 0.969, 0.833]."),
    ]
    given = [{"question": f"Who is at {i}?", "answer": said, "evidence": []} for i, (said, _) in enumerate(spelt)]
    (draft,) = drafts("grounded", {"exchanges": given}, Task((street(),)))
    assert [text for role, text in draft.turns if role == "assistant"] == [text for _, text in spelt]
    assert draft.evidence[1::2] == (("box:1", "box:2"), ("box:3",))
    assert draft.turns[0][1].endswith("?\nGive the region of each thing that you name as [x1, y1, x2, y2].")
    assert len(REGION.findall(draft.turns[1][1])) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("A dog.", "names no region"),
        ("A dog {box:9}.", "box:9, which is not there"),
        ("A dog {box:1} at box:2.", "braces"),
    ],
)
def test_grounded_answers_without_a_true_region_are_refused(answer, why):
    (finding,) = drafts("grounded", {"exchanges": [{"question": "Who?", "answer": answer}]}, Task((street(),)))
    assert finding.check == "bad_schema" and why in finding.evidence


def test_a_wrong_count_in_a_grounded_answer_is_still_found():
    given = {"question": "How many dogs are there?", "answer": "There are three dogs {box:1} {box:2}.", "evidence": []}
    (finding,) = drafts("grounded", {"exchanges": [given]}, Task((street(),)))
    assert finding.check == "wrong_count"


def test_recaption_makes_two_conversations_of_one_reply():
    task = Task((street(),))
    found = read(said(KINDS["recaption"].examples(task)[0].reply.model_dump_json()), KINDS["recaption"], task)
    assert [len(draft.turns) for draft in found] == [2, 2] and found[0].turns != found[1].turns


def dialogue(*pictures: list[int]) -> dict[str, Any]:
    asked = [
        {"pictures": p, "question": f"What of {i}?", "answer": f"It is number {i}."} for i, p in enumerate(pictures)
    ]
    return {"exchanges": asked}


GROUP = Task((replace(street(), sample_id="a"), replace(street(), sample_id="b"), replace(street(), sample_id="c")))


@pytest.mark.parametrize(
    ("pictures", "marks"), [(([1], [2], [3]), [1, 1, 1]), (([1], [1], [3], [2]), [1, 0, 2, 0]), (([3], [1]), [3, 0])]
)
def test_interleaved_marks_each_picture_where_it_is_first_needed(pictures, marks):
    (draft,) = drafts("interleaved", dialogue(*pictures), GROUP)
    asked = [text for role, text in draft.turns if role == "user"]
    assert [text.count("<image>\n") for text in asked] == marks
    assert all(text.endswith(f"What of {i}?") for i, text in enumerate(asked))
    assert draft.images == ("a", "b", "c")


@pytest.mark.parametrize(
    ("pictures", "why"), [(([1], [2]), "picture 3 of 3"), (([1], [4]), "[4] of 3"), (([0], [3]), "[0]")]
)
def test_interleaved_uses_every_picture_and_no_other(pictures, why):
    (finding,) = drafts("interleaved", dialogue(*pictures), GROUP)
    assert finding.check == "bad_schema" and why in finding.evidence


def test_interleaved_tells_each_picture_by_its_number():
    text = KINDS["interleaved"].messages(GROUP)[-1]["content"]
    assert [f"Picture {i}:\n<data>" in text for i in (1, 2, 3, 4)] == [True, True, True, False]


PAIR = {"question": "What animals are there?", "chosen": "Two dogs walk here.", "rejected": "Three dogs walk here.",
        "error": "three\ninstead of two", "evidence": ["box:1"]}  # fmt: skip


def test_a_preference_pair_keeps_its_planted_error():
    (draft,) = drafts("preference", PAIR, Task((street(),)))
    assert draft.turns[1] == ("assistant", "Two dogs walk here.") and draft.rejected == "Three dogs walk here."
    assert draft.planted == f"{planted(Task((street(),)))}: three instead of two"


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"rejected": " two dogs  walk here."}, "bad_schema"),
        ({"chosen": "Three dogs walk here, it seems."}, "wrong_count"),
        ({"rejected": "As an AI language model, I cannot tell."}, "refusal"),
        ({"rejected": ""}, "bad_schema"),
        ({"rejected": "According to the caption, three dogs walk here."}, "leak"),
    ],
)
def test_a_preference_pair_that_teaches_something_else_is_refused(change, check):
    (finding,) = drafts("preference", {**PAIR, **change}, Task((street(),)))
    assert finding.check == check, finding


def test_only_errors_that_the_sample_allows_are_planted():
    bare = Context("bare", 10, 10, ("A dog.",))
    assert {planted(Task((bare,), seed=seed)) for seed in range(40)} == {Planted.absent_object}
    seen = {planted(Task((bare,), sees="image", seed=seed)) for seed in range(80)}
    assert seen == set(Planted) - {Planted.invented_text}


def test_symbols_are_bounded_and_keep_the_largest_boxes():
    boxes = tuple(Box(label=f"thing{i % 50}", x=0, y=0, w=1 + i, h=1 + i) for i in range(5_000))
    odd = (Box(label=None, x=0, y=0, w=9000, h=9000), Box(label="nan", x=float("nan"), y=0, w=9, h=9),
           Box(label="outside", x=-50, y=0, w=9, h=9), Box(label="\u200b\x07", x=0, y=0, w=9, h=9))  # fmt: skip
    texts = tuple(TextLine(text="T" * 10_000, x=0, y=0, w=1, h=1) for _ in range(1_000))
    hostile = Context("s", 5_000, 5_000, ("c" * 10**6,) * 50, (*odd, *boxes), texts=texts)
    told = symbols.described(hostile)
    assert len(told) < 26_000
    assert symbols.shown_boxes(hostile) == list(range(5_004 - symbols.BOXES_MOST, 5_004))
    assert "4960 smaller ones are not listed" in told and '"thing49" 100' in told
    assert "nan" not in told and "outside" not in told


def test_nothing_found_is_told_and_nothing_looked_for_is_not():
    assert symbols.described(Context("s", 9, 9, boxes=(), texts=())) == "<data>\nboxes: none\ntext: none\n</data>"
    assert symbols.described(Context("s", 9, 9)) == "<data>\n</data>"
