"""Evaluation: a question of a benchmark, what a model said to it, and the row of a table that says how good it was."""

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Question(_Frozen):
    """One question, as a model is asked it."""

    id: str
    """The benchmark's own; unique in it."""
    text: str
    """The words, with the prompt suffix that the benchmark is usually asked with. Its pictures come before them."""
    images: tuple[Path | bytes, ...]
    """A file, or an encoded picture. Held only while it is asked: iterators give one question after the other."""
    history: tuple[tuple[str, str], ...] = ()
    """Questions and answers that come before, in a conversation."""
    choices: tuple[str, ...] = ()
    """Of a multiple choice, A first."""
    answers: tuple[str, ...] = ()
    """Right ones: those of ten people, a letter, several spellings. Empty: the split keeps them to itself."""
    subset: str = ""
    """What the benchmark tables apart: answer type, POPE's negatives, category, subject, kind."""
    group: str = ""
    """Questions of a group count once: MMBench's passes over rotated choices."""


class Unanswered(StrEnum):
    """Why a model was not asked. It counts as wrong, and is counted."""

    missing_picture = "missing_picture"
    bad_picture = "bad_picture"
    """It does not decode, or is too thin for the model."""
    too_long = "too_long"
    """Prompt, pictures and answer do not fit into the model's positions."""
    control_token = "control_token"
    """The question's words would become a control token of the model, or its image token."""
    template_mismatch = "template_mismatch"
    """The template does not render the conversation's words as they are."""
    no_words = "no_words"
    """A question has neither words nor a picture."""


class Answer(_Frozen):
    """A question (without its pictures) and what was said to it."""

    question: Question
    text: str
    """Without the end of turn; empty where it was not asked."""
    why: Unanswered | None = None
    ended: bool = True
    """The model ended its turn, rather than being cut at `max_new_tokens`."""


class TableRow(_Frozen):
    """One line of a table."""

    name: str
    """A benchmark, a subset (`subset random`), or a kind of conversation."""
    count: int
    """Questions, or groups of them; the unanswered among them."""
    unanswered: int
    values: dict[str, float | None]
    """Shares in 0 … 1 (captions: BLEU and ROUGE-L too, CIDEr in 0 … 10); None where it is not defined."""


class LossRow(_Frozen):
    """One line of a table of held-out loss."""

    by: Literal["all", "kind", "source"]
    name: str
    conversations: int
    label_tokens: int
    loss: float
    """Mean over the label tokens, in nats."""


class GenerateConfig(_Frozen):
    """How answers are generated: greedily, so that a run says the same again."""

    batch_size: int = Field(default=8, ge=1)
    max_new_tokens: int = Field(default=128, ge=1)
    """128: of the LLaVA-1.5 evaluation (haotian-liu/LLaVA, llava/eval/model_vqa_loader.py)."""
    template: str | None = None
    """As `batch.template`: vicuna, chatml, plain, or Jinja. Null: the model's own, as it was trained with."""
    template_variables: dict[str, str] = {}
    system: str | None = None


class BenchmarkFiles(_Frozen):
    """Where a benchmark lies on disk, as it is distributed."""

    questions: tuple[Path, ...]
    """vqav2: v2_OpenEnded_mscoco_val2014_questions.json. gqa: testdev_balanced_questions.json. textvqa:
    TextVQA_0.5.1_val.json. pope: coco_pope_random.json and the others. mmbench: mmbench_dev_20230712.tsv. mmmu: the
    hub's parquet files."""
    annotations: Path | None = None
    """vqav2: v2_mscoco_val2014_annotations.json; without it nothing can be scored."""
    images: Path | None = None
    """Folder of pictures: vqav2 and pope COCO's val2014, gqa images, textvqa train_images. mmbench and mmmu carry their
    pictures themselves."""
    rotate: bool = False
    """mmbench: ask each question once for each rotation of its choices, where the file has but one (CircularEval)."""
