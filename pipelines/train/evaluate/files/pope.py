"""POPE (arXiv:2305.10355): coco_pope_{random,popular,adversarial}.json, lines of question_id, image, text, label."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.train.evaluate.files.reading import SHORT, lines, picture, unique
from schemas.errors import WrongRequest
from schemas.evaluate import BenchmarkFiles, Question


def read(files: BenchmarkFiles) -> Iterator[Question]:
    """Questions file by file; subset: what follows `pope_` in the file's name. Its question_id is unique in a file."""
    if not files.questions:
        raise WrongRequest("no files of questions", "name coco_pope_random.json and the others")
    for path in files.questions:
        yield from unique(path, _questions(path, files))


def _questions(path: Path, files: BenchmarkFiles) -> Iterator[Question]:
    subset = path.stem.rpartition("pope_")[2]
    for record in lines(path):
        label = record.text("label").strip().lower()
        if label not in ("yes", "no"):
            record.wrong(f"its label is {label!r}, neither yes nor no")
        yield Question(
            id=f"{subset}-{record.identity('question_id')}",
            text=record.text("text") + SHORT,
            images=(picture(files, record.text("image"), record),),
            answers=(label,),
            subset=subset,
        )
