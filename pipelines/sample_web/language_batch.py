"""Documents as rows of tokens: chats as training has them, with what is in the scene where a picture will stand."""

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.sample_web import language_data
from pipelines.sample_web.language_data import Document, board, square
from pipelines.sample_web.language_files import END, PAD

if TYPE_CHECKING:
    import torch

BOARD = -1
"""Stands in a row of ids where a square of the board does."""
_ASKED, _TOLD, _LISTED = 0.1, 0.5, 0.1
"""Weights of questions, captions and lists in the loss; an answer's is 1."""
_DECIDES = 4.0
"""Weight of an answer's words that say what was looked up, or hang on it: most of a sentence repeats the question."""
DECISIVE = (
    *language_data.COUNTS, "none", "is", "are", "yes", "left", "right", "above", "below", "higher", "lower",
)  # fmt: skip
_MOST = 0.3
"""Of an object that is smeared over the squares around."""
_BAND = 0.2
"""Squares along a border in which an object is on both sides, at most."""


class Batch(NamedTuple):
    """Of B rows."""

    ids: "torch.Tensor"
    """int64 (B, n); 0 where a square stands."""
    weights: "torch.Tensor"
    """Of each id in the loss: float32 (B, n)."""
    board: "torch.Tensor"
    """Where squares stand: bool (B, n)."""
    squares: "torch.Tensor"
    """Of all rows, one after the other: float32 (squares, words), as `language_data.board`."""
    rows: "torch.Tensor"
    """The row of each square, int64."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a batch's rows are."""

    listed: bool = False
    """The scene in words; else on the board."""
    captions: bool = False
    """A caption behind the board (LLaVA's first stage); else two conversations."""
    notes: int = 0
    """So many lookups behind the board (`language_data.lookups`) in the place of conversations."""
    few: bool = False
    """Of the board, only the objects' squares and some others: attention has less to look through."""
    smeared: bool = True


class Rows:
    """Makes rows of documents."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._kept: dict[str, list[int]] = {}
        self.pad = tokenizer.convert_tokens_to_ids(PAD)
        self._user, self._assistant = self.ids("<|im_start|>user\n"), self.ids("<|im_start|>assistant\n")
        self._end, self._line = self.ids(END), self.ids("\n")
        spelt = [form for word in DECISIVE for form in (f" {word}", word.capitalize())]
        self._decisive = {self.ids(form)[0] for form in spelt if len(self.ids(form)) == 1}

    def ids(self, text: str) -> list[int]:
        found = self._kept.get(text)
        if found is None:
            found = self._kept[text] = self._tokenizer(text, add_special_tokens=False).input_ids
        return found

    def batch(self, documents: list[Document], form: Form, rng: Random) -> Batch:
        import torch

        chosen = [self._squares(one, form, rng) for one in documents]
        rows = [self._row(one, len(at), form, rng) for one, at in zip(documents, chosen, strict=True)]
        length = max(len(ids) for ids, _ in rows)
        ids = np.full((len(rows), length), self.pad)
        weights = np.zeros((len(rows), length), np.float32)
        for i, (row, weight) in enumerate(rows):
            ids[i, : len(row)], weights[i, : len(row)] = row, weight
        squares = [self._board(one, form, rng)[at] for one, at in zip(documents, chosen, strict=True)]
        of = np.repeat(np.arange(len(rows)), [len(at) for at in chosen])
        tokens = torch.from_numpy(ids)
        told = torch.from_numpy(np.concatenate(squares))
        return Batch(tokens.clamp(min=0), torch.from_numpy(weights), tokens == BOARD, told, torch.from_numpy(of))

    def _squares(self, one: Document, form: Form, rng: Random) -> list[int]:
        """Those that the row shows."""
        many = language_data.SIDE**2
        if form.listed:
            return []
        if not form.few:
            return list(range(many))
        own = {square(x, y) for _, _, x, y, _ in one.objects}
        return sorted(own | set(rng.sample(range(many), rng.randrange(10))))

    def _board(self, one: Document, form: Form, rng: Random) -> np.ndarray:
        smear = _MOST * rng.random() if form.smeared and rng.random() < 0.6 else 0.0
        return board(one.objects, smear, _BAND * rng.random() if form.smeared else 0.0)

    def _row(self, one: Document, squares: int, form: Form, rng: Random) -> tuple[list[int], list[float]]:
        ids: list[int] = []
        weights: list[float] = []

        def add(found: list[int], weight: float = 0.0) -> None:
            ids.extend(found)
            weights.extend([weight] * len(found))

        if form.captions:
            add([BOARD] * squares)
            add([*self.ids(one.caption), *self._end], _TOLD)
            return ids, weights
        if form.notes:
            add([BOARD] * squares)
            for asked, said in language_data.lookups(one.objects, rng, form.notes):
                add(self.ids(asked))
                add(self.ids(said), 1.0)
            return ids, weights
        talks = rng.sample(one.talks, min(2, len(one.talks)))
        turns = [turn for _, turns in talks for turn in turns]
        for number, (question, answer) in enumerate(turns):
            add(self._user)
            if not number:
                add(self.ids(one.listed) if form.listed else [BOARD] * squares, _LISTED if form.listed else 0.0)
                add(self._line)
            add(self.ids(question), _ASKED)
            add([*self._end, *self._line, *self._assistant])
            said = [*self.ids(answer), *self._end]
            ids.extend(said)
            weights.extend(_DECIDES if id in self._decisive else 1.0 for id in said)
            add(self._line)
        return ids, weights
