"""VQAv2 (arXiv:1612.00837): questions and annotations of visualqa.org, pictures of COCO 2014.

Format: https://visualqa.org/download.html and GT-Vision-Lab/VQA, PythonHelperTools/vqaTools/vqa.py; the pictures'
names: its vqaDemo.py.
"""

from collections.abc import Iterator

from pipelines.train.evaluate.files.reading import PEOPLE, SHORT, Record, document, one_file, picture, unique
from schemas.errors import WrongData
from schemas.evaluate import BenchmarkFiles, Question


def read(files: BenchmarkFiles) -> Iterator[Question]:
    """Questions in the file's order; subset: answer type (yes/no, number, other)."""
    path = one_file(files)
    yield from unique(path, _questions(document(path), files))


def _questions(whole: Record, files: BenchmarkFiles) -> Iterator[Question]:
    split = whole.text("data_subtype").replace("test-dev", "test")  # test-dev2015 asks about the pictures of test2015
    asked = whole.records("questions", "question")
    known = None if files.annotations is None else _annotations(document(files.annotations))
    for record in asked:
        number = record.whole("question_id")
        answers, kind = (), ""
        if known is not None:
            if number not in known:
                raise WrongData(
                    f"{files.annotations}: no annotation of question {number}", "take the annotations of the same split"
                )
            answers, kind = known.pop(number)
        image = picture(files, f"COCO_{split}_{record.whole('image_id'):012}.jpg", record)
        text = record.text("question") + SHORT
        yield Question(id=str(number), text=text, images=(image,), answers=answers, subset=kind)
    if known:
        raise WrongData(
            f"{whole.path}: {len(known)} annotated questions are not in it, {min(known)} among them",
            "download it again, or take the questions of the same split",
        )


def _annotations(whole: Record) -> dict[int, tuple[tuple[str, ...], str]]:
    out: dict[int, tuple[tuple[str, ...], str]] = {}
    for record in whole.records("annotations", "annotation"):
        said = tuple(one.get("answer") for one in record.records("answers", f"{record.name}, answer"))
        if len(said) != PEOPLE or not all(isinstance(one, str) for one in said):
            record.wrong(f"it has not {PEOPLE} people's answers")
        out[record.whole("question_id")] = (said, record.text("answer_type"))
    return out
