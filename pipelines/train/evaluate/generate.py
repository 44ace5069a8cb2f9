"""Questions → what a model says to them: greedily, in batches padded on the left.

A prompt has the tokens that the model was trained with: the same template, and words that spell a control token stay
words (pipelines/train/batches). A picture that is missing or damaged leaves its question unanswered, and is counted.
The same questions in the same batches give the same answers; a batch of another size may round otherwise.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.train.batches.encode import ControlToken, Tokens
from pipelines.train.batches.talks import PICTURE, Said
from pipelines.train.batches.template import Filled, Mismatch, Template
from pipelines.train.models import Built
from schemas.conversation import Role
from schemas.evaluate import Answer, GenerateConfig, Question, Unanswered
from schemas.train_batch import BatchConfig
from stages.measure.decode import Undecodable, decode

_WORD = "b"


def answers(built: Built, questions: Iterable[Question], config: GenerateConfig | None = None) -> Iterator[Answer]:
    """One for each question, in their order. Raises WrongRequest for a template that does not fit the tokenizer."""
    asker = Asker(built, config or GenerateConfig())
    rest = iter(questions)
    while batch := list(islice(rest, asker.config.batch_size)):
        yield from asker.ask(batch)


@dataclass(frozen=True, slots=True)
class _Prompt:
    ids: np.ndarray
    """int64 (tokens,), pictures expanded."""
    pictures: list[np.ndarray]


class Asker:
    """A model that is asked. It stays where it is, and in the mode (training or not) that it is in."""

    def __init__(self, built: Built, config: GenerateConfig) -> None:
        self.built, self.config = built, config
        tokenizer = built.tokenizer
        own = tokenizer.chat_template or getattr(built.processor, "chat_template", None)
        asked = BatchConfig(
            template=config.template or own,
            template_variables=config.template_variables,
            system=config.system,
            image_token=built.processor.image_token,
        )
        self._template = Template(tokenizer, asked)
        self._tokens = Tokens(tokenizer, asked.image_token, self._template.text)
        self.end = self._end()
        """What ends an answer, as text."""
        self._ends = self._end_tokens()

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """In one batch."""
        prompts = [self._prompt(question) for question in questions]
        asked = [prompt for prompt in prompts if isinstance(prompt, _Prompt)]
        said = iter(self._generated(asked) if asked else [])
        out: list[Answer] = []
        for question, prompt in zip(questions, prompts, strict=True):
            bare = question.model_copy(update={"images": ()})
            if isinstance(prompt, _Prompt):
                text, ended = next(said)
                out.append(Answer(question=bare, text=text, ended=ended))
            else:
                out.append(Answer(question=bare, text="", why=prompt))
        return out

    # ------------------------------------------------------------------ prompts

    def _prompt(self, question: Question) -> _Prompt | Unanswered:
        texts = [asked for asked, _ in question.history] + [question.text]
        if not all(text.strip() or (i == 0 and question.images) for i, text in enumerate(texts)):
            return Unanswered.no_words
        pictures: list[np.ndarray] = []
        for image in question.images:
            found = _picture(image)
            if isinstance(found, Unanswered):
                return found
            pictures.append(found)
        try:
            ids = self._prompt_ids(question)
        except (ControlToken, Mismatch) as error:
            control = isinstance(error, ControlToken)
            return Unanswered.control_token if control else Unanswered.template_mismatch
        try:
            ids = self._expanded(ids, pictures)
        except ValueError:  # transformers' tile arithmetic refuses what is thinner than a patch
            return Unanswered.bad_picture
        most = getattr(self.built.core.config.text_config, "max_position_embeddings", None)
        if most is not None and len(ids) + self.config.max_new_tokens > most:
            return Unanswered.too_long
        return _Prompt(ids, pictures)

    def _prompt_ids(self, question: Question) -> np.ndarray:
        """Tokens up to where an answer would begin; each picture is one."""
        turns: list[Said] = []
        for asked, said in (*question.history, (question.text, _WORD)):
            turns += [Said(Role.user, (asked.strip(),)), Said(Role.assistant, (said.strip(),))]
        shown = tuple(part for _ in question.images for part in (PICTURE, "\n"))
        first = turns[0].chunks
        turns[0] = Said(Role.user, shown[:-1] if shown and first == ("",) else (*shown, *first))  # as in training
        filled = self._template.fill(turns)
        stop = filled.learnt[-1][0]
        own = [(a, min(b, stop)) for a, b in filled.own if a < stop]
        begins = [(a, a) for a, _ in filled.learnt[:-1]]  # in training, text is cut where an answer begins
        return self._tokens.encode(Filled(filled.text[:stop], own, begins)).ids

    def _expanded(self, ids: np.ndarray, pictures: list[np.ndarray]) -> np.ndarray:
        counts = [self.built.image_tokens(*one.shape[:2], alone=len(pictures) == 1) for one in pictures]
        times = np.ones(len(ids), np.int64)
        times[ids == self._tokens.image_id] = counts
        return np.repeat(ids, times)

    def _end(self) -> str:
        filled = self._template.fill([Said(Role.user, ("a",)), Said(Role.assistant, (_WORD,))])
        start, stop = filled.learnt[-1]
        return filled.text[start:stop].partition(_WORD)[2]

    def _end_tokens(self) -> list[int]:
        """Tokens of which each alone ends an answer."""
        tokenizer, known = self.built.tokenizer, self.built.model.generation_config
        found = known.eos_token_id if known is not None and known.eos_token_id is not None else []
        ends = {*(found if isinstance(found, list) else [found]), tokenizer.eos_token_id}
        whole = tokenizer.get_vocab().get(self.end.strip())
        return sorted(int(one) for one in {*ends, whole} if one is not None)

    # ------------------------------------------------------------------ the model

    def _generated(self, prompts: list[_Prompt]) -> list[tuple[str, bool]]:
        """(what is said, whether its turn was ended) of each."""
        import torch

        model, tokenizer = self.built.model, self.built.tokenizer
        place = next(self.built.core.parameters())
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = torch.full((len(prompts), longest), pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt.ids) :] = torch.from_numpy(prompt.ids)
            mask[row, longest - len(prompt.ids) :] = 1
        shown = self.built.pictures([prompt.pictures for prompt in prompts])
        inputs = {"input_ids": ids, "attention_mask": mask, **shown}
        inputs = {name: placed(value, place) for name, value in inputs.items()}
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                out = model.generate(**inputs, **self._greedy(pad))
        finally:
            model.train(training)
        return [self._said(row[longest:].tolist()) for row in out]

    def _greedy(self, pad: int) -> dict[str, Any]:
        """Nothing of the model's own generation settings is left, as a penalty on repetition."""
        from transformers import GenerationConfig

        settings: dict[str, Any] = {"stop_strings": [self.end]} if self._needs_text() else {}
        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            max_new_tokens=self.config.max_new_tokens,
            eos_token_id=self._ends or None,
            pad_token_id=pad,
            use_cache=True,
            **settings,
        )
        return {"generation_config": config, "tokenizer": self.built.tokenizer}

    def _needs_text(self) -> bool:
        """The end of a turn is no single token."""
        return bool(self.end.strip()) and self.end.strip() not in self.built.tokenizer.get_vocab()

    def _said(self, ids: list[int]) -> tuple[str, bool]:
        at = next((i for i, one in enumerate(ids) if one in self._ends), None)
        text = self.built.tokenizer.decode(ids[:at], skip_special_tokens=True)
        if at is None and self._needs_text() and self.end.strip() in text:
            return text.partition(self.end.strip())[0].strip(), True
        return text.strip(), at is not None


def placed(value: Any, like: Any) -> Any:
    """A tensor where the tensor `like` is, in its precision where it is of floats; anything else as it is."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    return value.to(like.device, like.dtype if value.is_floating_point() else None)


def _picture(image: Path | bytes) -> np.ndarray | Unanswered:
    """uint8 RGB (height, width, 3), as shown."""
    if isinstance(image, Path):
        if not image.is_file():
            return Unanswered.missing_picture
        image = image.read_bytes()
    try:
        return np.array(decode(image, None).rgb)  # torch wants to be able to write into it
    except Undecodable:
        return Unanswered.bad_picture
