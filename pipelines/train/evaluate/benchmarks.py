"""A benchmark's questions, or some of them, asked and scored."""

import hashlib
from collections.abc import Iterator

from pipelines.train.evaluate.files.registry import benchmark
from pipelines.train.evaluate.generate import answers
from pipelines.train.evaluate.held_out import Look
from pipelines.train.models import Built
from schemas.evaluate import BenchmarkFiles, GenerateConfig, Question, TableRow


def benchmark_rows(
    built: Built, name: str, questions: Iterator[Question], config: GenerateConfig, look: Look = iter
) -> list[TableRow]:
    """`look` sees the answers pass. Raises as `Benchmark` does."""
    return benchmark(name).rows(list(look(answers(built, questions, config))))


def asked_of(name: str, files: BenchmarkFiles, most: int | None = None) -> Iterator[Question]:
    """In the files' order; `most`: so many questions (MMBench: with all their rotations), the first in order of a hash
    of their ids, for which the files are read twice."""
    read = benchmark(name).read
    if most is None:
        return read(files)
    ids = sorted(dict.fromkeys(map(_group, read(files))), key=lambda one: _drawn(name, one))
    chosen = frozenset(ids[:most])
    return (question for question in read(files) if _group(question) in chosen)


def _group(question: Question) -> str:
    return question.group or question.id


def _drawn(name: str, question: str) -> bytes:
    return hashlib.sha256(f"{name}:{question}".encode()).digest()
