"""Training batches: how conversations become tokens and rows of them, and why one does not."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.config import RUNTIME, StageConfig
from schemas.row import Int32, Row


class TextFrom(StrEnum):
    """Which words of a sample are trained on."""

    conversations = "conversations"
    """What synthesize wrote: the sample's `conversations`, each an example of its own."""
    caption = "caption"
    """The sample's `.txt`: alignment of the projector (LLaVA's stage 1, arXiv:2304.08485, section 4.2)."""


class Arrange(StrEnum):
    """How examples become rows of a batch."""

    pad = "pad"
    """As they come, one to a row, padded to the longest of the batch."""
    group = "group"
    """One to a row; the oldest of the window with those nearest to it in length."""
    pack = "pack"
    """Several to a row of `row_length`; the oldest of the window, and those of it that leave least of the row empty."""


class BatchConfig(StageConfig):
    """From a stream of samples to batches of tokens."""

    text: TextFrom = TextFrom.conversations
    kinds: list[str] | None = None
    """Only conversations of these kinds; null: all but preference pairs, which need a loss of their own."""
    ask: bool = False
    """text caption: a question before it, drawn by the sample's id from those of the exports. False: the picture alone
    is the question."""
    template: str | None = None
    """vicuna, chatml, plain, or a Jinja chat template. Null: the tokenizer's own, or vicuna where it has none."""
    template_variables: dict[str, str] = {}
    """Passed to the template, as `date_string`."""
    system: str | None = None
    """System prompt of every conversation."""
    image_token: str = "<image>"
    """A token of the tokenizer; the model replaces it by an image feature."""
    max_length: int = Field(default=2048, ge=8)
    """Tokens of one example; longer ones are cut, never inside an image."""
    arrange: Arrange = Arrange.pack
    row_length: int | None = Field(default=None, ge=8)
    """pack: tokens of a row. Null: `max_length`."""
    rows: int = Field(default=1, ge=1)
    """Rows of a batch on one rank; with `tokens` set, at most so many."""
    tokens: int | None = Field(default=None, ge=8)
    """pad, group: rows × longest row of a batch is at most this. Null: `rows` alone decides. pack: rows × row_length
    is the budget."""
    pictures: int | None = Field(default=None, ge=1)
    """At most so many pictures in a row (pack) or a batch (pad, group), where one example alone has not more."""
    window: int = Field(default=256, ge=1)
    """Examples held, among which rows are put together; a checkpoint names them."""
    full_rows: bool = False
    """Pad to `row_length` (pack) or `max_length`, so that shapes stay the same for `torch.compile`. False: to the
    longest row of the batch."""
    max_bad_share: float = Field(default=0.05, ge=0, le=1)
    """More rejections than this share of the examples, once `judged_from` were seen and at the end, stop training."""
    judged_from: int = Field(default=200, ge=1)
    max_bad: int | None = Field(default=None, ge=0)
    """More rejections than this stop training, whatever their share."""
    ahead: Annotated[int, Field(ge=0), RUNTIME] = 2
    """Batches made ahead in a thread."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.arrange is Arrange.pack:
            if self.row_length is not None and self.row_length < self.max_length:
                raise ValueError(f"row_length {self.row_length} is less than max_length {self.max_length}: raise it")
            if self.tokens is not None:
                raise ValueError("arrange pack has no tokens: its budget is rows × row_length; set these")
        elif self.row_length is not None:
            raise ValueError(f"arrange {self.arrange.value} has no row_length: leave it out")
        if self.tokens is not None and self.tokens < self.max_length:
            raise ValueError(f"tokens {self.tokens} is less than max_length {self.max_length}: raise it")
        return self

    @property
    def capacity(self) -> int:
        """Tokens of a row at most."""
        return self.row_length or self.max_length


class TrainReason(StrEnum):
    """Why a conversation is not trained on."""

    no_conversation = "no_conversation"
    """The sample has none."""
    other_kind = "other_kind"
    """Its kind was not asked for."""
    pair = "pair"
    """A preference pair: it needs a loss of its own."""
    bad_json = "bad_json"
    """The sample's `.json` is missing, or not what a build writes."""
    no_caption = "no_caption"
    """text caption: the sample's `.txt` is missing or empty."""
    unknown_role = "unknown_role"
    """A turn is neither the user's nor the assistant's."""
    role_order = "role_order"
    """The turns do not go user, assistant, user, assistant."""
    empty_turn = "empty_turn"
    """An answer without a word, or a question with neither words nor picture."""
    placeholder_count = "placeholder_count"
    """The questions' `<image>` are not as many as the conversation's pictures."""
    picture_missing = "picture_missing"
    """The sample has no picture, or one of several is in no shard."""
    bad_picture = "bad_picture"
    """A picture does not decode. Found when its row was made: the row goes on without the example."""
    template_mismatch = "template_mismatch"
    """The template does not render the conversation turn by turn: a rendering of the first turns is not the beginning
    of the whole, the words are not in it as they are, or it refuses."""
    label_mismatch = "label_mismatch"
    """The tokens with a label do not decode to the answers and their ends."""
    control_token = "control_token"
    """Words of a turn became a control token, and could not be kept from it."""
    pictures_cut = "pictures_cut"
    """Some of its pictures do not fit into `max_length`, and without them the model would see the others otherwise
    (LLaVA-OneVision has tiles for a picture that is alone)."""
    no_label = "no_label"
    """Nothing is left to learn once the conversation is cut to `max_length`."""


SKIPPED = frozenset({TrainReason.no_conversation, TrainReason.other_kind, TrainReason.pair})
"""Reasons that the request names itself: counted, and no fault."""


class TrainRejection(Row):
    """A conversation that no batch has. The training ledger's rows."""

    position: int
    """Of the sample in the stream's sequence."""
    sample_id: str
    source: str
    """Name of the stream's source."""
    number: Int32
    """Of the conversation in its sample, from 0; −1: the sample as a whole."""
    kind: str
    """Of the conversation; empty where the sample as a whole is meant."""
    reason: str
    """A `TrainReason`."""
    detail: str
    """One short line of evidence."""


class BatchStats(BaseModel):
    """What a batch holds, and what became of the examples that were read for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rows: int
    examples: int
    tokens: int
    """Without padding."""
    label_tokens: int
    """Tokens with a label: what the loss is summed over."""
    image_tokens: int
    images: int
    padding: int
    """Tokens of padding: rows × length − tokens."""
    truncated: int
    """Examples that were cut."""
    cut_tokens: int
    """Tokens that were cut off them."""
    rejected: dict[str, int]
    """Reason → conversations; only those that occur."""

    @property
    def padding_share(self) -> float:
        """Of all tokens that the model computes."""
        return self.padding / max(1, self.tokens + self.padding)
