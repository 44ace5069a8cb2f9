"""From a sample's words to conversations: one reason for each that is not trained on."""

import pytest

from pipelines.train.batches.talks import PICTURE, Said, Talk
from schemas.train_batch import BatchConfig, TextFrom, TrainReason
from tests.builders import sid
from tests.pipelines.talking import talk
from tests.pipelines.train.batches.saying import read, reason

CAPTION = BatchConfig(text=TextFrom.caption)


def test_the_samples_picture_comes_first() -> None:
    (found,) = read(talk("how many? ", " three\n"), image=b"pixels")
    assert found.turns == (Said("user", (PICTURE, "\n", "how many?")), Said("assistant", ("three",)))
    assert found.pictures == (b"pixels",)


def test_several_conversations_are_several_examples_each_with_its_number() -> None:
    found = read(talk("a", "b"), talk("c", "d", kind="other"), talk("e", "f"), config=BatchConfig(kinds=["vqa"]))
    assert [(f.number, f.kind, isinstance(f, Talk)) for f in found] == [
        (0, "vqa", True),
        (1, "other", False),
        (2, "vqa", True),
    ]
    assert found[1].reason == TrainReason.other_kind


def test_pictures_of_other_samples_stand_where_the_markers_are() -> None:
    other = "f" * 32
    several = talk("<image>\nfirst, then <image>", "same", images=[other, sid(0)])
    (found,) = read(several, find=lambda source, sample_id: b"other" if sample_id == other else None, image=b"own")
    assert found.turns[0].chunks == (PICTURE, "\nfirst, then ", PICTURE)
    assert found.pictures == (b"other", b"own")


def test_without_pictures_of_its_own_it_is_words_alone() -> None:
    (found,) = read(talk("a", "b", images=[]))
    assert found.turns[0].chunks == ("a",)
    assert found.pictures == ()


def test_a_marker_in_the_words_about_one_picture_is_words() -> None:
    (found,) = read(talk("what is <image> in HTML?", "no tag, <image> is"))
    assert found.turns[0].chunks == (PICTURE, "\n", "what is <image> in HTML?")
    assert found.turns[1].chunks == ("no tag, <image> is",)


@pytest.mark.parametrize(
    ("texts", "more", "why"),
    [
        (("a <image>", "b"), {"images": [sid(0), sid(1)]}, TrainReason.placeholder_count),
        (("a <image> <image>", "b"), {"images": [sid(0)]}, TrainReason.placeholder_count),
        (("a <image>", "b"), {"images": []}, TrainReason.placeholder_count),
        (("a <image>", "b"), {"images": [sid(7)]}, TrainReason.picture_missing),
        (("a", "b"), {"rejected": "c"}, TrainReason.pair),
        (("a",), {}, TrainReason.role_order),
        (("a", "b", "c"), {}, TrainReason.role_order),
        ((), {}, TrainReason.role_order),
        (("a", " \n"), {}, TrainReason.empty_turn),
        (("a", "b", "", "d"), {}, TrainReason.empty_turn),
        (("", "b"), {"images": []}, TrainReason.empty_turn),
    ],
)
def test_why_a_conversation_is_not_trained_on(
    texts: tuple[str, ...], more: dict[str, object], why: TrainReason
) -> None:
    assert reason(talk(*texts, **more)) == why


def test_a_question_that_is_the_picture_alone_is_one() -> None:
    (found,) = read(talk("", "a red circle"))
    assert found.turns[0].chunks == (PICTURE,)


def test_roles_that_are_unknown_or_out_of_order() -> None:
    said = talk("a", "b")
    system = said.model_copy(update={"turns": [said.turns[0].model_copy(update={"role": "system"}), *said.turns]})
    assert reason(system) == TrainReason.unknown_role
    backwards = said.model_copy(update={"turns": said.turns[::-1]})
    assert reason(backwards) == TrainReason.role_order


@pytest.mark.parametrize(
    "document",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b'{"conversations": 3}',
        b'{"conversations": ["a"]}',
        b'{"conversations": [{"kind": "vqa"}]}',
    ],
)
def test_json_that_no_build_writes(document: bytes | None) -> None:
    assert reason(json=document) == TrainReason.bad_json


def test_a_sample_without_conversations_is_counted() -> None:
    assert reason() == TrainReason.no_conversation
    assert reason(json=b"{}") == TrainReason.no_conversation


def test_a_missing_picture() -> None:
    assert reason(talk("a", "b"), image=None) == TrainReason.picture_missing
    assert reason(image=None, config=CAPTION) == TrainReason.picture_missing


def test_a_caption_answers_its_picture() -> None:
    (found,) = read(txt=b" a red circle\n", config=CAPTION)
    assert found.turns == (Said("user", (PICTURE,)), Said("assistant", ("a red circle",)))
    assert reason(txt=b" \n", config=CAPTION) == TrainReason.no_caption
    assert reason(txt=None, config=CAPTION) == TrainReason.no_caption


def test_the_question_before_a_caption_is_that_of_the_exports() -> None:
    from pipelines.exports.read import Sample
    from pipelines.exports.talks import caption_talk

    (found,) = read(config=BatchConfig(text=TextFrom.caption, ask=True))
    theirs = caption_talk(Sample(sid(0), "train", "train-000000", {}, "caption 0", None, False))
    assert "".join("<image>" if c is None else c for c in found.turns[0].chunks) == theirs.turns[0][1]
