"""Files from elsewhere, read so that what is wrong with one names the file and the record."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from schemas.errors import WrongData, WrongRequest
from schemas.evaluate import BenchmarkFiles, Question

SHORT = "\nAnswer the question using a single word or phrase."
"""Asks for a short answer: LLaVA-1.5 (haotian-liu/LLaVA, docs/Evaluation.md) and lmms-eval's tasks vqav2, gqa, textvqa
and pope."""
LETTER = "Answer with the option's letter from the given choices directly."
"""Asks for a choice: the same, and MMMU's own mmmu/configs/llava1.5.yaml."""
PEOPLE = 10
"""Answers of a question in VQAv2 and TextVQA."""
AGAIN = "download it again"


@dataclass(frozen=True, slots=True)
class Record:
    """An object of a file."""

    path: Path
    name: str
    """Which of the file's: `question 7`, `line 3`."""
    value: Any

    def wrong(self, what: str) -> NoReturn:
        raise WrongData(f"{self.path}: {self.name}: {what}", AGAIN)

    def get(self, key: str) -> Any:
        if not isinstance(self.value, dict):
            self.wrong("not an object")
        if key not in self.value:
            self.wrong(f"it has no {key}")
        return self.value[key]

    def text(self, key: str) -> str:
        found = self.get(key)
        if not isinstance(found, str) or not found.strip():
            self.wrong(f"its {key} is no text")
        return found

    def whole(self, key: str) -> int:
        found = self.get(key)
        if not isinstance(found, int) or isinstance(found, bool):
            self.wrong(f"its {key} is no whole number")
        return found

    def identity(self, key: str) -> str:
        """A name or a number."""
        found = self.get(key)
        return str(found) if isinstance(found, int) and not isinstance(found, bool) else self.text(key)

    def texts(self, key: str) -> tuple[str, ...]:
        found = self.get(key)
        if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
            self.wrong(f"its {key} are no texts")
        return tuple(found)

    def records(self, key: str, kind: str) -> list["Record"]:
        """The objects of a list."""
        found = self.get(key)
        if not isinstance(found, list) or not found:
            self.wrong(f"its {key} are no list of objects, or an empty one")
        return [Record(self.path, f"{kind} {i}", one) for i, one in enumerate(found)]


def document(path: Path) -> Record:
    """A JSON file. Raises WrongRequest where there is none, WrongData where it is torn."""
    try:
        return Record(path, "the file", json.loads(existing(path).read_bytes()))
    except ValueError as error:
        raise WrongData(f"{path} is no JSON: {error}", AGAIN) from error


def lines(path: Path) -> Iterator[Record]:
    """JSON lines, or a JSON list; empty lines are passed over."""
    with existing(path).open("rb") as file:
        first = file.read(64).lstrip()[:1]
    if first == b"[":
        found = document(path).value
        yield from (Record(path, f"record {i}", one) for i, one in enumerate(found))
        return
    with path.open("rb") as file:
        for i, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield Record(path, f"line {i}", json.loads(line))
                except ValueError as error:
                    raise WrongData(f"{path}: line {i} is no JSON: {error}", AGAIN) from error


def existing(path: Path) -> Path:
    if not path.is_file():
        raise WrongRequest(f"there is no file {path}", "name the benchmark's file as it was downloaded")
    return path


def one_file(files: BenchmarkFiles) -> Path:
    if len(files.questions) != 1:
        raise WrongRequest(f"{len(files.questions)} files of questions", "name one")
    return files.questions[0]


def picture(files: BenchmarkFiles, name: str, record: Record) -> Path:
    """Of the folder, whether it is there or not."""
    if files.images is None:
        raise WrongRequest(f"{record.path} names its pictures", "say where they lie: images")
    if Path(name).name != name:
        record.wrong(f"its picture {name!r} is no file's name")
    return files.images / name


def unique(path: Path, questions: Iterable[Question]) -> Iterator[Question]:
    """Raises WrongData where two have one id, or where there is none at all."""
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise WrongData(f"{path}: question {question.id} is there twice", AGAIN)
        seen.add(question.id)
        yield question
    if not seen:
        raise WrongData(f"{path} has no question", AGAIN)
