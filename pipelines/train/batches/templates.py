"""Chat templates by name, for tokenizers that bring none. Jinja as transformers runs it (sandboxed)."""

_BOS = "{% if bos_token is defined %}{{ bos_token }}{% endif %}"

VICUNA = (
    _BOS + "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + ' ' }}"
    "{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'] }}"
    "{% else %}{{ ' ASSISTANT: ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
"""Vicuna 1.1, as LLaVA-1.5 uses it (haotian-liu/LLaVA, llava/conversation.py, conv_vicuna_v1), with a system prompt
only where one is given."""

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""OpenAI's chat markup language, as Qwen and SmolLM2 have it, without their default system prompts."""

PLAIN = (
    _BOS + "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
)
"""Picture, then caption: LLaVA's projector alignment (llava/train/train.py, preprocess_plain), which ends a caption
with a newline; here the end-of-sequence token ends it, as a tokenizer may merge a newline with what comes before."""

NAMED = {"vicuna": VICUNA, "chatml": CHATML, "plain": PLAIN}
DEFAULT = "vicuna"
WITH_EOS = frozenset({"vicuna", "plain"})
"""Those that write `eos_token`."""
