"""Captions against references, by COCO's own code."""

import builtins
import shutil
from typing import Any

import pytest

from pipelines.train.evaluate.captions import caption_scores, words
from schemas.errors import WrongData, WrongRequest

REFERENCES = [
    ["A red ball on the grass.", "a red ball lies on grass"],
    ["Two dogs run on a beach", "dogs running at the sea"],
    ["A man holds a blue cup"],
]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man's dog, on 5th Ave.", "a man 's dog on 5th ave"),
        ("It isn't (really) here!", "it is n't -lrb- really -rrb- here"),
        ("well-known 1,000 3.5 50/50", "well-known 1,000 3.5 50/50"),
        ("one; two: three -- four...", "one two three four"),
        ("You cannot", "you can not"),
        ("Ein Hündchen spielt", "ein hündchen spielt"),
        ("", ""),
    ],
)
def test_words_are_parted_as_the_official_tokenizer_does(caption: str, expected: str) -> None:
    """Expectations: Stanford's PTB tokenizer through pycocoevalcap."""
    assert words(caption) == expected


def test_the_references_themselves_are_perfect() -> None:
    found = caption_scores([one[0] for one in REFERENCES], REFERENCES)
    assert {name: round(found[name] or 0, 6) for name in ("bleu_1", "bleu_4", "rouge_l")} == {
        "bleu_1": 1.0, "bleu_4": 1.0, "rouge_l": 1.0,
    }  # fmt: skip
    assert (found["cider"] or 0) > 5


def test_by_hand() -> None:
    found = caption_scores(["a red cube"], [["a red ball"]])
    assert found["bleu_1"] == pytest.approx(2 / 3) and found["bleu_2"] == pytest.approx((2 / 3 * 1 / 2) ** 0.5)
    assert found["rouge_l"] == pytest.approx(2 / 3)


def test_others_captions_are_worse_and_none_are_worst() -> None:
    right = caption_scores([one[-1] for one in REFERENCES], REFERENCES)
    swapped = caption_scores([one[-1] for one in REFERENCES[::-1]], REFERENCES)
    silent = caption_scores(["", "", ""], REFERENCES)
    for name in right:
        assert (right[name] or 0) > (swapped[name] or 0) >= (silent[name] or 0)
    assert silent["cider"] == 0 and silent["rouge_l"] == 0


def test_no_captions_have_no_score() -> None:
    assert set(caption_scores([], []).values()) == {None}


def test_a_caption_without_references_is_named() -> None:
    with pytest.raises(WrongData, match="caption 1 has no reference"):
        caption_scores(["a", "b"], [["a"], ["  "]])


def test_without_java_the_official_tokenizer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(WrongRequest, match="no java"):
        caption_scores(["a"], [["a"]], "ptb")


def test_without_the_library_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *args: Any) -> Any:
        if name.startswith("pycocoevalcap"):
            raise ImportError(name)
        return real(name, *args)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(WrongRequest, match="not installed"):
        caption_scores(["a"], [["a"]])
