"""Benchmarks by name from a folder: which files are found, which questions are asked, what is scored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.train.evaluate.benchmarks import asked_of, benchmark_rows
from pipelines.train.evaluate.files.finding import NAMES, files_in
from pipelines.train.evaluate.files.registry import BENCHMARKS
from pipelines.train.models import Built
from schemas.errors import WrongRequest
from schemas.evaluate import BenchmarkFiles, GenerateConfig
from tests.pipelines.train.evaluate.conftest import Pairmill
from tests.pipelines.train.evaluate.files import test_reading as made
from tests.pipelines.train.evaluate.test_generate import png

MAKERS: dict[str, Callable[..., BenchmarkFiles]] = {
    "vqav2": made.vqav2, "gqa": made.gqa, "textvqa": made.textvqa, "pope": made.pope, "mmbench": made.mmbench,
    "mmmu": made.mmmu,
}  # fmt: skip
PICTURES = {"vqav2": "val2014", "gqa": "images", "textvqa": "train_images", "pope": "val2014"}


@pytest.fixture
def lying(tmp_path: Path) -> Callable[[str], BenchmarkFiles]:
    """A benchmark's files, questions in a folder of their own."""

    def lie(name: str) -> BenchmarkFiles:
        (tmp_path / "questions").mkdir()
        if name in PICTURES:
            (tmp_path / "pictures" / PICTURES[name]).mkdir(parents=True)
        files = MAKERS[name](tmp_path / "questions")
        if name == "mmmu":
            (file,) = files.questions
            files = files.model_copy(update={"questions": (file.rename(file.parent / "validation-0-of-1.parquet"),)})
        return files

    return lie


def test_each_benchmark_has_names() -> None:
    assert NAMES.keys() == BENCHMARKS.keys() == MAKERS.keys()


@pytest.mark.parametrize("name", MAKERS)
def test_files_are_found_wherever_they_lie(name: str, lying: Callable[[str], BenchmarkFiles], tmp_path: Path) -> None:
    files = lying(name)
    found = files_in(name, tmp_path)
    assert sorted(found.questions) == sorted(files.questions) and found.annotations == files.annotations
    assert found.images == (tmp_path / "pictures" / PICTURES[name] if name in PICTURES else None)
    assert found.rotate is (name == "mmbench")
    whole = BENCHMARKS[name].read(files.model_copy(update={"rotate": found.rotate}))
    assert {q.id for q in asked_of(name, found)} == {q.id for q in whole}
    named = files_in(name, files.questions[0], images=tmp_path)
    assert named.questions == files.questions[:1] and named.annotations == files.annotations


@pytest.mark.parametrize(
    ("name", "made", "told"),
    [
        ("gqa", [], "has no testdev_balanced_questions.json"),
        ("gqa", ["testdev_balanced_questions.json"], "has no folder images of pictures; say where it is: --images"),
        ("mmbench", ["a.tsv", "b.tsv"], "has 2 files"),
        ("vqav2", ["v2_OpenEnded_mscoco_val2014_questions.json", "val2014/"], "v2_mscoco_val2014_annotations.json"),
        ("coco", [], "there is no benchmark 'coco'"),
    ],
)
def test_what_is_missing_is_named(name: str, made: list[str], told: str, tmp_path: Path) -> None:
    for one in made:
        (tmp_path / one).mkdir() if one.endswith("/") else (tmp_path / one).touch()
    with pytest.raises(WrongRequest, match=told):
        files_in(name, tmp_path)
    with pytest.raises(WrongRequest, match=r"there is no folder|there is no benchmark"):
        files_in(name, tmp_path / "nowhere")


def pope(folder: Path, count: int = 12) -> Path:
    """Questions that alternate, each with a picture."""
    (folder / "val2014").mkdir()
    lines: list[dict[str, Any]] = [
        {"question_id": i, "image": f"{i}.png", "text": "red ball ?", "label": ["yes", "no"][i % 2]}
        for i in range(count)
    ]
    (folder / "coco_pope_random.json").write_text("".join(json.dumps(one) + "\n" for one in lines))
    for i in range(count):
        (folder / "val2014" / f"{i}.png").write_bytes(png(i))
    return folder


def test_some_questions_are_drawn_by_their_ids(tmp_path: Path) -> None:
    files = files_in("pope", pope(tmp_path))
    whole, few, more = ([q.id for q in asked_of("pope", files, most)] for most in (None, 4, 7))
    assert len(few) == 4 and len(more) == 7 and set(few) < set(more) < set(whole)
    assert few == [one for one in whole if one in few] != whole[:4]
    assert [q.id for q in asked_of("pope", files, 99)] == whole


def test_rotations_stay_together(tmp_path: Path) -> None:
    files = made.mmbench(tmp_path).model_copy(update={"rotate": True})
    whole = list(asked_of("mmbench", files))
    (group,) = {q.group for q in asked_of("mmbench", files, 1)}
    assert [q.id for q in asked_of("mmbench", files, 1)] == [q.id for q in whole if q.group == group]


def test_a_benchmark_is_asked_and_scored(tmp_path: Path, builder: Callable[..., Built]) -> None:
    files = files_in("pope", pope(tmp_path, 4))
    (everything,) = benchmark_rows(builder(), "pope", asked_of("pope", files), GenerateConfig(max_new_tokens=2))
    assert (everything.name, everything.count, everything.unanswered) == ("all", 4, 0)


def test_the_command(tiny: Path, tmp_path: Path, pairmill: Pairmill) -> None:
    words = ("evaluate", tiny, "--benchmark", "pope", "--files", pope(tmp_path), "--most", "4", "--device", "cpu")
    code, out, _ = pairmill(*words, "--max-new-tokens", "2")
    assert code == 0 and "pope" in out and "precision" in out
    code, out, _ = pairmill(*words, "--max-new-tokens", "2", "--json")
    told = json.loads(out)
    assert (code, told["stage"], told["pope"][0]["count"]) == (0, "tune", 4)
