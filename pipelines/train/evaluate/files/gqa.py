"""GQA (arXiv:1902.09506): questions of cs.stanford.edu/people/dorarad/gqa, an object of them by their id."""

from collections.abc import Iterator

from pipelines.train.evaluate.files.reading import SHORT, Record, document, one_file, picture, unique
from schemas.evaluate import BenchmarkFiles, Question


def read(files: BenchmarkFiles) -> Iterator[Question]:
    """Balanced questions in the file's order, as only they are scored (GQA's eval.py); subset: structural type (query,
    verify, choose, logical, compare)."""
    path = one_file(files)
    yield from unique(path, _questions(document(path), files))


def _questions(whole: Record, files: BenchmarkFiles) -> Iterator[Question]:
    if not isinstance(whole.value, dict):
        whole.wrong("it is no object of questions")
    for number, said in whole.value.items():
        record = Record(whole.path, f"question {number}", said)
        if record.get("isBalanced") is not True:
            continue
        kind = Record(whole.path, record.name, record.get("types")).text("structural")
        image = picture(files, f"{record.text('imageId')}.jpg", record)
        text = record.text("question") + SHORT
        yield Question(id=number, text=text, images=(image,), answers=(record.text("answer"),), subset=kind)
