"""Caption facts: each text trips one definition."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.recipe import CaptionConfig
from schemas.row import cast
from schemas.sample import Candidate, CaptionFacts
from stages.measure.caption import CaptionMeasure, caption_facts
from tests.stages.measure.builders import table_of

CAPTIONS = Path(__file__).parents[3].parent / "shared/data/web-captions-10000.parquet"


@pytest.mark.parametrize(
    ("text", "chars", "words", "repeated", "nonletters"),
    [
        ("", 0, 0, 0.0, 0.0),
        (" \t\n", 3, 0, 0.0, 0.0),
        ("a red cat", 9, 3, 0.0, 0.0),
        ("cat CAT cat dog", 15, 4, 0.5, 0.0),  # case does not make another word
        ("ß SS", 4, 2, 0.5, 0.0),  # nor does case folding
        ("don't", 5, 2, 0.0, 1 / 5),  # an apostrophe parts words
        ("a_b", 3, 2, 0.0, 1 / 3),  # so does an underscore
        ("50% off!", 8, 2, 0.0, 4 / 8),
        ("IMG_0042.JPG", 12, 3, 0.0, 6 / 12),
        ("café", 4, 1, 0.0, 0.0),
        ("cafe\u0301", 5, 1, 0.0, 0.0),  # a combining mark belongs to its letter
        ("一只红色的猫", 6, 6, 0.0, 0.0),  # every ideograph is a word
        ("猫猫", 2, 2, 0.5, 0.0),
        ("红cat猫", 5, 3, 0.0, 0.0),
        ("\U00020000\U00020001", 2, 2, 0.0, 0.0),  # ideographs beyond the basic plane
        ("ねこ カタカナ", 7, 2, 0.0, 0.0),
        ("안녕 하세요", 6, 2, 0.0, 0.0),
        ("हिन्दी शब्द", 11, 2, 0.0, 0.0),  # vowel signs are marks
        ("кот и кот", 9, 3, 1 / 3, 0.0),
        ("قطة حمراء", 9, 2, 0.0, 0.0),
        ("🐈", 1, 0, 0.0, 1.0),
        ("cat 🐈‍⬛", 7, 1, 0.0, 3 / 7),  # one cluster of three characters
        ("❤\ufe0f", 2, 0, 0.0, 1.0),  # a variation selector is no letter
        ("\x00\x01", 2, 0, 0.0, 1.0),
        ("½ m²", 4, 2, 0.0, 2 / 4),
    ],
)  # fmt: skip
def test_facts(text: str, chars: int, words: int, repeated: float, nonletters: float) -> None:
    assert caption_facts(text) == (chars, words, pytest.approx(repeated), pytest.approx(nonletters))


def stage_on(captions: list[str | None]):
    n = len(captions)
    columns = {"sample_id": [f"{i:032x}" for i in range(n)], "source": ["s"] * n, "source_row": list(range(n))}
    return CaptionMeasure(CaptionConfig()).process(table_of(Candidate, {**columns, "caption": captions}, n))


def test_a_missing_caption_is_a_reason_and_its_neighbours_stay() -> None:
    outcome = stage_on(["one two", None, "three"])
    assert outcome.reason.to_pylist() == [None, "missing_caption", None]
    assert outcome.table["caption_words"].to_pylist() == [2, None, 1]
    cast(outcome.kept, CaptionFacts.arrow_schema(), "test")


@pytest.mark.skipif(not CAPTIONS.is_file(), reason="../shared/data/web-captions-10000.parquet is not there")
def test_real_captions_stay_in_range() -> None:
    outcome = stage_on(pq.read_table(CAPTIONS)["caption"].to_pylist())
    table = cast(outcome.kept, CaptionFacts.arrow_schema(), "test").to_pandas()
    assert len(table) >= 9_990
    assert table["repeated_share"].between(0, 1).all()
    assert table["nonletter_share"].between(0, 1).all()
    assert (table["caption_words"] <= table["caption_chars"]).all()
    assert table["caption_words"].median() > 5


def test_a_megabyte_of_one_word_is_one_word() -> None:
    assert caption_facts("a" * 1_000_000)[:2] == (1_000_000, 1)
