"""A benchmark's files in the folder where they were unpacked, by the names that they are distributed under."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.train.evaluate.files.registry import benchmark
from schemas.errors import WrongRequest
from schemas.evaluate import BenchmarkFiles


@dataclass(frozen=True)
class Names:
    """Glob patterns under a folder, whatever lies between."""

    questions: str
    several: bool = False
    annotations: str | None = None
    images: tuple[str, ...] = ()
    """Folders of pictures; the first that is there. Empty: the pictures are in the questions' file."""


NAMES = {
    "vqav2": Names(
        "v2_OpenEnded_mscoco_val2014_questions.json",
        annotations="v2_mscoco_val2014_annotations.json",
        images=("val2014",),
    ),
    "gqa": Names("testdev_balanced_questions.json", images=("images",)),
    "textvqa": Names("TextVQA_0.5.1_val.json", images=("train_images", "train_val_images")),
    "pope": Names("coco_pope_*.json", several=True, images=("val2014",)),
    "mmbench": Names("*.tsv"),
    "mmmu": Names("validation-*.parquet", several=True),
}


def files_in(name: str, place: Path, images: Path | None = None) -> BenchmarkFiles:
    """`place`: a folder, or the file of questions itself, beside which the rest lies. `images`: where the pictures are,
    if elsewhere. MMBench's questions are asked for each rotation of their choices (CircularEval). Raises WrongRequest
    naming what is missing, or found more than once."""
    benchmark(name)
    names = NAMES[name]
    around = place.parent if place.is_file() else place
    if not around.is_dir():
        raise WrongRequest(f"there is no folder {place}", f"give the one in which {name}'s files lie")
    questions = [place] if place.is_file() else _found(around, names.questions)
    if not questions:
        raise WrongRequest(f"{place} has no {names.questions}", "name the file of questions itself with --files")
    if len(questions) > 1 and not names.several:
        raise WrongRequest(
            f"{place} has {len(questions)} files {names.questions}: {', '.join(str(one) for one in questions[:3])}",
            "name the one that is meant with --files",
        )
    if names.images and images is None:
        images = next((found for one in names.images for found in _found(around, one) if found.is_dir()), None)
        if images is None:
            raise WrongRequest(f"{around} has no folder {names.images[0]} of pictures", "say where it is: --images")
    return BenchmarkFiles(
        questions=tuple(questions),
        annotations=None if names.annotations is None else _annotations(around, questions[0], names.annotations),
        images=images,
        rotate=name == "mmbench",
    )


def _annotations(around: Path, questions: Path, usual: str) -> Path:
    """Of the questions' own split: VQAv2 has OpenEnded_ and questions where the annotations' name differs."""
    told = questions.name.replace("OpenEnded_", "").replace("_questions", "_annotations")
    name = told if told != questions.name else usual
    found = _found(around, name)
    if not found:
        raise WrongRequest(f"{around} has no {name}", "without the answers nothing can be scored: download it")
    return found[0]


def _found(around: Path, pattern: str) -> list[Path]:
    """In order of their paths, those that lie highest first."""
    return sorted(around.rglob(pattern), key=lambda path: (len(path.parts), path))
