"""A conversation → the tokens of one training example, or the reason that there is none."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.train.batches.encode import IGNORED, ControlToken, Tokens, WrongLabels
from pipelines.train.batches.images import Pixels
from pipelines.train.batches.talks import Talk
from pipelines.train.batches.template import Mismatch, Template
from pipelines.train.batches.truncate import Run, expanded, truncated
from schemas.train_batch import BatchConfig, TrainReason, TrainRejection
from stages.measure.decode import Undecodable

_REASONS = {
    Mismatch: TrainReason.template_mismatch,
    WrongLabels: TrainReason.label_mismatch,
    ControlToken: TrainReason.control_token,
    Undecodable: TrainReason.bad_picture,
}


@dataclass(slots=True)
class Example:
    """One conversation's tokens."""

    talk: Talk
    ids: np.ndarray
    """int64 (tokens,)"""
    labels: np.ndarray
    """int64 (tokens,): IGNORED where nothing is learnt; not shifted."""
    runs: list[Run]
    """Of its images."""
    pictures: tuple[Any, ...]
    """Encoded, one per run."""
    cut: int
    """Tokens that did not fit."""

    @property
    def key(self) -> tuple[int, int]:
        """Position in the stream's sequence, number of the conversation in its sample."""
        return self.talk.sample.position, self.talk.number

    @property
    def label_tokens(self) -> int:
        return int((self.labels != IGNORED).sum())

    def __len__(self) -> int:
        return len(self.ids)


class Encoder:
    """What makes examples of conversations: tokenizer, template, and how many tokens a picture takes."""

    def __init__(self, tokenizer: Any, pixels: Pixels, config: BatchConfig) -> None:
        """Raises WrongRequest for a tokenizer without the image token and for a template that cannot be trained on."""
        self.config, self.pixels = config, pixels
        self.template = Template(tokenizer, config)
        self.tokens = Tokens(tokenizer, config.image_token, self.template.text)
        self.pad_id = _pad_id(tokenizer, self.tokens.image_id)

    def encode(self, talk: Talk) -> Example | TrainRejection:
        """The example, or why there is none."""
        try:
            encoded = self.tokens.encode(self.template.fill(talk.turns))
            lengths = self.pixels.tokens(talk.pictures)
        except (Mismatch, WrongLabels, ControlToken, Undecodable) as error:
            reason = next(reason for kind, reason in _REASONS.items() if isinstance(error, kind))
            return talk.rejected(reason, str(error))
        found = int((encoded.ids == self.tokens.image_id).sum())
        if found != len(lengths):
            return talk.rejected(TrainReason.placeholder_count, f"{found} image tokens, {len(lengths)} pictures")
        whole, runs = expanded(encoded, self.tokens.image_id, lengths)
        kept, left = truncated(whole, runs, self.config.max_length)
        pictures = talk.pictures[: len(left)]
        example = Example(talk, kept.ids, kept.labels, left, pictures, len(whole.ids) - len(kept.ids))
        if not example.label_tokens:
            return talk.rejected(TrainReason.no_label, f"{len(whole.ids)} tokens, max_length {self.config.max_length}")
        if len(left) < len(runs) and self.pixels.tokens(pictures) != lengths[: len(left)]:
            return talk.rejected(TrainReason.pictures_cut, f"{len(runs)} pictures, {len(left)} fit")
        return example

    def identity(self) -> dict[str, Any]:
        """What decides the tokens of an example: part of a checkpoint."""
        return {
            "the template's text": hashlib.sha256(self.template.text.encode()).hexdigest(),
            "the tokenizer": self.tokens.identity,
            **{f"pixels.{name}": value for name, value in self.pixels.identity().items()},
        }


def _pad_id(tokenizer: Any, image_id: int) -> int:
    """Padding is masked, so any token will do but the image's."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None and found != image_id:
            return found
    return 0 if image_id else 1
