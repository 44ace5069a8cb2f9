"""Open answers. Expectations were made by hand from the official rules, and by running the official code on them."""

import pytest

from pipelines.train.evaluate.normalise import CONTRACTIONS, evalai, normalised
from pipelines.train.evaluate.vqa_score import gqa, gqa_rows, soft, textvqa, vqav2, vqav2_rows, vqav2_server
from schemas.errors import WrongData
from schemas.evaluate import Unanswered
from tests.pipelines.train.evaluate.asked import answer

TEN = 10


@pytest.mark.parametrize(("same", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_the_average_over_nine_of_ten(same: int, score: float) -> None:
    assert soft("red", ["red"] * same + ["blue"] * (TEN - same)) == pytest.approx(score)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("The Dog", "dog"),
        ("two dogs", "2 dogs"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("couldn'tve", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("red-blue", "red blue"),  # beside letters a mark becomes a space,
        ("red - blue", "red blue"),
        ("red- blue-green", "red bluegreen"),  # unless one such mark stands beside a space: then all go
        ("1,000", "1000"),
        ("1,000 a/b", "1000 ab"),  # a comma between digits: every mark goes
        ("U.S.A.", "usa"),
        ("3.5", "3.5"),
        (".5.", ".5"),
        ("." * 40, "." * 8),  # only the first 32
        ("it's", "it's"),
    ],
)
def test_normalised_as_the_official_evaluation_does(said: str, expected: str) -> None:
    assert normalised(said) == expected


def test_contractions_are_words_that_are_looked_up() -> None:
    assert all(word == word.lower() for word in CONTRACTIONS)
    assert len(CONTRACTIONS) == 114 and CONTRACTIONS["yall'd've"] == "y'all'd've"


def test_where_all_agree_nothing_is_normalised() -> None:
    assert vqav2("Yes.", ["yes"] * TEN) == 0
    assert vqav2("yes\n", ["yes"] * TEN) == 1
    assert vqav2("Yes.", ["yes"] * 9 + ["no"]) == 1


def test_as_it_is_handed_in_an_answer_is_normalised_before() -> None:
    assert vqav2_server("Yes.", ["yes"] * TEN) == 1


def test_textvqa_takes_possessives_apart() -> None:
    assert evalai("The Dog's, ball?") == "dog 's ball"
    assert textvqa("dog's", ["dog 's"] * TEN) == 1
    assert textvqa("Coca-Cola", ["coca cola"] * 3 + ["pepsi"] * 7) == pytest.approx(0.9)


@pytest.mark.parametrize(("said", "score"), [("Left.", 1), (" left ", 1), ("the left", 0), ("left!", 0)])
def test_gqa_is_exact(said: str, score: float) -> None:
    assert gqa(said, "left") == score


def test_rows_by_answer_type_with_both_ways() -> None:
    found = [
        answer("Yes.", *["yes"] * TEN, id="1", subset="yes/no"),
        answer("2", *["two"] * 3, *["3"] * 7, id="2", subset="number"),
        answer("", *["red"] * TEN, id="3", subset="other", why=Unanswered.bad_picture),
    ]
    rows = vqav2_rows(found)
    assert [(row.name, row.count, row.unanswered) for row in rows] == [
        ("all", 3, 1), ("number", 1, 0), ("other", 1, 1), ("yes/no", 1, 0),
    ]  # fmt: skip
    assert rows[0].values == {"accuracy": pytest.approx(1.9 / 3), "as_said": pytest.approx(0.9 / 3)}
    assert rows[3].values == {"accuracy": 1.0, "as_said": 0.0}


def test_what_was_not_asked_is_wrong_whatever_would_be_right() -> None:
    assert gqa_rows([answer("", "", why=Unanswered.missing_picture)])[0].values == {"accuracy": 0.0}


def test_a_split_without_answers_is_refused() -> None:
    with pytest.raises(WrongData, match="question 7 has no answers"):
        gqa_rows([answer("left", id="7")])


def test_nothing_has_no_accuracy() -> None:
    assert gqa_rows([])[0].values == {"accuracy": None}
