"""The option that asks CLIP: what fits its picture stays, what does not is dropped, what cannot be judged stays."""

from collections.abc import Iterator

import pytest

from schemas.conversation import Conversation, Turn
from schemas.errors import WrongRequest
from schemas.recipe import ClipConfig
from schemas.synthesize import SynthesizeConfig
from stages.measure.clip import ClipMeasure
from stages.synthesize.fits import Fits, sentences
from stages.synthesize.stage import Synthesize
from stages.synthesize.teacher import Written
from tests.stages.measure.builders import tiny_clip

SAID = "Two dogs run along the beach."


def conversation(*answers: str, images: list[str] | None = None) -> Conversation:
    turns = [
        Turn(role=role, text=text, evidence=[])
        for answer in answers
        for role, text in (("user", "What is there to see here?"), ("assistant", answer))
    ]
    return Conversation(
        kind="detail",
        prompt_version=1,
        teacher="m",
        language="en",
        turns=turns,
        images=images,
        rejected=None,
        planted=None,
        repaired=False,
        usage=None,
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClipMeasure]:
    made = ClipMeasure(ClipConfig(model=tiny_clip(tmp_path_factory.mktemp("clip")), batch_size=2))
    made.open()
    yield made
    made.close()


def test_what_does_not_fit_is_dropped_with_its_score(clip: ClipMeasure) -> None:
    (like,) = clip.text([SAID]).tolist()
    written = [Written([conversation(SAID)]), Written([conversation(SAID)])]
    Fits(clip, 0.5).judge([like, [-x for x in like]], written)
    assert [len(w.conversations) for w in written] == [1, 0]
    (dropped,) = written[1].dropped
    assert (dropped.reason, dropped.evidence) == ("unlike_picture", "clip -1.000 < 0.5")


def test_each_conversation_is_judged_by_its_own_sentences(clip: ClipMeasure) -> None:
    (like,) = clip.text([SAID]).tolist()
    other = conversation("The moon is made of very old cheese.")
    written = [Written([conversation("Two."), other, conversation(SAID)])]
    score = float(clip.text([sentences(other)[0]])[0] @ clip.text([SAID])[0])
    Fits(clip, (1 + score) / 2).judge([like], written)
    assert [c.turns[1].text for c in written[0].conversations] == ["Two.", SAID]


def test_what_cannot_be_judged_stays(clip: ClipMeasure) -> None:
    kept = [conversation("Yes."), conversation(SAID, images=["a", "b"])]
    written = [Written(list(kept)), Written([conversation(SAID)])]
    Fits(clip, 1.0).judge([[0.0] * clip.text([SAID]).shape[1], None], written)
    assert [len(w.conversations) for w in written] == [2, 1]


def test_questions_and_short_answers_are_no_sentences() -> None:
    assert sentences(conversation("Two dogs. They run along the beach! Yes.")) == ["They run along the beach!"]


def test_it_needs_the_measure() -> None:
    with pytest.raises(WrongRequest, match=r"synthesize\.fits needs measure\.clip"):
        Synthesize(SynthesizeConfig(vocabulary=("cat",), fits=0.2))
