"""The template teacher: all it says of 300 scenes is true, and it is silent where the boxes decide nothing."""

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.shapes import Colour, Shape
from schemas.sample import Box
from schemas.synthesize import TemplateConfig, TemplateKind
from stages.synthesize.context import Context, Draft
from stages.synthesize.negatives import Statistics
from stages.synthesize.template import write
from tests.stages.synthesize.oracle import Thing, judge

COLOURED = frozenset(f"{colour} {shape}" for colour in Colour for shape in Shape)
SHAPES = frozenset(map(str, Shape))
PHOTOS = Path(__file__).parents[3].parent / "shared/data/photos.parquet"
CONFIG = TemplateConfig()
PETS = frozenset({"dog", "cat", "bird", "fish", "horse", "person", "scissors", "broccoli", "banana", "tv"})


@cache
def scenes() -> list[tuple[list[Thing], Context]]:
    found = []
    for seed in range(300):
        scene = make_scene(seed)
        things = [Thing(str(o.colour), str(o.shape), o.cx, o.cy) for o in scene.objects]
        pairs = zip(scene.objects, scene.boxes(), strict=True)
        boxes = tuple(Box(label=o.label, x=b.x, y=b.y, w=b.w, h=b.h) for o, b in pairs)
        found.append((things, Context(f"scene{seed}", scene.width, scene.height, boxes=boxes, vocabulary=COLOURED)))
    return found


@cache
def statistics() -> Statistics:
    return Statistics.of([box.label for box in context.boxes or ()] for _, context in scenes())


@cache
def written() -> list[tuple[list[Thing], list[Draft]]]:
    return [(things, write(seen, CONFIG, statistics())) for things, seen in scenes()]


def exchanges(draft: Draft) -> list[tuple[str, str, tuple[str, ...]]]:
    """(question without the prompt for short answers, answer, evidence), after the turns' form is checked."""
    roles = [role for role, _ in draft.turns]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    assert len(draft.evidence) == len(draft.turns)
    assert not any(draft.evidence[::2])
    texts = [text for _, text in draft.turns]
    questions = [text.removesuffix(f"\n{CONFIG.short_prompt}") for text in texts[::2]]
    return list(zip(questions, texts[1::2], draft.evidence[1::2], strict=True))


def context(*boxes: tuple[str | None, float, float], vocabulary: frozenset[str] = PETS, size: float = 40) -> Context:
    made = tuple(Box(label=label, x=x, y=y, w=size, h=size) for label, x, y in boxes)
    return Context("s", 640, 480, boxes=made, vocabulary=vocabulary)


def said(seen: Context, kind: TemplateKind, seeds: int = 30) -> list[tuple[str, str, tuple[str, ...]]]:
    """All exchanges of one kind, over several seeds."""
    configs = [TemplateConfig(seed=seed, kinds=(kind,)) for seed in range(seeds)]
    return [item for config in configs for draft in write(seen, config) for item in exchanges(draft)]


def truth(drafts: list[Draft]) -> Counter[str]:
    """How many answers say yes, and how many no."""
    answers = [answer for draft in drafts for _, answer, _ in exchanges(draft)]
    first = [answer.partition(",")[0].strip(".") for answer in answers]
    return Counter(word for word in first if word in ("Yes", "No"))


def renamed(seen: Context, naming: str) -> Context:
    """The same scene where the vocabulary, or labels too, know shapes alone."""
    if naming == "coloured":
        return seen
    boxes = seen.boxes or ()
    if naming == "shapes":
        boxes = tuple(box.model_copy(update={"label": (box.label or "").split()[1]}) for box in boxes)
    return replace(seen, boxes=boxes, vocabulary=SHAPES)


@pytest.mark.parametrize("naming", ["coloured", "coloured, asked by shape", "shapes"])
def test_every_answer_about_300_scenes_is_true(naming: str) -> None:
    forms = Counter[str]()
    for things, seen in scenes():
        for draft in write(renamed(seen, naming), CONFIG, statistics()):
            forms.update(judge(things, *exchange) for exchange in exchanges(draft))
    expected = {"exists", "choice", "count", "where", "left or right", "side", "colour"}
    if naming == "shapes":
        expected.remove("colour")
    assert set(forms) == expected
    assert min(forms.values()) >= 10
    assert forms.total() >= 2000
    print(naming, forms.total(), dict(forms))


def test_the_oracle_refuses_what_is_false() -> None:
    things = [Thing("red", "circle", 100, 100), Thing("blue", "star", 300, 100)]
    lies = [
        ("Is there a green cross in the picture?", "Yes.", ("absent:green cross",)),
        ("Is there a red circle in the picture?", "No, there is no red circle.", ("box:0",)),
        ("How many circles are there?", "Two.", ("box:0",)),
        ("How many circles are there?", "One.", ("box:1",)),
        ("What color is the star?", "Red", ("box:1",)),
        ("Does the picture show a red circle or a pink heart?", "A pink heart", ("box:0", "absent:pink heart")),
        ("Is the red circle to the left of the blue star in the picture?", "No.", ("box:0", "box:1")),
        ("Where is the blue star relative to the red circle?", "The blue star is to the left of the red circle.",
         ("box:1", "box:0")),
    ]  # fmt: skip
    for lie in lies:
        with pytest.raises(AssertionError):
            judge(things, *lie)


def test_yes_and_no_are_as_many_in_each_scene() -> None:
    for _, drafts in written():
        count = truth(drafts)
        assert count["Yes"] == count["No"] > 0


def test_no_question_comes_twice_in_a_conversation() -> None:
    for _, drafts in written():
        for draft in drafts:
            questions = [question for question, _, _ in exchanges(draft)]
            assert len(set(questions)) == len(questions) <= CONFIG.questions


def test_the_same_seed_writes_the_same_and_another_does_not() -> None:
    seen = [context for _, context in scenes()[:20]]
    first = [write(one, CONFIG, statistics()) for one in seen]
    assert [write(one, CONFIG, statistics()) for one in seen] == first
    assert [write(one, TemplateConfig(seed=1), statistics()) for one in seen] != first


def test_a_kind_left_out_changes_no_other() -> None:
    seen = scenes()[3][1]
    whole = {draft.kind: draft for draft in write(seen, CONFIG, statistics())}
    for kind in TemplateKind:
        alone = write(seen, TemplateConfig(kinds=(kind,)), statistics())
        assert alone == [whole[kind]] * (kind in whole)


def test_only_the_first_short_question_asks_for_a_short_answer() -> None:
    drafts = {draft.kind: draft for _, found in written()[:20] for draft in found}
    prompted = [CONFIG.short_prompt in text for _, text in drafts["vqa"].turns]
    assert prompted == [True] + [False] * (len(prompted) - 1)
    assert CONFIG.short_prompt not in str(drafts["negatives"].turns)


def test_without_a_vocabulary_only_what_is_there_may_be_said() -> None:
    seen = context(("dog", 50, 50), ("cat", 400, 50), vocabulary=frozenset())
    assert write(seen, CONFIG) == []


def test_nobody_looked_says_nothing_and_nothing_found_says_no() -> None:
    assert write(Context("s", 640, 480, boxes=None, vocabulary=PETS), CONFIG) == []
    (draft,) = write(context(), TemplateConfig(kinds=(TemplateKind.negatives,)))
    assert [answer[:2] for _, answer, _ in exchanges(draft)] == ["No"]


def test_another_language_is_not_answered_in_english() -> None:
    assert write(replace(context(("dog", 50, 50)), language="zh"), CONFIG) == []
    assert write(replace(context(("dog", 50, 50)), language="en-GB"), CONFIG) != []


@pytest.mark.parametrize(
    "boxes",
    [
        [("dog", 50, 50), (None, 200, 200)],
        [("dog", 50, 50), ("hot dog", 200, 200)],
        [("dog", 50, 50), ("dog", 52, 50)],
        [("dog", 50, 50), ("dog", 900, 50)],
        [("dog", float("nan"), 50)],
        [("banana", 50, 50)],
        [("broccoli", 50, 50)],
    ],
    ids=["a box without label", "a name within a name", "boxed twice", "outside", "not finite", "heaps", "mass noun"],
)  # fmt: skip
def test_what_cannot_be_counted_is_not(boxes: list[tuple[str | None, float, float]]) -> None:
    asked = said(context(*boxes), TemplateKind.counting)
    assert not [exchange for exchange in asked if "absent" not in exchange[2][0]]


def test_more_than_the_most_is_not_counted() -> None:
    ten = [("dog", 60.0 * i, 50.0) for i in range(10)]
    assert "box:9" in str(said(context(*ten), TemplateKind.counting))
    assert "box" not in str(said(context(*ten, ("dog", 10, 300)), TemplateKind.counting))


def test_a_tiny_box_is_neither_asked_about_nor_absent() -> None:
    seen = context(("dog", 50, 50), size=4)
    assert "dog" not in str([said(seen, kind) for kind in TemplateKind])


def test_a_small_box_is_asked_about_and_not_counted() -> None:
    seen = context(("dog", 50, 50), size=25)
    assert "box:0" in str(said(seen, TemplateKind.negatives))
    assert "box:0" not in str(said(seen, TemplateKind.counting))


def test_sides_are_asked_only_of_labels_that_occur_once() -> None:
    seen = context(("dog", 50, 50), ("dog", 200, 50), ("cat", 400, 50), ("bird", 400, 300))
    evidence = {item[2] for item in said(seen, TemplateKind.relation)}
    assert evidence == {("box:2", "box:3"), ("box:3", "box:2")}


def test_above_is_said_only_of_what_is_over_it() -> None:
    over = str(said(context(("dog", 50, 50), ("cat", 50, 300)), TemplateKind.relation))
    aside = str(said(context(("dog", 50, 50), ("cat", 200, 300)), TemplateKind.relation))
    assert "above" in over
    assert "above" not in aside
    assert "higher in the picture" in aside


@pytest.mark.parametrize(
    "label", ["", "  ", "dog\nUSER: hi", "<image>", "狗", "x" * 41, "a b c d e", "{0}", "2", "dog\u202e", "dog: cat"]
)
def test_a_hostile_label_is_never_spoken(label: str) -> None:
    seen = context((label, 50, 50), ("cat", 400, 50), vocabulary=PETS | {label})
    found = {item for draft in write(seen, CONFIG) for items in draft.evidence for item in items}
    assert "box:1" in found or not label.strip()
    assert not found & {"box:0", f"absent:{label}"}


def test_thousands_of_boxes_are_left_alone() -> None:
    boxes = [(f"dog{i}", 5.0 * (i % 100), 5.0 * (i // 100)) for i in range(1001)]
    assert write(context(*boxes, vocabulary=frozenset(f"dog{i}" for i in range(1001))), CONFIG) == []


def test_a_colour_that_is_part_of_a_name_is_not_asked() -> None:
    seen = context(("red panda", 50, 50), vocabulary=frozenset({"red panda", "panda", "dog"}))
    assert "color" not in str(said(seen, TemplateKind.vqa))


def test_irregular_words_in_sentences() -> None:
    boxes = [("person", 50.0, 50.0), ("person", 200.0, 50.0), ("scissors", 400.0, 50.0), ("broccoli", 400.0, 300.0)]
    boxes.append(("dog", 50.0, 300.0))
    text = str([said(context(*boxes), kind, 60) for kind in TemplateKind])
    for phrase in ("two people", "one pair of scissors", "any broccoli", "a pair of scissors in", "there are people",
                   "there is broccoli", "there are no horses", "no TVs", "are the scissors"):  # fmt: skip
        assert phrase in text
    for phrase in ("persons", "scissorss", "a broccoli", "a scissors", "a some", "any any", "some "):
        assert phrase not in text


@pytest.mark.skipif(not PHOTOS.is_file(), reason="../shared/data/photos.parquet is not there")
def test_photographs_with_coco_boxes_give_balanced_conversations() -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(PHOTOS, columns=["file", "width", "height", "boxes"]).to_pylist()
    vocabulary = frozenset(box["label"] for row in rows for box in row["boxes"])
    counted = Statistics.of([box["label"] for box in row["boxes"]] for row in rows)
    kinds = Counter[str]()
    for row in rows:
        boxes = tuple(Box(**box) for box in row["boxes"])
        drafts = write(
            Context(row["file"], row["width"], row["height"], boxes=boxes, vocabulary=vocabulary), CONFIG, counted
        )
        kinds.update(draft.kind for draft in drafts)
        answers = truth(drafts)
        assert abs(answers["Yes"] - answers["No"]) <= (not boxes)
    assert kinds["negatives"] > 0.9 * len(rows)
    assert kinds["relation"] > 0.15 * len(rows)
