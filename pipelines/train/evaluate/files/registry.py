"""Benchmarks by name: how their files are read, and how answers are scored."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipelines.train.evaluate import choices, vqa_score
from pipelines.train.evaluate import mmmu as mmmu_score
from pipelines.train.evaluate import pope as pope_score
from pipelines.train.evaluate.files import gqa, mmbench, mmmu, pope, textvqa, vqav2
from schemas.errors import WrongRequest
from schemas.evaluate import Answer, BenchmarkFiles, Question, TableRow


@dataclass(frozen=True)
class Benchmark:
    """Of one name."""

    read: Callable[[BenchmarkFiles], Iterator[Question]]
    """Raises WrongRequest for files that are not named or not there, WrongData naming file and record."""
    rows: Callable[[Iterable[Answer]], list[TableRow]]
    """A row for all, then one for each subset. Raises WrongData where a question has no answers."""


BENCHMARKS = {
    "vqav2": Benchmark(vqav2.read, vqa_score.vqav2_rows),
    "gqa": Benchmark(gqa.read, vqa_score.gqa_rows),
    "textvqa": Benchmark(textvqa.read, vqa_score.textvqa_rows),
    "pope": Benchmark(pope.read, pope_score.pope_rows),
    "mmbench": Benchmark(mmbench.read, choices.mmbench_rows),
    "mmmu": Benchmark(mmmu.read, mmmu_score.mmmu_rows),
}


def benchmark(name: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise WrongRequest(f"there is no benchmark {name!r}", f"take one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
