"""Chat templates: what is learnt is the answers and their ends, whatever the template and the tokenizer."""

import numpy as np
import pytest

from pipelines.train.batches import templates
from pipelines.train.batches.encode import IGNORED, Tokens
from pipelines.train.batches.talks import PICTURE, Said
from pipelines.train.batches.template import Mismatch, Template
from schemas.errors import WrongRequest
from schemas.train_batch import BatchConfig, TrainReason
from tests.pipelines.train.batches.saying import answers, encoded
from tests.pipelines.train.batches.tokenizers_of import LLAMA3, LLAVA_PARTS, SMOLLM2, VICUNA, tokenizer

MANNERS = ["bytes", "prefix", "llama", "legacy"]
TEMPLATES = {
    "llama3": (LLAMA3, "<|eot_id|>"),
    "smollm2": (SMOLLM2, "<|im_end|>"),
    "vicuna": (VICUNA, "</s>"),
    "parts": (LLAVA_PARTS, "</s>"),
    "default": (None, "</s>"),
    "chatml": (templates.CHATML, "<|im_end|>"),
    "plain": (templates.PLAIN, "</s>"),
}
TURNS = [
    Said("user", (PICTURE, "\n", "how many squares are there?")),
    Said("assistant", ("There are three.",)),
    Said("user", ("what colour?",)),
    Said("assistant", ("blue\n\nand “grün” 🎉 <b>",)),
]


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_answers_and_their_ends_are_learnt(manner: str, name: str) -> None:
    template, end = TEMPLATES[name]
    made = tokenizer(manner, template)
    example = encoded(made, "how many?", "There are three.", "what colour?", "blue\n\nand “grün” 🎉 <b>")
    read = [text.strip() for text in answers(made, example)]
    assert read == [f"There are three.{end}", f"blue\n\nand “grün” 🎉 <b>{end}"]
    learnt = example.labels != IGNORED
    assert example.ids[learnt].tolist() == example.labels[learnt].tolist()


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_before_an_answer_are_the_tokens_of_its_prompt(manner: str, name: str) -> None:
    """What transformers' own apply_chat_template gives a model to go on from; and, for these words, the whole."""
    made = tokenizer(manner, TEMPLATES[name][0])
    template = Template(made, BatchConfig())
    found = Tokens(made, "<image>", template.text).encode(template.fill(TURNS))
    prompt = made(template.prompt(TURNS[:1]), add_special_tokens=False)["input_ids"]
    assert found.ids[: len(prompt)].tolist() == prompt
    assert found.labels[len(prompt)] != IGNORED
    assert np.all(found.labels[: len(prompt)] == IGNORED)
    whole = made(template.fill(TURNS).text, add_special_tokens=False)["input_ids"]
    assert found.ids.tolist() == whole


def test_generation_blocks_and_rendering_the_first_turns_agree() -> None:
    tagged = templates.CHATML
    plain = tagged.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    assert plain != tagged
    found = [Template(tokenizer(template=text), BatchConfig()).fill(TURNS) for text in (tagged, plain)]
    assert found[0].learnt == found[1].learnt
    assert found[0].text == found[1].text


def test_transformers_own_mask_is_the_same() -> None:
    made = tokenizer(template=templates.CHATML)
    messages = [{"role": "user", "content": "<image>\nhow many?"}, {"role": "assistant", "content": "There are three."}]
    theirs = made.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    example = encoded(made, "how many?", "There are three.", image_tokens=1)
    assert example.ids.tolist() == theirs["input_ids"]
    assert (example.labels != IGNORED).astype(int).tolist() == theirs["assistant_masks"]


def test_a_list_of_parts_shows_the_pictures_where_the_template_puts_them() -> None:
    made = tokenizer(template=LLAVA_PARTS)
    turns = [Said("user", ("left: ", PICTURE, " right: ", PICTURE, "?")), Said("assistant", ("yes",))]
    assert (
        Template(made, BatchConfig()).fill(turns).text == "USER: <image>\n<image>\nleft:   right:  ? ASSISTANT: yes</s>"
    )


UNSTABLE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{{ message['content'] }}"
    "{% if not loop.last and message['role'] == 'assistant' %} (earlier){% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Earlier answers are rendered otherwise than the last: Qwen 3 takes their thoughts out."""


def test_a_template_that_is_not_stable_is_a_rejection() -> None:
    made = tokenizer(template=UNSTABLE)
    assert answers(made, encoded(made, "how many?", "three")) == ["three<|im_end|>"]
    found = encoded(made, "how many?", "three", "what colour?", "blue")
    assert found.reason == TrainReason.template_mismatch
    assert "answer 0" in found.detail


def test_a_template_that_changes_the_words_is_a_rejection() -> None:
    """The rest of an answer after `</think>`, as templates for thinking models do."""
    template = templates.CHATML.replace("message['content']", "message['content'].split('</think>')[-1]")
    made = tokenizer(template=template)
    assert answers(made, encoded(made, "how many?", "three")) == ["three<|im_end|>"]
    assert encoded(made, "how many?", "I count</think>three").reason == TrainReason.template_mismatch


def test_a_template_that_refuses_is_a_rejection() -> None:
    refusing = "{% if messages | length > 2 %}{{ raise_exception('one question only') }}{% endif %}" + templates.CHATML
    found = encoded(tokenizer(template=refusing), "how many?", "three", "what colour?", "blue")
    assert found.reason == TrainReason.template_mismatch
    assert "one question only" in found.detail


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m['role'] }}\n{% endfor %}", "leaves out words"),
        ("{% for m in messages %}{{ m['content'] }}\n{{ m['content'] }}{% endfor %}", "repeats them"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "never learn to stop"),
        ("{% for m in messages %}{{ m['content'] | upper }}</s>{% endfor %}", "changes the words"),
        ("{{ raise_exception('no') }}", "refuses"),
        ("{% for m in messages %}{{ nothing + m['content'] }}{% endfor %}", "refuses"),
        ("{{ messages | length }}{% for m in messages %}{{ m['content'] }}</s>{% endfor %}", "rendered otherwise"),
    ],
)
def test_a_template_that_cannot_be_trained_on_is_refused_before_training(template: str, said: str) -> None:
    with pytest.raises(WrongRequest, match=f"{said}.*choose another batch.template"):
        Template(tokenizer(template=template), BatchConfig())


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(WrongRequest, match="'alpaca' is no template"):
        Template(tokenizer(), BatchConfig(template="alpaca"))


def test_a_template_that_ends_with_eos_needs_one() -> None:
    with pytest.raises(WrongRequest, match=r"set tokenizer\.eos_token"):
        Template(tokenizer(eos_token=None), BatchConfig())


def test_todays_date_decides_no_token() -> None:
    dated = "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    made = tokenizer(template="{{ '' }}" + dated + "{{ date_string }}" + templates.CHATML)
    with pytest.raises(WrongRequest, match="date_string"):
        Template(made, BatchConfig())
    fixed = BatchConfig(template_variables={"date_string": "26 Jul 2024"})
    assert Template(made, fixed).fill(TURNS).text.startswith("26 Jul 2024<|im_start|>user")


def test_the_system_prompt_comes_first_and_is_not_learnt() -> None:
    made = tokenizer(template=SMOLLM2)
    example = encoded(made, "how many?", "three", config=BatchConfig(system="Be brief."))
    assert made.decode(example.ids).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>")
    assert answers(made, example) == ["three<|im_end|>"]


def test_words_that_look_like_our_marks_stay_words() -> None:
    made = tokenizer(template=templates.CHATML)
    example = encoded(made, "\ue0001.0\ue001", "\ue0000.0\ue001 three")
    assert answers(made, example) == ["\ue0000.0\ue001 three<|im_end|>"]


def test_mismatches_are_remembered_by_shape() -> None:
    template = Template(tokenizer(template=UNSTABLE), BatchConfig())
    for _ in range(2):
        with pytest.raises(Mismatch, match="answer 0"):
            template.fill(TURNS)
