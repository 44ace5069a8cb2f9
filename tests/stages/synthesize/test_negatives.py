"""Absent objects: never one that may be there, chosen as asked; statistics that merge."""

from collections import Counter
from random import Random

import pytest

from schemas.errors import WrongData, WrongRequest
from schemas.sample import Box
from schemas.synthesize import How
from stages.synthesize.context import Context
from stages.synthesize.negatives import POOL, Statistics, absent

PETS = frozenset({"dog", "cat", "bird", "fish", "horse", "hot dog", "sofa"})
SETS = [["dog", "sofa"], ["dog", "sofa", "sofa"], ["dog", "cat"], ["bird"], ["bird"], ["bird"], ["Bird", None, " "]]


def context(*labels: str | None, vocabulary: frozenset[str] = PETS) -> Context:
    boxes = tuple(Box(label=label, x=10 + 30 * i, y=10, w=20, h=20) for i, label in enumerate(labels))
    return Context("s", 400, 300, boxes=boxes, vocabulary=vocabulary)


def asked(seen: Context, how: How, n: int = 9, statistics: Statistics | None = None) -> set[str]:
    return set(absent(seen, statistics, Random("x"), how, n))


def test_labels_of_boxes_are_not_absent() -> None:
    assert asked(context("Dog", "cat"), How.random) == {"bird", "fish", "horse", "sofa"}


def test_a_label_that_shares_its_word_with_a_box_is_left_out() -> None:
    assert "dog" not in asked(context("hot dog"), How.random)
    assert "hot dog" not in asked(context("dog"), How.random)


def test_a_box_without_a_label_may_be_anything() -> None:
    assert asked(context("dog", None), How.random) == set()


def test_without_vocabulary_or_without_boxes_nothing_is_known_to_be_absent() -> None:
    assert asked(context("dog", vocabulary=frozenset()), How.random) == set()
    assert asked(Context("s", 400, 300, boxes=None, vocabulary=PETS), How.random) == set()


def test_everything_is_absent_where_nothing_was_found() -> None:
    assert asked(context(), How.random) == PETS


def test_a_label_too_small_to_ask_about_is_still_there() -> None:
    tiny = Context("s", 400, 300, boxes=(Box(label="dog", x=9, y=9, w=1, h=1),), vocabulary=PETS)
    assert "dog" not in asked(tiny, How.random)


def test_popular_asks_for_the_most_frequent_first() -> None:
    assert Statistics.of(SETS).popular() == ["bird", "dog", "sofa", "cat"]
    seen, many = context("dog"), [[f"thing {i:02}"] * 1 for i in range(40) for _ in range(40 - i)]
    vocabulary = frozenset({"dog"} | {f"thing {i:02}" for i in range(40)})
    seen = context("dog", vocabulary=vocabulary)
    drawn = Counter(
        label for k in range(200) for label in absent(seen, Statistics.of(many), Random(str(k)), How.popular, 2)
    )
    assert set(drawn) == {f"thing {i:02}" for i in range(POOL)}


def test_adversarial_asks_only_for_what_occurs_with_what_is_there() -> None:
    assert asked(context("dog"), How.adversarial, statistics=Statistics.of(SETS)) == {"sofa", "cat"}
    assert Statistics.of(SETS).companions(["DOG"]) == ["sofa", "cat"]
    assert asked(context("bird"), How.adversarial, statistics=Statistics.of(SETS)) == set()


def test_popular_without_statistics_is_a_wrong_request() -> None:
    with pytest.raises(WrongRequest, match="popular negatives need label statistics"):
        absent(context("dog"), None, Random("x"), How.popular, 1)


def test_random_draws_every_absent_label_about_as_often() -> None:
    drawn = Counter(absent(context("dog"), None, Random(str(k)), How.random, 1)[0] for k in range(1000))
    assert set(drawn) == PETS - {"dog", "hot dog"}
    assert min(drawn.values()) > 150


def test_statistics_count_samples_not_boxes() -> None:
    found = Statistics.of(SETS)
    assert found.samples == 7
    assert found.labels == {"dog": 3, "sofa": 2, "cat": 1, "bird": 4}
    assert found.together == {"dog": {"sofa": 2, "cat": 1}, "sofa": {"dog": 2}, "cat": {"dog": 1}}


def test_a_vocabulary_bounds_what_is_counted() -> None:
    assert Statistics.of(SETS, ["Dog", "cat"]).labels == {"dog": 3, "cat": 1}


def test_merged_parts_give_the_bytes_of_the_whole() -> None:
    parts = [Statistics.of(SETS[:2]), Statistics.of(SETS[2:5]), Statistics.of(SETS[5:])]
    whole = Statistics.of(SETS).to_json()
    assert parts[0].merged(parts[1]).merged(parts[2]).to_json() == whole
    assert parts[2].merged(parts[0].merged(parts[1])).to_json() == whole
    assert Statistics.from_json(whole) == Statistics.of(SETS)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"samples":1}', '{"samples":1,"labels":{"a":-1},"together":{}}',
     '{"samples":1,"labels":{"a":true},"together":{}}', '{"samples":1,"labels":{},"together":[]}',
     '{"samples":1,"labels":{},"together":{"a":1}}'],
)  # fmt: skip
def test_a_damaged_file_is_wrong_data(text: str) -> None:
    with pytest.raises(WrongData, match="build it again"):
        Statistics.from_json(text)
