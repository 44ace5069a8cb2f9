"""Chat templates for a model that is saved: of a text model's template, one that also takes transformers' lists.

A text model's template adds a turn's content to a string. transformers' processors and pipelines hand over lists of
{"type": "image"} and {"type": "text", "text": …} instead. What is put before the template turns such a list into the
string that was trained on, `<image>` and a new line for a picture; strings pass as they are.
"""

from typing import Any

_FIRST = "{#- lists of pictures and texts as one string -#}"
_REST = """\
{%- set flat = namespace(messages=[]) -%}
{%- for message in messages -%}
  {%- if message['content'] is string or message['content'] is none -%}
    {%- set flat.messages = flat.messages + [message] -%}
  {%- else -%}
    {%- set said = namespace(text='') -%}
    {%- for part in message['content'] -%}
      {%- set said.text = said.text + (IMAGE if part['type'] == 'image' else part['text']) -%}
    {%- endfor -%}
    {%- set flat.messages = flat.messages + [dict(message, content=said.text)] -%}
  {%- endif -%}
{%- endfor -%}
{%- set messages = flat.messages -%}
"""


def with_lists(template: str, image_token: str) -> str:
    """A template that takes lists, too; one that already begins so is given back as it is."""
    if template.startswith(_FIRST):
        return template
    quoted = image_token.replace("\\", "\\\\").replace("'", "\\'")
    return _FIRST + _REST.replace("IMAGE", f"'{quoted}\\n'") + template


def set_template(processor: Any, template: str | None) -> None:
    """What processor and tokenizer render conversations with, and save: the template that was trained with."""
    processor.tokenizer.chat_template = template
    processor.chat_template = with_lists(template, processor.image_token) if template else None
