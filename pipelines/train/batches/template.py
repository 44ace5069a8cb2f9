"""Turns → the text of a chat template, in pieces of which each is known: template, words, picture; learnt or not.

The template is rendered once per shape of conversation, with marks in the place of the words, so that words cannot be
taken for anything else. Where the answers lie comes from the template's `{% generation %}` blocks, or else from
rendering the first turns alone: the rendering of the turns before an answer, with the generation prompt, and that of
the turns up to it must each be the beginning of the whole. An answer is learnt from where the generation prompt ends,
as a model goes on from there, to the end of its turn (`<|im_end|>`, `</s>`), without the white space after that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from pipelines.train.batches import templates
from pipelines.train.batches.talks import PICTURE, Said
from schemas.conversation import Role
from schemas.errors import WrongRequest
from schemas.train_batch import BatchConfig

_MARK = "\ue000{}.{}\ue001"  # private use: no template writes it
_MARKS = re.compile("\ue000(\\d+)\\.(\\d+)\ue001")
_TAG = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_SHAPES_KEPT = 1024
_REMEDY = "choose another batch.template: null, vicuna, chatml, plain, or a Jinja chat template"


class Mismatch(ValueError):
    """The template does not render this conversation turn by turn. The message is one short line."""


class Piece(NamedTuple):
    """A stretch of a rendering: the template's own `text`, or (text None) the words of a turn's chunk."""

    text: str | None
    turn: int
    chunk: int
    learnt: bool


@dataclass(slots=True)
class Filled:
    """A conversation as text."""

    text: str
    own: list[tuple[int, int]]
    """Stretches that the template wrote, or that stand for a picture: only here a control token is one."""
    learnt: list[tuple[int, int]]
    """Of each answer, in order."""


class Template:
    """A tokenizer's chat template, or a named one."""

    def __init__(self, tokenizer: Any, config: BatchConfig) -> None:
        """Raises WrongRequest for a template that does not exist, has no place for words, or no end of turn."""
        self._tokenizer, self._system = tokenizer, config.system
        self._variables, self._image = config.template_variables, config.image_token
        self.text = _text(tokenizer, config)
        self._tagged = _TAG.search(self.text) is not None
        self._layouts: dict[Any, list[Piece] | Mismatch] = {}
        self._parts = False
        question = Said(Role.user, (PICTURE, "\n", "a"))
        probe = [question, Said(Role.assistant, ("b",))]
        try:
            if not self._takes_strings(probe):
                self._parts = True
            self.fill(probe)
        except Mismatch as error:
            raise WrongRequest(f"the chat template cannot be trained on: {error}", _REMEDY) from error

    def fill(self, turns: Sequence[Said]) -> Filled:
        """Raises Mismatch where the template renders something else than the turns one after the other."""
        out = self._filled(self._layout(turns), turns)
        if self._render(self._messages(turns, None)) != out.text:
            raise Mismatch("the template changes the words, or what is around them")
        return out

    def prompt(self, turns: Sequence[Said]) -> str:
        """What a model is given to answer the last question."""
        return self._render(self._messages(turns, None), prompt=True)

    # ------------------------------------------------------------------ pieces

    def _filled(self, layout: list[Piece], turns: Sequence[Said]) -> Filled:
        texts: list[str] = []
        out, at = Filled("", [], []), 0
        learning = False
        for piece in layout:
            for words, own in self._words(piece, turns):
                if own:
                    out.own.append((at, at + len(words)))
                if piece.learnt and learning:
                    out.learnt[-1] = (out.learnt[-1][0], at + len(words))
                elif piece.learnt:
                    out.learnt.append((at, at + len(words)))
                learning = piece.learnt
                texts.append(words)
                at += len(words)
        out.text = "".join(texts)
        return out

    def _words(self, piece: Piece, turns: Sequence[Said]) -> list[tuple[str, bool]]:
        """(text, whether it is the template's own)."""
        if piece.text is not None:
            return [(piece.text, True)]
        chunks = self._chunks(turns[piece.turn])
        shown = [chunks[piece.chunk]] if self._parts else chunks
        return [(self._image, True) if chunk is None else (chunk, False) for chunk in shown]

    def _chunks(self, turn: Said) -> "list[str | None]":
        """With a list of parts, what lies between a picture and the words is the template's to write."""
        return [chunk for chunk in turn.chunks if not (self._parts and chunk == "\n")]

    def _layout(self, turns: Sequence[Said]) -> list[Piece]:
        shape = tuple((t.role, tuple(c is PICTURE for c in self._chunks(t)) if self._parts else ()) for t in turns)
        found = self._layouts.get(shape)
        if found is None:
            if len(self._layouts) >= _SHAPES_KEPT:
                self._layouts.clear()
            try:
                found = self._analysed(turns)
            except Mismatch as error:
                found = error
            self._layouts[shape] = found
        if isinstance(found, Mismatch):
            raise Mismatch(*found.args)
        return found

    def _analysed(self, turns: Sequence[Said]) -> list[Piece]:
        messages = self._messages(turns, _MARK)
        whole = self._render(messages)
        marks = [(m.start(), m.end(), int(m[1]), int(m[2])) for m in _MARKS.finditer(whole)]
        expected = [(i, j) for i, turn in enumerate(turns) for j in self._marked(turn)]
        if [mark[2:] for mark in marks] != expected:
            raise Mismatch("the template leaves out words, repeats them, or has them in another order")
        learnt = self._learnt(turns, messages, whole, marks)
        cuts = sorted({0, len(whole), *(x for mark in marks for x in mark[:2]), *(x for span in learnt for x in span)})
        of = {mark[0]: mark for mark in marks}
        out: list[Piece] = []
        for start, stop in pairwise(cuts):
            inside = any(a <= start and stop <= b for a, b in learnt)
            _, _, turn, chunk = of.get(start, (0, 0, -1, -1))
            out.append(Piece(None if start in of else whole[start:stop], turn, chunk, inside))
        return out

    def _learnt(
        self, turns: Sequence[Said], messages: list[Any], whole: str, marks: list[Any]
    ) -> list[tuple[int, int]]:
        """Of each answer, where it is learnt."""
        answers = [i for i, turn in enumerate(turns) if turn.role == Role.assistant]
        tagged = self._generated(messages) if self._tagged else None
        if tagged is not None and len(tagged) != len(answers):
            raise Mismatch(f"{len(tagged)} generation blocks for {len(answers)} answers")
        shift, out = len(messages) - len(turns), list[tuple[int, int]]()
        for n, i in enumerate(answers):
            first = min(a for a, _, turn, _ in marks if turn == i)
            last = max(b for _, b, turn, _ in marks if turn == i)
            before = self._render(messages[: i + shift], prompt=True)
            start, stop = (len(before), -1) if tagged is None else tagged[n]
            if tagged is None:
                after = self._render(messages[: i + shift + 1])
                if not (whole.startswith(before) and whole.startswith(after)):
                    raise Mismatch(f"what comes before or up to answer {n} is rendered otherwise in the whole")
                stop = len(after)
            elif whole.startswith(before) and len(before) < start and not whole[len(before) : start].strip():
                start = len(before)
            if not (start <= first and last <= stop) or _MARKS.search(whole, last, stop):
                raise Mismatch(f"answer {n} lies outside its turn")
            end = whole[last:stop]
            if not end:
                raise Mismatch("an answer has no end, so that a model would never learn to stop")
            start = start if not whole[start:first].strip() else first
            out.append((start, last + len(end.rstrip() or end)))
        return out

    # ------------------------------------------------------------------ rendering

    def _marked(self, turn: Said) -> list[int]:
        return [j for j, chunk in enumerate(self._chunks(turn)) if chunk is not PICTURE] if self._parts else [0]

    def _takes_strings(self, turns: list[Said]) -> bool:
        try:
            whole = self._render(self._messages(turns, _MARK))
        except Mismatch:
            return False
        return [int(m[1]) for m in _MARKS.finditer(whole)] == list(range(len(turns)))

    def _messages(self, turns: Sequence[Said], mark: str | None) -> list[dict[str, Any]]:
        """For the template; `mark`: in the place of the words."""
        out = [] if self._system is None else [self._message("system", [self._system])]
        for i, turn in enumerate(turns):
            chunks = self._chunks(turn)
            if mark is not None and self._parts:
                chunks = [chunk if chunk is PICTURE else mark.format(i, j) for j, chunk in enumerate(chunks)]
            elif mark is not None:
                chunks = [mark.format(i, 0)]
            out.append(self._message(turn.role, chunks))
        return out

    def _message(self, role: str, chunks: Sequence[str | None]) -> dict[str, Any]:
        if not self._parts:
            return {"role": str(role), "content": "".join(self._image if c is None else c for c in chunks)}
        parts = [{"type": "image"} if c is PICTURE else {"type": "text", "text": c} for c in chunks]
        return {"role": str(role), "content": parts}

    def _render(self, messages: list[dict[str, Any]], prompt: bool = False) -> str:
        from jinja2 import TemplateError

        settings: dict[str, Any] = {"tokenize": False, "add_generation_prompt": prompt, **self._variables}
        try:
            return self._tokenizer.apply_chat_template(messages, chat_template=self.text, **settings)
        except (TemplateError, TypeError) as error:  # a template's own refusal, or it adds a list to a string
            raise Mismatch(f"the template refuses: {' '.join(str(error).split())[:120]}") from error

    def _generated(self, messages: list[dict[str, Any]]) -> list[tuple[int, int]]:
        """What lies in the template's generation blocks."""
        from transformers.utils.chat_template_utils import render_jinja_template

        variables = {**self._tokenizer.special_tokens_map, **self._variables}
        rendered: Any = render_jinja_template(
            [messages], chat_template=self.text, return_assistant_tokens_mask=True, **variables
        )
        return rendered[1][0]


def _text(tokenizer: Any, config: BatchConfig) -> str:
    name = config.template
    text = getattr(tokenizer, "chat_template", None) if name is None else name
    if not text:
        name, text = templates.DEFAULT, templates.NAMED[templates.DEFAULT]
    elif name in templates.NAMED:
        text = templates.NAMED[name]
    if not isinstance(text, str) or "{" not in text:
        raise WrongRequest(f"batch.template: {text!r} is no template", _REMEDY)
    if name in templates.WITH_EOS and tokenizer.eos_token is None:
        raise WrongRequest(
            f"template {name} ends an answer with eos_token, which the tokenizer does not have",
            "set tokenizer.eos_token, or choose another batch.template",
        )
    if "strftime_now" in text and "date_string" not in config.template_variables:
        raise WrongRequest(
            "the chat template may write today's date, which would then decide tokens",
            "fix it: batch.template_variables: {date_string: 26 Jul 2024}",
        )
    return text
