"""MMMU (arXiv:2311.16502): the hub's parquet files (MMMU/MMMU), pictures in columns image_1 … image_7.

Columns: id, question, options (a list of Python as text), image_1 … image_7 (bytes, path), answer, question_type ….
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.train.evaluate.choices import letters
from pipelines.train.evaluate.files.reading import AGAIN, LETTER, SHORT, Record, existing, unique
from schemas.errors import WrongData, WrongRequest
from schemas.evaluate import BenchmarkFiles, Question

_PICTURES = 7
_NAMED = re.compile(r"<image ([1-7])>")
_HIDDEN = "?"
"""The answer in split test."""
_ROWS = 16
"""Read at a time: some pictures have 10 MB."""


def read(files: BenchmarkFiles) -> Iterator[Question]:
    """Questions file by file; subset: subject. Words as in MMMU's own mmmu/configs/llava1.5.yaml: `<image 1>` stays in
    them, and the pictures that they name come first, in order. Open questions have no choices."""
    if not files.questions:
        raise WrongRequest("no files of questions", "name MMMU's parquet files")
    for path in files.questions:
        yield from unique(path, map(_question, _rows(existing(path))))


def _question(row: Record) -> Question:
    choices = _listed(row, row.text("options")) if row.get("question_type") == "multiple-choice" else ()
    said = row.text("answer")
    answers = () if said == _HIDDEN else (said,)
    if answers and choices and said not in letters(choices):
        row.wrong(f"its answer {said!r} is none of its choices")
    if answers and not choices and said.startswith("["):
        answers = _listed(row, said)
    options = "".join(f"({letter}) {choice}\n" for letter, choice in zip(letters(choices), choices, strict=True))
    text = f"{row.text('question')}\n{options}\n{LETTER}" if choices else row.text("question") + SHORT
    subject = "_".join(row.text("id").split("_")[1:-1])
    return Question(
        id=row.text("id"), text=text, images=_pictures(row, text), choices=choices, answers=answers, subset=subject
    )


def _pictures(row: Record, text: str) -> tuple[bytes, ...]:
    """Those that the words name; all that there are where they name none."""
    there = {n: row.value.get(f"image_{n}") for n in range(1, _PICTURES + 1)}
    named = sorted({int(n) for n in _NAMED.findall(text)}) or [n for n, one in there.items() if one is not None]
    out: list[bytes] = []
    for n in named:
        found = there[n]
        if not isinstance(found, dict) or not isinstance(found.get("bytes"), bytes):
            row.wrong(f"image_{n} has no bytes")
        out.append(found["bytes"])
    return tuple(out)


def _listed(row: Record, text: str) -> tuple[str, ...]:
    try:
        found: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        row.wrong(f"{text[:80]!r} is no list: {error}")
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        row.wrong(f"{text[:80]!r} is no list of texts")
    return tuple(found)


def _rows(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names: Sequence[str] = file.schema_arrow.names
            missing = [one for one in ("id", "question", "options", "answer", "question_type") if one not in names]
            if missing:
                raise WrongData(f"{path} has no column {missing[0]!r}", "take MMMU's parquet files")
            number = -1
            for batch in file.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield Record(path, f"row {number} ({row['id']})", row)
    except (pa.ArrowInvalid, OSError) as error:
        raise WrongData(f"{path} cannot be read: {' '.join(str(error).split())[:200]}", AGAIN) from error
