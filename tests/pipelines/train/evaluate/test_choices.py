"""Letters, CircularEval, and MMMU's reading. Expectations are those of the official code."""

import pytest

from pipelines.train.evaluate.choices import letter, mmbench_rows
from pipelines.train.evaluate.mmmu import choice, guess, mmmu_rows, open_right
from schemas.errors import WrongData
from schemas.evaluate import Answer, Unanswered
from tests.pipelines.train.evaluate.asked import answer

BALLS = ("red ball", "blue ball", "a cube", "none")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B. blue ball", "B"),
        ("B is what I see in this picture", None),  # not among the last words, and longer than what it names
        ("The answer is **b**", "B"),
        ("A or B", None),
        ("Blue ball.", "B"),
        ("the red ball and the blue ball", None),
        ("A big dog", "A"),  # an article counts where the answer is as short as this
        ("E", None),
        ("", None),
    ],
)
def test_mmbench_letters(said: str, expected: str | None) -> None:
    assert letter(said, BALLS) == expected


def _passes(group: str, said: list[str], right: list[str], **more: object) -> list[Answer]:
    ids = [str(int(group) + n * 1_000_000) for n in range(len(said))]
    common = {"choices": ("x", "y"), "group": group, **more}
    return [answer(s, r, id=i, **common) for s, r, i in zip(said, right, ids, strict=True)]


def test_a_question_is_right_when_every_pass_is() -> None:
    found = [*_passes("1", ["A", "B"], ["A", "B"]), *_passes("2", ["A", "A"], ["A", "B"])]
    (row,) = mmbench_rows(found)
    assert row.count == 2 and row.values == {"circular": 0.5, "accuracy": 1.0, "unread": 0.0}


def test_without_all_passes_there_is_no_circular_score() -> None:
    (row,) = mmbench_rows([*_passes("1", ["A", "B"], ["A", "B"]), *_passes("2", ["hm"], ["B"])])
    assert row.values == {"circular": None, "accuracy": 0.5, "unread": 1 / 3}


def test_a_question_whose_first_pass_is_missing_is_named() -> None:
    with pytest.raises(WrongData, match="question 1: 0 first passes"):
        mmbench_rows(_passes("1", ["A", "B"], ["A", "B"])[1:])


def test_a_pass_that_was_not_asked_makes_its_question_wrong() -> None:
    first, second = _passes("1", ["A", "B"], ["A", "B"])
    (row,) = mmbench_rows([first, second.model_copy(update={"text": "", "why": Unanswered.bad_picture})])
    assert row.values == {"circular": 0.0, "accuracy": 1.0, "unread": 0.0} and row.unanswered == 0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("(A) or rather (C)", "C"),  # the last in brackets
        ("A or C", "C"),
        ("C.", "C"),
        ("AC", None),
        ("red ball", None),  # its words count in a long answer only
        ("I think it is a blue ball there", "B"),
        ("not the blue ball but the red ball here", "A"),
        ("", None),
    ],
)
def test_mmmu_choices(said: str, expected: str | None) -> None:
    assert choice(said, BALLS) == expected


@pytest.mark.parametrize(
    ("said", "right", "correct"),
    [
        ("The result is 1,000.", ["1000"], True),
        ("so x = 3.14159", ["3.14"], True),
        ("it costs 5.2e3", ["5200"], True),
        ("The answer is a green cell", ["green cell"], True),
        ("cell", ["green cell"], False),  # the answer has to be in what is said, not the other way round
        ("it is x", ["x"], True),
        ("box", ["x"], False),  # a single letter needs a space beside it
        ("12 apples", ["2"], False),
        ("two", ["2", "two"], True),
    ],
)
def test_mmmu_open_answers(said: str, right: list[str], correct: bool) -> None:
    assert open_right(said, right) is correct


def test_an_unread_choice_is_guessed_by_its_id() -> None:
    drawn = [guess(f"validation_Art_{i}", BALLS) for i in range(400)]
    assert drawn == [guess(f"validation_Art_{i}", BALLS) for i in range(400)]
    assert all(70 < drawn.count(one) < 130 for one in "ABCD")


def test_mmmu_by_subject() -> None:
    art = {"choices": BALLS, "subset": "Art"}
    right = guess("a3", BALLS)
    found = [
        answer("B", "B", id="a1", **art),
        answer("B", "A", id="a2", **art),
        answer("hm", right, id="a3", **art),
        answer("", right, id="a3x", why=Unanswered.bad_picture, **art),
        answer("it is 4", "4", id="m1", subset="Math"),
    ]
    rows = mmmu_rows(found)
    assert [row.name for row in rows] == ["all", "Art", "Math"]
    assert rows[1].values == {"accuracy": 0.5, "guessed": 0.25} and rows[2].values == {"accuracy": 1.0, "guessed": 0.0}
