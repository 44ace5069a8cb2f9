"""A tiny model of random weights is asked: what it says means nothing, and is the same however it is asked."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipelines.train.batches.encode import Tokens
from pipelines.train.batches.talks import PICTURE, Said
from pipelines.train.batches.template import Template
from pipelines.train.evaluate.generate import Asker, answers
from pipelines.train.models import Built
from schemas.evaluate import GenerateConfig, Question, Unanswered
from schemas.train_batch import BatchConfig
from tests.pipelines.train.parts import CHATML, picture

Builder = Callable[..., Built]
SHORT = GenerateConfig(max_new_tokens=6, batch_size=4)


def png(seed: int = 0, height: int = 40, width: int = 30) -> bytes:
    made = io.BytesIO()
    Image.fromarray(picture(height, width, seed)).save(made, "PNG")
    return made.getvalue()


def question(number: int, text: str = "what is left ?", **more: object) -> Question:
    return Question(**{"id": str(number), "text": text, "images": (png(number),), **more})  # pyright: ignore[reportArgumentType]


def several() -> list[Question]:
    """Of different lengths, with one, no and two pictures, one after a turn."""
    return [
        question(0),
        question(1, "is a red ball left of a green cube in the picture ?"),
        question(2, images=()),
        question(3, "two ?", images=(png(3), png(4, 20, 60))),
        question(4, "red ?", history=(("is a ball in the picture ?", "yes"),)),
    ]


@pytest.fixture
def built(builder: Builder) -> Built:
    return builder()


@pytest.mark.parametrize("family", ["llava", "llava_next", "llava_onevision"])
def test_a_batch_says_what_each_says_alone(builder: Builder, family: str) -> None:
    made = builder(family=family)
    asked = several()
    together = list(answers(made, asked, SHORT.model_copy(update={"batch_size": 5})))
    alone = [one for single in asked for one in answers(made, [single], SHORT)]
    assert [one.text for one in together] == [one.text for one in alone]
    assert all(one.text and one.why is None for one in together) and len({one.text for one in together}) > 1
    assert [one.question.id for one in together] == ["0", "1", "2", "3", "4"]
    assert all(one.question.images == () for one in together)


def test_it_is_what_transformers_own_way_says(built: Built) -> None:
    messages = [
        {"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "what is left ?"}]}
    ]
    inputs = built.processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    out = built.model.generate(**inputs, do_sample=False, max_new_tokens=6)
    expected = built.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    (found,) = answers(built, [question(0)], SHORT)
    assert found.text == expected.strip()


def test_the_picture_matters(built: Built) -> None:
    with torch.no_grad():
        for weight in built.projector.parameters():
            weight.mul_(40)
    said = {one.text for one in answers(built, [question(n) for n in range(8)], SHORT)}
    assert len(said) > 1


def test_pictures_that_cannot_be_shown_leave_questions_unanswered_in_their_place(built: Built, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(png()[:60])
    (tmp_path / "good.png").write_bytes(png(0))
    asked = [
        question(0, images=(tmp_path / "torn.png",)),
        question(1, images=(tmp_path / "good.png",)),
        question(2, images=(tmp_path / "absent.png",)),
        question(3, images=(png(), b"no picture")),
    ]
    found = list(answers(built, asked, SHORT))
    assert [one.why for one in found] == [
        Unanswered.bad_picture, None, Unanswered.missing_picture, Unanswered.bad_picture,
    ]  # fmt: skip
    assert [bool(one.text) for one in found] == [False, True, False, False]
    (alone,) = answers(built, [question(0)], SHORT)
    assert found[1].text == alone.text
    assert all(one.why for one in answers(built, [asked[0]], SHORT))  # a batch of which nothing is left


def test_too_long_for_the_models_positions(built: Built) -> None:
    (found,) = answers(built, [question(0, "red " * 600)], SHORT)
    assert found.why is Unanswered.too_long


def test_words_that_spell_a_picture_stay_words(built: Built) -> None:
    (found,) = answers(built, [question(0, "what is <image> ?")], SHORT)
    assert found.why is None


def test_white_space_around_a_question_is_as_in_training(built: Built) -> None:
    asker = Asker(built, SHORT)
    plain, padded = (asker._prompt_ids(question(0, text)).tolist() for text in ("red ?", " \n red ?\n"))
    assert plain == padded


def test_only_the_first_question_may_be_a_picture_alone(built: Built) -> None:
    alone = question(0, " ")
    after = question(1, "", history=(("red ?", "yes"),))
    nothing = question(2, "", images=())
    found = list(answers(built, [alone, after, nothing], SHORT))
    assert [one.why for one in found] == [None, Unanswered.no_words, Unanswered.no_words]
    asker = Asker(built, SHORT)
    ids = asker._prompt_ids(alone).tolist()
    words = Template(built.tokenizer, BatchConfig())
    trained = Tokens(built.tokenizer, "<image>", words.text).encode(
        words.fill([Said("user", (PICTURE,)), Said("assistant", ("yes",))])
    )
    assert ids == trained.ids[: len(ids)].tolist()


def test_a_template_that_changes_words_leaves_questions_unanswered(built: Built) -> None:
    loud = CHATML.replace("message['content']", "message['content'] | replace('twice', 'two')")
    config = SHORT.model_copy(update={"template": loud})
    found = list(answers(built, [question(0, "red ?"), question(1, "twice ?")], config))
    assert [one.why for one in found] == [None, Unanswered.template_mismatch]


def test_it_stops_where_the_turn_ends(built: Built) -> None:
    (free,) = answers(built, [question(0)], SHORT)
    assert not free.ended
    word = free.text.split()[1]
    template = CHATML.replace("'<|im_end|>\n'", f"' {word}\n'")
    config = SHORT.model_copy(update={"template": template})
    asker = Asker(built, config)
    assert asker.end.strip() == word
    (cut,) = asker.ask([question(0)])
    assert cut.ended and word not in cut.text.split()


def test_an_end_of_several_tokens_stops_too(built: Built) -> None:
    (free,) = answers(built, [question(0)], SHORT)
    pair = " ".join(free.text.split()[1:3])
    asker = Asker(built, SHORT.model_copy(update={"template": CHATML.replace("'<|im_end|>\n'", f"' {pair}\n'")}))
    said = asker._said(built.tokenizer.convert_tokens_to_ids(free.text.split()))
    assert said == (free.text.split()[0], True)


def test_the_models_own_generation_settings_have_no_part(built: Built) -> None:
    (before,) = answers(built, [question(0)], SHORT)
    built.model.generation_config.repetition_penalty = 5.0
    built.model.generation_config.do_sample = True
    built.model.generation_config.temperature = 9.0
    (after,) = answers(built, [question(0)], SHORT)
    assert after.text == before.text


def test_training_goes_on_where_it_was(built: Built) -> None:
    built.model.train()
    list(answers(built, [question(0)], SHORT))
    assert built.model.training


def test_a_prompt_is_the_beginning_of_what_is_trained_on(built: Built) -> None:
    config = BatchConfig()
    template = Template(built.tokenizer, config)
    texts = ["is a ball in the picture ?", "yes", "red or <image> ?", "no"]
    turns = [Said(("user", "assistant")[i % 2], (text,)) for i, text in enumerate(texts)]
    turns[0] = Said("user", (PICTURE, "\n", texts[0]))
    trained = Tokens(built.tokenizer, "<image>", template.text).encode(template.fill(turns))
    prompt = Asker(built, SHORT)._prompt_ids(question(0, texts[2], history=((texts[0], texts[1]),)))
    assert prompt.tolist() == trained.ids[: len(prompt)].tolist()
    assert (trained.labels[len(prompt) :] >= 0).sum() == 2  # the answer and its end
