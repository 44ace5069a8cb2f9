"""English for labels."""

import pytest

from stages.synthesize.words import a, counted, plural, sentence, spelled, the, verb


@pytest.mark.parametrize(
    ("label", "many"),
    [
        ("person", "people"), ("bicycle", "bicycles"), ("bus", "buses"), ("bench", "benches"), ("sheep", "sheep"),
        ("knife", "knives"), ("mouse", "mice"), ("hot dog", "hot dogs"), ("wine glass", "wine glasses"), ("tv", "TVs"),
        ("toothbrush", "toothbrushes"), ("scissors", "pairs of scissors"), ("skis", "pairs of skis"), ("fish", "fish"),
        ("broccoli", "broccoli"), ("wolf", "wolves"), ("lady", "ladies"), ("monkey", "monkeys"), ("box", "boxes"),
        ("bunch of bananas", "bunches of bananas"), ("man in black", "men in black"), ("red cross", "red crosses"),
        ("SUV", "SUVs"), ("cactus", "cactuses"), ("people", "people"), ("flowers", "flowers"), ("Dog", "dogs"),
    ],
)  # fmt: skip
def test_plural(label: str, many: str) -> None:
    assert plural(label) == many


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("dog", "a dog"), ("umbrella", "an umbrella"), ("orange", "an orange"), ("hourglass", "an hourglass"),
        ("unicycle", "a unicycle"), ("one-way sign", "a one-way sign"), ("utensil", "a utensil"), ("SUV", "an SUV"),
        ("tv", "a TV"), ("x-ray", "an x-ray"), ("t-shirt", "a t-shirt"), ("18-wheeler", "an 18-wheeler"),
        ("uninvited guest", "an uninvited guest"), ("scissors", "a pair of scissors"), ("water", "some water"),
        ("curtains", "some curtains"), ("bus", "a bus"), ("grass", "some grass"), ("glass", "a glass"),
    ],
)  # fmt: skip
def test_article(label: str, text: str) -> None:
    assert a(label) == text


@pytest.mark.parametrize(("label", "be"), [("dog", "is"), ("scissors", "are"), ("people", "are"), ("water", "is")])
def test_verb(label: str, be: str) -> None:
    assert verb(label) == be


def test_spelling_inside_a_sentence() -> None:
    assert spelled("Human  Face") == "human face"
    assert the("LED tv") == "the LED TV"
    assert sentence("two dogs") == "Two dogs."


def test_numbers_beyond_twelve_are_digits() -> None:
    assert [counted(n) for n in (0, 1, 12, 13)] == ["zero", "one", "twelve", "13"]
