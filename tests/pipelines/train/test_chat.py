"""The template that is saved: strings as in training, and the lists that transformers' processors hand over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from pipelines.train.chat import set_template, with_lists
from pipelines.train.models import Built
from pipelines.train.save import save_model
from tests.pipelines.train.parts import CHATML, picture

STRINGS = [
    {"role": "user", "content": "<image>\nwhat is left ?"},
    {"role": "assistant", "content": "a ball"},
    {"role": "user", "content": "red ?"},
]
LISTS: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is left ?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "a ball"}]},
    {"role": "user", "content": "red ?"},
]
RENDERED = (
    "<|im_start|>user\n<image>\nwhat is left ?<|im_end|>\n<|im_start|>assistant\na ball<|im_end|>\n"
    "<|im_start|>user\nred ?<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.mark.parametrize("messages", [STRINGS, LISTS], ids=["strings", "lists"])
def test_a_saved_model_renders_both(builder: Callable[..., Built], tmp_path: Path, messages: Any) -> None:
    save_model(builder(), tmp_path / "model")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == RENDERED
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.apply_chat_template(STRINGS, tokenize=False, add_generation_prompt=True) == RENDERED


def test_a_conversation_with_its_picture_goes_in_at_once(builder: Callable[..., Built]) -> None:
    built = builder()
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "what is left ?"}],
        }
    ]
    inputs = built.processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
    assert int((inputs["input_ids"] == built.core.config.image_token_index).sum()) == 16
    built.model(**inputs)


def test_the_template_that_was_trained_with_is_saved(builder: Callable[..., Built], tmp_path: Path) -> None:
    built = builder()
    set_template(built.processor, "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}")
    save_model(built, tmp_path / "model")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    assert processor.apply_chat_template(LISTS) == "user: <image>\nwhat is left ?\nassistant: a ball\nuser: red ?\n"


def test_words_of_the_template_language_in_an_image_token_stay_words() -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = with_lists("{{ messages[0]['content'] }}", "it's \\ {{ 1 }}")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "{{ 2 }}"}]}]
    assert ImmutableSandboxedEnvironment().from_string(made).render(messages=messages) == "it's \\ {{ 1 }}\n{{ 2 }}"


def test_twice_is_once() -> None:
    once = with_lists(CHATML, "<image>")
    assert once != CHATML and with_lists(once, "<image>") == once
