"""Rendered conversation → tokens, with a label where an answer is learnt; every sample's labels are decoded again.

The text is cut where an answer begins, and each piece is tokenized alone: so the tokens before an answer are those that
a model is given as its prompt. Words of a turn that spell a control token (`<|im_start|>`, `<image>`, `</s>`) are cut
inside it, so that they stay words.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipelines.train.batches.template import Filled
from schemas.errors import WrongRequest

IGNORED = -100
"""Label of a token that is not learnt: torch's and transformers' ignore_index."""


class WrongLabels(ValueError):
    """The tokens with a label do not decode to the answers."""


class ControlToken(ValueError):
    """Words became a control token."""


@dataclass(slots=True)
class Encoded:
    """One conversation; an image is still one token."""

    ids: np.ndarray
    """int64 (tokens,)"""
    labels: np.ndarray
    """int64 (tokens,): the token itself where it is learnt, IGNORED elsewhere; not shifted."""


class Tokens:
    """A fast tokenizer, and which of its tokens are control tokens."""

    def __init__(self, tokenizer: Any, image_token: str, template: str) -> None:
        """`template`: its text. Raises WrongRequest for a slow tokenizer, and one without the image token."""
        if not getattr(tokenizer, "is_fast", False):
            raise WrongRequest("the tokenizer says not where its tokens lie", "take a fast one (tokenizer.json)")
        # a copy: another thread's padding or truncation would be ours
        self._backend = tokenizer.backend_tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_padding()
        self._backend.no_truncation()
        self._backend.encode_special_tokens = False
        self.identity = hashlib.sha256(self._backend.to_str().encode()).hexdigest()
        """Of all that decides the tokens of a text."""
        added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
        if image_token not in added:
            raise WrongRequest(
                f"the tokenizer has no token {image_token!r}",
                f"add it before the model's embeddings are resized: tokenizer.add_tokens(AddedToken({image_token!r}, "
                "special=True, normalized=False)), or name the one it has: batch.image_token",
            )
        self.image_id: int = added[image_token]
        special = set(tokenizer.all_special_tokens) | {image_token}
        special |= {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        names = [t for t in added if t in special or (t in template and not t.isspace())]
        self._control = np.zeros(max(self._backend.get_vocab(True).values()) + 1, bool)
        # a word-level tokenizer's unknown words are no control tokens
        self._control[[added[t] for t in names if t != tokenizer.unk_token]] = True
        longest = sorted(names, key=len, reverse=True)
        any_of = "|".join(map(re.escape, longest))
        self._spelled = re.compile(f"(?=({any_of}))")
        self._around = re.compile(f"\\s*({any_of})\\s*")
        self._newline = self._plain("\n")[0]

    def encode(self, filled: Filled) -> Encoded:
        """Raises ControlToken or WrongLabels, with a short line of evidence."""
        text = filled.text
        owned = [self._inside(filled.own, m.start(), m.end(1)) for m in self._spelled.finditer(text)]
        words = [m for m, own in zip(self._spelled.finditer(text), owned, strict=True) if not own]
        cuts = sorted({0, len(text), *(a for a, _ in filled.learnt), *(m.start() + 1 for m in words)})
        pieces = [self._piece(text, a, b) for a, b in pairwise(cuts)]
        ids = np.concatenate([np.asarray(p[0], np.int64) for p in pieces])
        starts, stops = (np.concatenate([np.asarray(p[i], np.int64) for p in pieces]) for i in (1, 2))
        self._check_control(ids, starts, filled)
        labels = np.full(len(ids), IGNORED)
        for a, b in filled.learnt:
            mine = ((starts >= a) & (starts < b)) | ((stops > a) & (starts < b) & (stops > starts))
            self._check_decodes(ids[mine], text[a:b])
            labels[mine] = ids[mine]
        if len(labels):
            labels[0] = IGNORED  # nothing comes before it; in a packed row, another conversation does
        return Encoded(ids, labels)

    def _piece(self, text: str, a: int, b: int) -> tuple[list[int], list[int], list[int]]:
        """ids, and where in the text each begins and ends. Not at the beginning, a newline goes before the piece and
        is taken off again: SentencePiece puts a space before a text."""
        piece = text[a:b]
        if a == 0:
            ids, offsets = self._plain(piece)
            return ids, [s for s, _ in offsets], [e for _, e in offsets]
        ids, offsets = self._plain("\n" + piece)
        n = len(self._newline)
        if ids[:n] == self._newline and all(s for s, _ in offsets[n:]):
            return ids[n:], [s + a - 1 for s, _ in offsets[n:]], [e + a - 1 for _, e in offsets[n:]]
        ids, offsets = self._plain(piece)
        return ids, [s + a for s, _ in offsets], [e + a for _, e in offsets]

    def _plain(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        out = self._backend.encode(text, add_special_tokens=False)
        return out.ids, out.offsets

    def _check_control(self, ids: np.ndarray, starts: np.ndarray, filled: Filled) -> None:
        for i in np.flatnonzero(self._control[ids]):
            if not self._inside(filled.own, int(starts[i]), int(starts[i]) + 1):
                raise ControlToken(repr(self._backend.id_to_token(int(ids[i]))))

    def _check_decodes(self, ids: np.ndarray, wanted: str) -> None:
        read = self._backend.decode(ids.tolist(), skip_special_tokens=False)
        if read != wanted and self._same(read) != self._same(wanted):
            unlike = (i for i, (x, y) in enumerate(zip(read, wanted, strict=False)) if x != y)
            at = max(0, next(unlike, min(len(read), len(wanted))) - 10)
            raise WrongLabels(f"{read[at : at + 30]!r} for {wanted[at : at + 30]!r}")

    def _same(self, text: str) -> str:
        """White space around an answer and around control tokens is not its words (a tokenizer without a decoder puts
        some there), and some tokenizers compose letters and accents."""
        return unicodedata.normalize("NFC", self._around.sub(r"\1", text)).strip()

    @staticmethod
    def _inside(own: list[tuple[int, int]], a: int, b: int) -> bool:
        return any(x <= a and b <= y for x, y in own)
