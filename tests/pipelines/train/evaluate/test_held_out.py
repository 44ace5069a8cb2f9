"""Conversations that are kept from training: which are asked, what their answers state, and the two controls."""

from collections.abc import Callable

import pytest

from pipelines.train.evaluate.held_out import (
    Form,
    HeldOut,
    held_out_rows,
    majority,
    questions,
    read,
    right,
    rows,
    state,
)
from pipelines.train.models import Built
from schemas.conversation import Conversation
from schemas.errors import WrongData
from schemas.evaluate import Answer, GenerateConfig, Unanswered
from stages.store import Store
from tests.builders import sid
from tests.pipelines.talking import jpeg, talk, talking
from tests.pipelines.train.evaluate.asked import answer

SAMPLES = 12


def written(i: int) -> list[Conversation]:
    """Of the templates, of a model, over two pictures, and a pair."""
    number = ["one", "two"][i % 2]
    return [
        talk("how many balls ?", f"There are {number} balls.", "red ?", "Yes.", kind="counting", teacher="template"),
        talk("what is in the picture ?", "a ball", kind="detail"),
        talk("<image> <image> ?", "no", kind="interleaved", teacher="template", images=[sid(i), sid(0)]),
        talk("red ?", "no", kind="preference", teacher="template", rejected="yes"),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("held_out") / "build"
    return talking(folder, [written(i) for i in range(SAMPLES)], max_samples=4, val_share=0.5)


def test_only_the_split_is_asked_turn_after_turn(store: Store) -> None:
    found = list(questions(store, HeldOut()))
    ids = {one.id.split("-")[0] for one in found}
    others = {one.id.split("-")[0] for one in questions(store, HeldOut(split="train"))}
    assert 2 <= len(ids) < SAMPLES and ids | others == {sid(i) for i in range(SAMPLES)} and not ids & others
    assert len(found) == 2 * len(ids) and {one.subset for one in found} == {"counting"}
    first, second = found[:2]
    assert (first.history, first.text) == ((), "how many balls ?")
    assert (second.history, second.answers) == (((first.text, first.answers[0]),), ("Yes.",))
    pictures = {sid(i): jpeg(i) for i in range(SAMPLES)}
    assert all(one.images == (pictures[one.id.split("-")[0]],) for one in found)


def test_kinds_teachers_and_number_are_chosen(store: Store) -> None:
    assert {one.subset for one in questions(store, HeldOut(teachers=None))} == {"counting", "detail"}
    assert not list(questions(store, HeldOut(kinds=("vqa",))))
    assert len(list(questions(store, HeldOut(most=2)))) == 4


def test_shuffled_are_the_same_questions_about_another_picture(store: Store) -> None:
    own, others = list(questions(store, HeldOut())), list(questions(store, HeldOut(), shuffled=True))
    assert [one.model_copy(update={"images": ()}) for one in own] == [
        one.model_copy(update={"images": ()}) for one in others
    ]
    assert all(one.images != other.images for one, other in zip(own, others, strict=True))
    assert {one.images for one in own} == {one.images for one in others}


@pytest.mark.parametrize(
    ("kind", "question", "text", "form", "stated"),
    [
        ("vqa", "Is it?", "Yes", Form.yes_no, {"yes"}),
        ("negatives", "Is it?", "No, there is no ball.", Form.yes_no, {"no"}),
        ("counting", "How many?", "There are three balls.", Form.number, {"3"}),
        ("counting", "How many?", "There are no balls.", Form.number, {"0"}),
        ("counting", "How many?", "Fourteen? 14", Form.number, {"14"}),
        ("relation", "Where?", "The ball is above the cup and to the left of it.", Form.sides, {"above", "left"}),
        ("relation", "Where?", "It is lower in the picture", Form.sides, {"below"}),
        ("vqa", "Is it a red ball or a cup?", "A red ball", Form.choice, {"red ball"}),
        ("vqa", "Which colour has the ball?", "Blue.", Form.words, {"blue"}),
        ("vqa", "Which colour?", "", Form.words, set()),
    ],
)
def test_what_an_answer_states(kind: str, question: str, text: str, form: Form, stated: set[str]) -> None:
    assert state(kind, text, question) == (form, frozenset(stated))


@pytest.mark.parametrize(
    ("said", "gold", "kind", "correct"),
    [
        ("yes, there is", "Yes.", "vqa", True),
        ("there is", "Yes.", "vqa", False),
        ("3", "There are three balls.", "counting", True),
        ("three or four", "There are three balls.", "counting", True),
        ("left", "To the left of and above it.", "relation", False),
        ("the blue", "Blue", "vqa", True),
        ("blue and red", "Blue", "vqa", False),
        ("", "", "vqa", False),
    ],
)
def test_right_is_who_states_the_same(said: str, gold: str, kind: str, correct: bool) -> None:
    assert right(answer(said, gold, subset=kind)) is correct


def test_what_was_not_asked_is_wrong() -> None:
    assert not right(answer("yes", "yes", subset="vqa", why=Unanswered.bad_picture))


def test_the_majority_is_that_of_the_other_split(store: Store) -> None:
    usual = majority(store, HeldOut())
    trained = [one.answers[0] for one in questions(store, HeldOut(split="train")) if not one.history]
    ones, twos = (sum(word in text for text in trained) for word in ("one", "two"))
    assert usual["counting", Form.number] == (Form.number, frozenset({"1" if ones >= twos else "2"}))
    assert usual["counting", Form.words] == (Form.words, read(Form.words, "Yes."))


def test_rows_by_kind_and_form() -> None:
    golds = [("vqa", "Yes"), ("vqa", "No"), ("vqa", "No"), ("vqa", "Blue"), ("counting", "One.")]
    said = ["yes", "Yes.", "No", "green", "One"]

    def made(words: list[str]) -> list[Answer]:
        return [answer(w, g, id=str(i), subset=k) for i, (w, (k, g)) in enumerate(zip(words, golds, strict=True))]

    usual = {
        ("vqa", Form.yes_no): state("vqa", "no", ""),
        ("vqa", Form.words): state("vqa", "red", ""),
        ("counting", Form.number): state("counting", "one", ""),
    }
    found = {row.name: row for row in rows(made(said), made(["No"] * 5), usual)}
    assert list(found) == ["all", "counting", "vqa", "vqa words", "vqa yes/no"]
    assert found["all"].values == {"accuracy": 3 / 5, "exact": 3 / 5, "majority": 3 / 5, "shuffled": 2 / 5}
    assert found["vqa yes/no"].values == {
        "accuracy": 2 / 3, "exact": 2 / 3, "majority": 2 / 3, "shuffled": 2 / 3,
    }  # fmt: skip
    assert found["counting"].count == 1


def test_between_two_that_are_offered_a_coin_is_thrown() -> None:
    one = [answer("a ball", "A ball", subset="vqa", text="Is it a ball or a cup?")]
    assert rows(one, one, {})[0].values["majority"] == 0.5


def test_a_model_is_asked(store: Store, builder: Callable[..., Built]) -> None:
    built, asked, short = builder(), HeldOut(most=2), GenerateConfig(max_new_tokens=3)
    found = held_out_rows(built, store, asked, short)
    assert [(row.name, row.count) for row in found] == [
        ("all", 4), ("counting", 4), ("counting number", 2), ("counting words", 2),
    ]  # fmt: skip
    assert found == held_out_rows(built, store, asked, short)


def test_nothing_held_out_is_said(store: Store, builder: Callable[..., Built]) -> None:
    with pytest.raises(WrongData, match="no conversation in split 'test'"):
        held_out_rows(builder(), store, HeldOut(split="test"))
