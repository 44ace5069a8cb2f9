"""What captions offer as labels."""

from random import Random

import pytest

from pipelines.sample_web.captions import sentence
from pipelines.sample_web.claims import make_claims
from pipelines.sample_web.scenes import make_scene
from stages.masks.vocabulary import MOST, labels_in, singular


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("Two dogs catching a frisbee on the beach.", ("dog", "frisbee", "beach")),
        ("three small red fire trucks", ("red fire truck", "fire truck", "truck", "fire")),
        ("A picture of black five-pointed stars against a blurred background", ("black star", "star")),
        ("knives, forks and people's plates | stock photo", ("knife", "fork", "person", "plate")),
        ("IMG_1234: red circle", ("red circle", "circle")),
        ("My daughter painted two plus signs yesterday.", ("daughter", "plus sign", "sign", "plus")),
        ("4 green rhombuses #shapes #art #design", ("green rhombus", "rhombus", "shape")),
        ("free clipart 3 violet triangles", ("violet triangle", "triangle")),
        ("red", ()),
        ("", ()),
    ],
)
def test_english_offers_its_noun_phrases(caption: str, labels: tuple[str, ...]) -> None:
    assert labels_in([caption]) == labels


def test_other_languages_offer_their_words_as_written() -> None:
    assert labels_in(["Un chien rouge court sur la plage"]) == ("chien", "rouge", "court", "sur", "plage")
    assert labels_in(["Рыжая собака бежит"]) == ("рыжая", "собака", "бежит")
    assert labels_in(["一只红色的狗在海滩上"]) == ()


def test_captions_of_one_sample_add_up() -> None:
    assert labels_in(["A man with a dog.", None, "A dog on the grass."]) == ("man", "dog", "grass")


def test_a_hostile_caption_offers_no_more_than_others() -> None:
    assert len(labels_in([" ".join(f"the {'a' * (n % 40 + 2)}{chr(97 + n % 26)}" for n in range(100_000))])) == MOST


def test_what_a_scene_of_the_sample_web_holds_is_offered() -> None:
    """Of the words that a caption may have for it, some are the label's own; sizes and frames are never offered."""
    for seed in range(20_700_000, 20_700_300):
        scene = make_scene(seed)
        offered = labels_in([sentence(make_claims(scene, Random(seed)), seed)])
        assert offered
        assert not {"picture", "background", "small", "large", "little", "gallery"} & {
            word for label in offered for word in label.split()
        }


@pytest.mark.parametrize(
    ("many", "one"),
    [("circles", "circle"), ("crosses", "cross"), ("houses", "house"), ("buses", "bus"), ("rhombuses", "rhombus"),
     ("berries", "berry"), ("movies", "movie"), ("ties", "tie"), ("children", "child"), ("scissors", "scissors"),
     ("glass", "glass"), ("sheep", "sheep"), ("tomatoes", "tomato"), ("bus", "bus"), ("tennis", "tennis")],
)  # fmt: skip
def test_labels_are_of_one_thing(many: str, one: str) -> None:
    assert singular(many) == one
