"""yes and no."""

import pytest

from pipelines.train.evaluate.pope import pope_rows, said_yes, unclear
from schemas.evaluate import Unanswered
from tests.pipelines.train.evaluate.asked import answer


@pytest.mark.parametrize(
    ("said", "yes"),
    [
        ("Yes", True),
        ("No", False),
        ("no, there is none", False),
        ("There is not.", False),
        ("Yes. No doubt", True),  # the first sentence alone
        ("NO", True),  # as the official code reads it
        ("There isn't", True),
        ("", True),
    ],
)
def test_read_as_the_official_evaluation_does(said: str, yes: bool) -> None:
    assert said_yes(said) is yes


@pytest.mark.parametrize(("said", "expected"), [("", True), ("a dog", True), ("YES", False), ("nothing", True)])
def test_who_says_neither_is_counted(said: str, expected: bool) -> None:
    assert unclear(said) is expected


def test_by_subset_by_hand() -> None:
    pairs = [("Yes", "yes"), ("Yes", "yes"), ("No", "yes"), ("Yes", "no"), ("No", "no"), ("hm", "no")]
    found = [answer(said, right, id=f"r{i}", subset="random") for i, (said, right) in enumerate(pairs)]
    found += [answer("no", "no", id="p", subset="popular")]
    all_of_it, popular, random = pope_rows(found)
    assert (all_of_it.count, popular.name, random.name) == (7, "popular", "random")
    assert random.values == {
        "accuracy": 3 / 6, "precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "yes_share": 4 / 6, "unclear": 1 / 6,
    }  # fmt: skip
    assert popular.values == {
        "accuracy": 1.0, "precision": None, "recall": None, "f1": None, "yes_share": 0.0, "unclear": 0.0,
    }  # fmt: skip


def test_what_was_not_asked_is_wrong_on_either_side() -> None:
    why = Unanswered.bad_picture
    found = [answer("", "yes", id="1", why=why), answer("", "no", id="2", why=why), answer("yes", "yes", id="3")]
    (row,) = pope_rows(found)
    assert row.unanswered == 2
    assert row.values == {
        "accuracy": 1 / 3, "precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "yes_share": 1.0, "unclear": 0.0,
    }  # fmt: skip
