"""MMBench (arXiv:2307.06281): a table with tabs, each row a question with its choices and its picture in base64.

Columns as haotian-liu/LLaVA, llava/eval/model_vqa_mmbench.py and open-compass/VLMEvalKit, vlmeval/dataset/image_base.py
read them: index, question, hint, A, B, C, D, answer, category, image …. Row index + n·1,000,000 is the same question
with its choices rotated; a short `image` is the index of the row that has the picture. The words of the question are
put together as LLaVA does.
"""

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from pipelines.train.evaluate.files.reading import AGAIN, LETTER, Record, existing, one_file, unique
from schemas.errors import WrongData
from schemas.evaluate import BenchmarkFiles, Question

PASS = 1_000_000
_REFERENCE = 64
"""A shorter `image` names another row (VLMEvalKit)."""
_BLOCK = 1 << 26
"""A row lies within one block; pictures are far smaller."""
_ABSENT = ("", "nan")


def read(files: BenchmarkFiles) -> Iterator[Question]:
    """Questions in the file's order; subset: category, group: the question whose rotation it is. With `rotate`, a
    question that the file has once is followed by its rotations."""
    path = one_file(files)
    yield from unique(path, _questions(existing(path), files.rotate))


def _questions(path: Path, rotate: bool) -> Iterator[Question]:
    passes: dict[int, int] = {}
    wanted: set[str] = set()
    for row in _rows(path, ["index", "image"]):
        passes[_index(row) % PASS] = passes.get(_index(row) % PASS, 0) + 1
        if len(row.text("image")) <= _REFERENCE:
            wanted.add(row.value["image"])
    lent = {r.value["index"]: r.value["image"] for r in _rows(path, ["index", "image"]) if r.value["index"] in wanted}
    for row in _rows(path, None):
        question = _question(row, lent)
        yield question
        if rotate and passes[_index(row) % PASS] == 1:
            yield from _rotations(question, row)


def _question(row: Record, lent: dict[str, str]) -> Question:
    choices: list[str] = []
    for letter in ascii_uppercase:
        if row.value.get(letter, "") in _ABSENT:
            break
        choices.append(row.value[letter])
    if len(choices) < 2:
        row.wrong("it has fewer than two choices")
    right = row.value.get("answer", "").strip()
    if right not in _ABSENT and right not in ascii_uppercase[: len(choices)]:
        row.wrong(f"its answer {right!r} is none of its choices")
    return Question(
        id=row.value["index"],
        text=_words(row, choices),
        images=(_picture(row, lent),),
        choices=tuple(choices),
        answers=() if right in _ABSENT else (right,),
        subset=row.value.get("category", ""),
        group=str(_index(row) % PASS),
    )


def _rotations(question: Question, row: Record) -> Iterator[Question]:
    count = len(question.choices)
    for n in range(1, count):
        choices = [*question.choices[n:], *question.choices[:n]]
        right = [ascii_uppercase[(ascii_uppercase.index(one) - n) % count] for one in question.answers]
        changed = {"id": str(_index(row) + n * PASS), "text": _words(row, choices)}
        yield question.model_copy(update={**changed, "choices": tuple(choices), "answers": tuple(right)})


def _words(row: Record, choices: list[str]) -> str:
    hint = row.value.get("hint", "")
    head = [] if hint in _ABSENT else [hint]
    options = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    return "\n".join([*head, row.text("question"), *options, LETTER])


def _picture(row: Record, lent: dict[str, str]) -> bytes:
    found = row.text("image")
    if len(found) <= _REFERENCE:
        if found not in lent or len(lent[found]) <= _REFERENCE:
            row.wrong(f"its picture is that of row {found!r}, which has none")
        found = lent[found]
    try:
        return base64.b64decode(found, validate=True)
    except binascii.Error as error:
        row.wrong(f"its image is no base64: {error}")


def _index(row: Record) -> int:
    try:
        return int(row.text("index"))
    except ValueError:
        row.wrong(f"its index {row.value['index']!r} is no whole number")


def _rows(path: Path, columns: list[str] | None) -> Iterator[Record]:
    """Rows as texts. Raises WrongData for a row that has not the header's columns."""
    import pyarrow as pa
    from pyarrow import csv

    with path.open("rb") as file:
        names = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
    missing = [one for one in ("index", "question", "A", "B", "image") if one not in names]
    if missing:
        raise WrongData(f"{path} has no column {missing[0]!r}", "take MMBench's TSV file")
    convert: Any = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), include_columns=columns or [], strings_can_be_null=False
    )
    parse = csv.ParseOptions(delimiter="\t", newlines_in_values=True)
    number = 1
    try:
        reader = csv.open_csv(path, csv.ReadOptions(block_size=_BLOCK), parse, convert)
        for batch in reader:
            for row in batch.to_pylist():
                number += 1
                yield Record(path, f"row {number} (index {row['index']})", row)
    except pa.ArrowInvalid as error:
        raise WrongData(f"{path}: after row {number}: {' '.join(str(error).split())[:200]}", AGAIN) from error
