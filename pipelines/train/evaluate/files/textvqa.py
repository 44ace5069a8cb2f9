"""TextVQA (arXiv:1904.08920): TextVQA_0.5.1_val.json of textvqa.org, pictures of OpenImages by their id."""

from collections.abc import Iterator

from pipelines.train.evaluate.files.reading import PEOPLE, SHORT, document, one_file, picture, unique
from schemas.evaluate import BenchmarkFiles, Question


def read(files: BenchmarkFiles) -> Iterator[Question]:
    """Questions in the file's order, as lmms-eval asks them: with a capital, and without the OCR tokens that LLaVA-1.5
    was shown. test has no answers."""
    path = one_file(files)
    yield from unique(path, _questions(files))


def _questions(files: BenchmarkFiles) -> Iterator[Question]:
    for record in document(files.questions[0]).records("data", "question"):
        answers = record.texts("answers") if "answers" in record.value else ()
        if answers and len(answers) != PEOPLE:
            record.wrong(f"it has {len(answers)} answers, not {PEOPLE}")
        image = picture(files, f"{record.text('image_id')}.jpg", record)
        text = record.text("question").capitalize() + SHORT
        yield Question(id=record.identity("question_id"), text=text, images=(image,), answers=answers)
