"""Each check on what it must find and on what it must let pass."""

from collections import Counter

import pytest

from schemas.conversation import Check
from schemas.sample import Box
from schemas.synthesize import ChecksConfig, TemplateConfig, TemplateKind
from stages.synthesize import template
from stages.synthesize.checks.registry import CHECKS, examine
from stages.synthesize.checks.words import sentences
from stages.synthesize.context import Context, Draft, TextLine
from stages.synthesize.negatives import Statistics
from tests.stages.synthesize.liar import KINDS, SHAPE_LABELS, Liar, scene_context

CONFIG = ChecksConfig()


def _box(label: str, x: float, y: float, size: float = 20) -> Box:
    return Box(label=label, x=x, y=y, w=size, h=size)


PHOTO = Context(
    "p", 200, 200, ("A man with two dogs and a bike.",),
    (_box("dog", 10, 10), _box("dog", 40, 10), _box("cat", 150, 150), _box("person", 100, 10), _box("bus", 10, 150)),
    frozenset({"dog", "cat", "person", "bus", "bicycle", "motorcycle", "horse", "orange", "tie"}),
    (TextLine(text="MAIN STREET", x=1, y=1, w=9, h=9),),
)  # fmt: skip
SHAPES = Context(
    "s", 200, 200, (), (_box("red circle", 10, 90), _box("blue star", 150, 90), _box("green star", 90, 10)),
    SHAPE_LABELS, (),
)  # fmt: skip


def _found(*turns: str, context: Context = PHOTO, **draft) -> list[tuple[Check, int]]:
    roles = ("user", "assistant")
    told = Draft("conversation", tuple((roles[i % 2], t) for i, t in enumerate(turns)), **draft)
    return [(f.check, f.turn) for f in examine(told, context, CONFIG)]


@pytest.mark.parametrize(
    ("question", "answer", "turn"),
    [
        ("What is there?", "There is a horse.", 1),
        ("What colour is the horse?", "Brown.", 0),
        ("Is there a horse?", "Yes.", 1),
        ("Describe it.", "A pony stands by the road.", 1),
    ],
)
def test_an_absent_object_is_found_where_it_is_claimed(question, answer, turn):
    assert _found(question, answer) == [(Check.absent_object, turn)]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there a horse?", "No."),
        ("Is there a horse?", "No, there is no horse in the picture."),
        ("What colour is the horse?", "There is no horse in the picture."),
        ("What is there?", "There are no horses, oranges or ties."),
        ("What is there?", "A puppy is next to the man, and the bike is theirs."),
        ("Why?", "It might be a place where a horse could graze."),
        ("What is there?", "The bus is near a horse trail."),
        ("What colour is it?", "It is orange and white."),
        ("What is there?", "A bus stop and a hot dog."),
    ],
)
def test_what_is_denied_supposed_supported_or_another_thing_passes(question, answer):
    assert _found(question, answer) == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many dogs are there?", "Three."),
        ("How many dogs are there?", "One."),
        ("What is there?", "Three dogs sit on the lawn."),
        ("What is there?", "There is only one dog in the picture."),
    ],
)
def test_a_wrong_count_is_found(question, answer):
    assert _found(question, answer) == [(Check.wrong_count, 1)]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many dogs are there?", "Two."),
        ("How many dogs are there?", "At least one."),
        ("How many dogs are there?", "Several."),
        ("How many dogs are on the left?", "One."),
        ("What is there?", "One dog looks up."),
        ("What is there?", "There is one dog on the lawn."),
        ("What is there?", "There is one brown dog."),
    ],
)
def test_a_count_that_may_mean_some_of_them_passes(question, answer):
    assert _found(question, answer) == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there a cat?", "No."),
        ("Do you see a cat in the picture?", "No, I don't."),
        ("What is there?", "There is no cat here."),
        ("What is there?", "I can't see any cats."),
        ("Where is the cat?", "The picture does not show a cat."),
        ("How many cats are there?", "None."),
        ("What is missing?", "A cat is nowhere to be seen."),
        ("What would one expect?", "A cat, but there is none."),
    ],
)
def test_that_a_boxed_object_is_not_there_is_found(question, answer):
    assert _found(question, answer) == [(Check.denied_object, 1)]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there a kitty?", "No."),
        ("Is there a black cat?", "No."),
        ("Is there a cat on the bus?", "No."),
        ("Is there another cat?", "No, there are no other cats."),
        ("Is there a cat?", "No, there is a cat and a bus."),
        ("Is the man holding a cat?", "No, he is not holding a cat."),
        ("What is there?", "There is no cat on the bus."),
        ("Who is he?", "He is not a bus driver, and this is not a cat."),
        ("Is there a horse?", "No."),
    ],
)
def test_what_may_not_deny_the_box_passes(question, answer):
    assert _found(question, answer) == []


def test_a_small_thing_may_be_overlooked():
    small = Context("s", 1000, 1000, (), (_box("cat", 10, 10, 90),), frozenset({"cat"}))
    large = Context("s", 1000, 1000, (), (_box("cat", 10, 10, 110),), frozenset({"cat"}))
    assert _found("Is there a cat?", "No.", context=small) == []
    assert _found("Is there a cat?", "No.", context=large) == [(Check.denied_object, 1)]


@pytest.mark.parametrize(
    "answer", ["Indeed there is.", "It does.", "That's right.", "Yes, I can confirm that.", "One is."]
)
def test_an_answer_says_yes_in_many_ways(answer):
    assert _found("Can you confirm that there is a horse?", answer) == [(Check.absent_object, 1)]


def test_of_several_pictures_nothing_is_judged_that_needs_one():
    turns = (
        "What is there?",
        'There is a horse, five dogs and a sign "Bakery", and no cat. The cat is left of the bus.',
    )
    assert {c for c, _ in _found(*turns)} >= {Check.absent_object, Check.wrong_count, Check.invented_text}
    assert _found(*turns, images=("p", "q")) == []
    assert _found(*turns, images=("p",)) == _found(*turns)
    assert _found("What?", "As an AI language model, I cannot see images.", images=("p", "q")) == [(Check.refusal, 1)]


def test_the_worse_answer_of_a_pair_is_not_held_against_it():
    assert _found("How many dogs are there?", "Two.", rejected="Three.", planted="wrong_count") == []
    assert _found("How many dogs are there?", "Three.", rejected="Two.") == [(Check.wrong_count, 1)]


def test_what_the_template_writes_passes():
    """All kinds, all sorts of absent labels, 200 scenes: the teacher and the checks never disagree."""
    contexts = [scene_context(seed) for seed in range(200)]
    statistics = Statistics.of([b.label for b in c.boxes or ()] for c in contexts)
    written = Counter()
    for seed, context in enumerate(contexts):
        for draft in template.write(context, TemplateConfig(seed=seed), statistics):
            written[draft.kind] += 1
            assert examine(draft, context, CONFIG) == []
    assert set(written) == set(TemplateKind)
    assert min(written.values()) > 50


def test_counts_of_many_boxes_are_not_judged_because_one_may_be_a_crowd():
    crowd = Context("c", 500, 500, (), tuple(_box("person", 30 * i, 5) for i in range(10)), frozenset({"person"}))
    few = Context("c", 500, 500, (), tuple(_box("person", 30 * i, 5) for i in range(9)), frozenset({"person"}))
    turns = ("How many people are there?", "Twelve.")
    assert _found(*turns, context=crowd) == []
    assert _found(*turns, context=few) == [(Check.wrong_count, 1)]


@pytest.mark.parametrize("answer", ["The circle is blue.", "There is a blue circle.", "The circle is a bright blue."])
def test_a_colour_that_no_box_of_the_noun_has_is_found(answer):
    assert _found("What is there?", answer, context=SHAPES) == [(Check.wrong_colour, 1)]
    assert _found("What is there?", answer.replace("blue", "red"), context=SHAPES) == []


def test_a_star_may_have_any_colour_that_one_of_the_stars_has():
    assert _found("What colour is the star?", "Green.", context=SHAPES) == []
    assert _found("What colour is the star?", "Pink.", context=SHAPES) == [(Check.wrong_colour, 1)]


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("What is there?", "The circle is left of the blue star.", "The circle is right of the blue star."),
        ("Is the circle left of the blue star?", "Yes.", "No."),
        ("Where is the circle relative to the blue star?", "To the left.", "To the right."),
        ("Where is the circle?", "On the left side of the picture.", "The circle is on the right of the image."),
        ("What is left of the blue star?", "The circle.", "To the right of the blue star is the circle."),
    ],
)  # fmt: skip
def test_a_side_is_checked_against_the_boxes(question, right, wrong):
    assert _found(question, right, context=SHAPES) == []
    assert (Check.wrong_relation, 1) in _found(question, wrong, context=SHAPES)


def test_a_side_of_one_among_several_is_not_judged():
    assert _found("What is there?", "The star is left of the circle.", context=SHAPES) == []
    assert _found("What is there?", "The blue star is left of the circle.", context=SHAPES) == [
        (Check.wrong_relation, 1)
    ]


@pytest.mark.parametrize("answer", ['It says "Main Street".', "The sign reads 'MAIN STRET'.", "Main Street"])
def test_text_that_was_read_passes_with_a_slip(answer):
    assert _found("What does the sign say?", answer) == []


def test_a_question_what_one_can_say_about_a_thing_is_not_about_text():
    assert _found("What can you say about the cat?", "It seems calm.") == []


def test_text_that_was_not_read_is_found_unless_nobody_read():
    turns = ("Is there a sign?", 'Yes, it says "Bakery".')
    assert _found(*turns) == [(Check.invented_text, 1)]
    assert _found(*turns, context=SHAPES) == [(Check.invented_text, 1)]
    assert _found(*turns, context=Context("n", 9, 9)) == []


def test_without_a_vocabulary_nothing_about_objects_is_decided():
    loose = Context("l", 200, 200, (), PHOTO.boxes)
    assert _found("How many dogs are there?", "Nine, and the horse is left of the cat.", context=loose) == []


@pytest.mark.parametrize(
    ("turns", "check", "turn"),
    [
        (("Hello?", "As an AI language model, I cannot tell."), Check.refusal, 1),
        (("描述图片", "作为一个人工智能，我无法查看图片。"), Check.refusal, 1),
        (("描述图片", "抱歉，我无法看到您的图片。"), Check.refusal, 1),
        (("描述图片", "请您重新上传图片。"), Check.refusal, 1),
        (("有什么？", "图片被描述为一片田野。"), Check.leak, 1),
        (("What is it?", "According to the caption, a field."), Check.leak, 1),
        (("What does the caption say?", "A field."), Check.leak, 0),
        (("Where?", "Around [0.12, 0.33, 0.5, 0.6]."), Check.leak, 1),
        (("有什么？", "根据描述，有一片田野。"), Check.leak, 1),
        (("What is it?", "It is a view of the"), Check.truncated, 1),
        (("What is it?", "A field. A field. A field."), Check.loop, 1),
        (("What is it?", "A field.", "What is it?", "A meadow."), Check.duplicate, 2),
    ],
)
def test_form_and_talk(turns, check, turn):
    assert (check, turn) in _found(*turns, language="zh" if turns[0][0] > "z" else "en")


@pytest.mark.parametrize(
    "answer",
    ["I'm sorry, but there is no horse here.", "It can't be told from the picture.",
     "How about this caption: a field.",
     "Two", "very, very calm", "- one\n- two\n- three"],
)  # fmt: skip
def test_plain_talk_passes(answer):
    assert _found("And?", answer) == []


def test_coordinates_pass_for_kinds_that_name_regions():
    turns = (("user", "Where?"), ("assistant", "Around [0.12, 0.33, 0.5, 0.6]."))
    assert examine(Draft("grounded", turns), PHOTO, CONFIG) == []


@pytest.mark.parametrize(("language", "text", "right"), [
    ("en", "这是一张美丽的图片。", False),
    ("zh", "这是一张美丽的图片。", True), ("zh", "This is a fine picture.", False),
    ("fr", "This is a fine picture.", True),
    ("en", "Il y a une belle maison dans le jardin avec les fleurs.", False),
    ("en", "The word “出口” means exit.", True),
    ("en", "A long answer about the view and all that is in it, told in English. 然后用中文说一句。", False),
    ("zh", "图中有一个写着STOP的标志。", True),
    ("zh", "图中有一个标志。There is a sign in the middle of the picture.", False),
])  # fmt: skip
def test_language_as_asked(language, text, right):
    draft = Draft("conversation", (("user", text), ("assistant", text + " ")), language)
    assert (CHECKS[Check.wrong_language](draft, Context("n", 9, 9), CONFIG) == []) is right


def test_wrong_roles_end_the_examination():
    draft = Draft("conversation", (("assistant", "As an AI language model, no."), ("user", "Hm?")))
    assert {f.check for f in examine(draft, PHOTO, CONFIG)} == {Check.bad_roles}


def test_length_is_truncated_and_a_check_can_be_off():
    turns = (("user", "What?"), ("assistant", "A field."))
    cut = Draft("conversation", turns, finish_reason="length")
    assert [f.check for f in examine(cut, PHOTO, CONFIG)] == [Check.truncated]
    assert examine(cut, PHOTO, ChecksConfig(off=(Check.truncated,))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_error_is_found_and_the_truth_passes(kind):
    liar, caught, planted = Liar("third"), 0, 0
    for seed in range(60):
        context = scene_context(seed)
        assert examine(liar.true(context, seed).draft, context, CONFIG) == []
        lie = liar.lie(context, kind, seed)
        if lie is not None:
            planted += 1
            found = examine(lie.draft, context, CONFIG)
            caught += any(f.check is KINDS[kind] and f.turn in lie.turns for f in found)
    assert planted >= 10
    assert caught >= 0.95 * planted


@pytest.mark.parametrize(
    ("question", "answer", "check"),
    [
        ("What is there?", "I would add that a horse is in the shot.", Check.absent_object),
        ("What is there?", "The centrepiece, if there is one, would have to be a horse.", Check.absent_object),
        ("What is there?", "Nobody could miss the horse.", Check.absent_object),
        ("Is there a cat?", "I looked for a cat but found none.", Check.denied_object),
        ("What is absent?", "Absent from the picture is a cat.", Check.denied_object),
        ("Is there a cat?", "I don't believe there is a cat here.", Check.denied_object),
        ("Is a cat among them?", "It is not among them.", Check.denied_object),
        ("What is there?", "The dogs number three.", Check.wrong_count),
        ("What is there?", "We see dogs, three in total.", Check.wrong_count),
        ("Write a tweet.", 'Spotted a sign today: "BAKERY". Lovely!', Check.invented_text),
        ("What is there?", "There is a sign labelled Bakery.", Check.invented_text),
        ("What is there?", "The image did not load for me.", Check.refusal),
    ],
)
def test_roundabout_lies_are_found(question, answer, check):
    assert [found for found, _ in _found(question, answer)] == [check]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is missing?", "Absent from the picture is a horse."),
        ("Is the horse there?", "The horse you mention is not part of the picture."),
        ("Can you find the horse?", "I was unable to find a horse."),
        ("What should one add?", "One would need to add a horse, as there is none so far."),
        ("What is there?", "A cat is there, and beyond it there is not much going on."),
        ("Do I see a cat, or am I imagining it?", "You are not imagining it."),
        ("What would a reporter say?", '"Ladies and gentlemen, two dogs!"'),
    ],
)
def test_roundabout_truths_pass(question, answer):
    assert _found(question, answer) == []


def test_a_colour_taken_up_by_a_pronoun_is_held_against_the_boxes():
    told = _found("Guess the colour of the circle.", "No need to guess, it's plainly green.", context=SHAPES)
    assert told == [(Check.wrong_colour, 1)]


def test_a_text_without_sentences_is_read_piece_by_piece():
    long = " ".join(["the cat and the dogs and"] * 2_000)
    assert all(len(s.text) <= 801 for s in sentences(long))
    assert sum(len(s.tokens) for s in sentences(long)) == len(long.split())
