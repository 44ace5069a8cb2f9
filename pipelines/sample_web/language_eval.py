"""How often the small language model answers right when it is told in words what the scene holds.

It is asked as anybody would ask it: the tokenizer's own chat template, transformers' `generate`. Answers are compared
as those of held-out conversations are (`pipelines.train.evaluate.held_out`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.sample_web import language_files
from pipelines.sample_web.clip_eval import TEST_SEED
from pipelines.sample_web.language_data import Document, documents
from pipelines.train.evaluate.held_out import read, state

_AT_ONCE = 64
_LONGEST = 32
"""Tokens of an answer."""


class Asked(NamedTuple):
    """A question, asked alone."""

    kind: str
    question: str
    answer: str
    listed: str


def questions(found: Sequence[Document]) -> list[Asked]:
    """All that the template teacher asks about these scenes."""
    return [
        Asked(kind, question, answer, one.listed)
        for one in found
        for kind, turns in one.talks
        for question, answer in turns
    ]


def blinded(asked: Sequence[Asked]) -> list[Asked]:
    """The same questions with another scene's list."""
    lists = list(dict.fromkeys(one.listed for one in asked))
    other = dict(zip(lists, [*lists[1:], *lists[:1]], strict=True))
    return [one._replace(listed=other[one.listed]) for one in asked]


def answers(folder: Path, asked: Sequence[Asked]) -> list[str]:
    """What the model says, greedily."""
    import torch

    model, tokenizer = language_files.load(folder)
    tokenizer.padding_side = "left"
    order = sorted(range(len(asked)), key=lambda i: len(asked[i].listed))
    said = [""] * len(asked)
    for at in range(0, len(order), _AT_ONCE):
        rows = order[at : at + _AT_ONCE]
        chats = [[{"role": "user", "content": f"{asked[i].listed}\n{asked[i].question}"}] for i in rows]
        prompts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            made = model.generate(**inputs, max_new_tokens=_LONGEST, do_sample=False)
        for i, ids in zip(rows, made[:, inputs["input_ids"].shape[1] :], strict=True):
            said[i] = tokenizer.decode(ids, skip_special_tokens=True)
    return said


def right(asked: Asked, said: str) -> bool:
    """Whether it states what the written answer does."""
    form, stated = state(asked.kind, asked.answer, asked.question)
    return bool(stated) and read(form, said) == stated


def figures(folder: Path, found: Sequence[Document]) -> dict[str, dict[str, Any]]:
    """Of all questions and of each kind: how many, share answered right, and with another scene's list."""
    asked = questions(found)
    blind = blinded(asked)
    told = [right(a, s) for a, s in zip(asked, answers(folder, asked), strict=True)]
    guessed = [right(a, s) for a, s in zip(asked, answers(folder, blind), strict=True)]
    out: dict[str, dict[str, Any]] = {}
    for kind in ("all", *dict.fromkeys(one.kind for one in asked)):
        rows = [i for i, one in enumerate(asked) if kind in ("all", one.kind)]
        accuracy, blindly = (round(sum(hit[i] for i in rows) / len(rows), 4) for hit in (told, guessed))
        out[kind] = {"questions": len(rows), "accuracy": accuracy, "blind": blindly}
    return out


def card(folder: Path, count: int) -> dict[str, Any]:
    """Figures on `count` test scenes."""
    model, tokenizer = language_files.load(folder)
    return {
        "scenes": count,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": len(tokenizer),
        "weights_mb": language_files.megabytes(folder),
        "test": figures(folder, documents(TEST_SEED, count)),
    }
