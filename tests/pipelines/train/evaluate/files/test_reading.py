"""The six formats, written small as they are distributed, read back; and what is wrong with them, named."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.train.evaluate.files.registry import BENCHMARKS, benchmark
from schemas.errors import WrongData, WrongRequest
from schemas.evaluate import BenchmarkFiles, Question

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


def png(colour: str) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(made, "PNG")
    return made.getvalue()


RED, BLUE = png("red"), png("blue")


def put(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


# VQAv2: https://visualqa.org/download.html; a question and its annotation have the same question_id.
def vqav2(folder: Path, **changes: Any) -> BenchmarkFiles:
    people = [{"answer": "yes", "answer_confidence": "maybe", "answer_id": i + 1} for i in range(10)]
    common = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": "val2014"}
    questions = [{"image_id": 42, "question": "Is it red?", "question_id": 42001}]
    annotation = {
        "question_type": "is it", "multiple_choice_answer": "yes", "answers": people, "image_id": 42,
        "answer_type": "yes/no", "question_id": 42001,
    }  # fmt: skip
    asked = {**common, "task_type": "Open-Ended", "questions": questions} | changes.get("questions", {})
    said = {**common, "annotations": [annotation | changes.get("annotation", {})]}
    return BenchmarkFiles(
        questions=(put(folder / "v2_OpenEnded_mscoco_val2014_questions.json", asked),),
        annotations=put(folder / "v2_mscoco_val2014_annotations.json", said),
        images=folder / "val2014",
    )


# GQA: an object of questions by id (cs.stanford.edu/people/dorarad/gqa; its eval.py).
def gqa(folder: Path, **changes: Any) -> BenchmarkFiles:
    question = {
        "semantic": [], "entailed": [], "equivalent": ["1"], "question": "Is it left?", "imageId": "n161313",
        "isBalanced": True, "groups": {"global": None, "local": ""}, "answer": "left", "semanticStr": "",
        "annotations": {}, "types": {"detailed": "d", "semantic": "rel", "structural": "choose"}, "fullAnswer": "x",
    }  # fmt: skip
    whole = {"201307251": question | changes, "2": question | {"isBalanced": False}}
    return BenchmarkFiles(questions=(put(folder / "testdev_balanced_questions.json", whole),), images=folder)


# TextVQA 0.5.1: {dataset_type, data: [{question_id, question, image_id, answers …}]}.
def textvqa(folder: Path, **changes: Any) -> BenchmarkFiles:
    record = {
        "question": "what is the brand of this camera?", "image_id": "003a8ae2ef43b901", "question_id": 34602,
        "image_classes": ["Camera"], "flickr_300k_url": "https://a.test/1.jpg", "image_width": 6, "image_height": 4,
        "set_name": "val", "question_tokens": ["what"], "answers": ["dakota"] * 10,
    }  # fmt: skip
    whole = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1", "data": [record | changes]}
    return BenchmarkFiles(questions=(put(folder / "TextVQA_0.5.1_val.json", whole),), images=folder)


# POPE: JSON lines, one file for each kind of negatives.
def pope(folder: Path, **changes: Any) -> BenchmarkFiles:
    first = {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a snowboard in the image?"}
    text = "".join(json.dumps(one) + "\n" for one in (first | {"label": "yes"} | changes,))
    paths = tuple(put(folder / f"coco_pope_{name}.json", text) for name in ("random", "popular"))
    return BenchmarkFiles(questions=paths, images=folder / "val2014")


# MMBench: a table with tabs; the second row's picture is the first's; the third is the first, rotated.
def mmbench(folder: Path, **changes: Any) -> BenchmarkFiles:
    names = "index question hint A B C D answer category image source l2-category split"
    columns = names.split()
    picture = base64.b64encode(RED * 3).decode()
    rows = [
        {"index": "7", "question": 'Which is "red"?', "hint": "Look.", "A": "ball", "B": "cube", "answer": "A",
         "category": "attribute_recognition", "image": picture, "split": "dev"},
        {"index": "8", "question": "Which?", "A": "1", "B": "2", "C": "nan", "answer": "B", "category": "ocr",
         "image": "7"},
        {"index": "1000007", "question": "Which\nis red?", "hint": "nan", "A": "cube", "B": "ball", "answer": "B",
         "category": "attribute_recognition", "image": "7"},
    ]  # fmt: skip
    rows[1] |= changes

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in '"\n\t') else text

    lines = ["\t".join(columns), *("\t".join(cell(row.get(c, "")) for c in columns) for row in rows)]
    return BenchmarkFiles(questions=(put(folder / "mmbench_dev_20230712.tsv", "\n".join(lines) + "\n"),))


# MMMU: the hub's parquet; options are a list of Python as text.
def mmmu(folder: Path, **changes: Any) -> BenchmarkFiles:
    common = {"explanation": "", "img_type": "['Diagrams']", "topic_difficulty": "Easy", "subfield": "s"}
    rows = [
        {"id": "validation_Art_Theory_1", "question": "<image 2> beside <image 1> is",
         "options": "['a \\'cup\\'', 'b']",
         "answer": "B", "question_type": "multiple-choice"} | changes,
        {"id": "validation_Math_2", "question": "How many?", "options": "[]", "answer": "['4', 'four']",
         "question_type": "open"},
    ]  # fmt: skip
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns: dict[str, Any] = {
        name: pa.array([{**common, **row}[name] for row in rows])
        for name in ("id", "question", "options", "explanation", "img_type", "answer", "topic_difficulty",
                     "question_type", "subfield")
    }  # fmt: skip
    held = {1: [RED, BLUE], 2: [BLUE, None]}
    for n in range(1, 8):
        cells = [None if one is None else {"bytes": one, "path": "x.png"} for one in held.get(n, [None, None])]
        columns[f"image_{n}"] = pa.array(cells, image)
    pq.write_table(pa.table(columns), folder / "validation-00000-of-00001.parquet")
    return BenchmarkFiles(questions=(folder / "validation-00000-of-00001.parquet",))


WRITERS: dict[str, Callable[..., BenchmarkFiles]] = {
    "vqav2": vqav2, "gqa": gqa, "textvqa": textvqa, "pope": pope, "mmbench": mmbench, "mmmu": mmmu,
}  # fmt: skip


def questions(name: str, files: BenchmarkFiles) -> list[Question]:
    return list(benchmark(name).read(files))


def test_vqav2(tmp_path: Path) -> None:
    (one,) = questions("vqav2", vqav2(tmp_path))
    assert (one.id, one.text, one.subset) == ("42001", "Is it red?" + SHORT, "yes/no")
    assert one.images == (tmp_path / "val2014" / "COCO_val2014_000000000042.jpg",)
    assert one.answers == ("yes",) * 10


def test_vqav2_without_annotations_is_asked_and_not_scored(tmp_path: Path) -> None:
    files = vqav2(tmp_path, questions={"data_subtype": "test-dev2015"}).model_copy(update={"annotations": None})
    (one,) = questions("vqav2", files)
    assert one.answers == () and one.images == (tmp_path / "val2014" / "COCO_test2015_000000000042.jpg",)


def test_gqa_asks_the_balanced_questions(tmp_path: Path) -> None:
    (one,) = questions("gqa", gqa(tmp_path))
    assert (one.id, one.text, one.answers, one.subset) == ("201307251", "Is it left?" + SHORT, ("left",), "choose")
    assert one.images == (tmp_path / "n161313.jpg",)


def test_textvqa(tmp_path: Path) -> None:
    (one,) = questions("textvqa", textvqa(tmp_path))
    assert (one.id, one.text) == ("34602", "What is the brand of this camera?" + SHORT)
    assert one.images == (tmp_path / "003a8ae2ef43b901.jpg",) and one.answers == ("dakota",) * 10


def test_pope_in_lines_or_as_a_list(tmp_path: Path) -> None:
    files = pope(tmp_path)
    found = questions("pope", files)
    assert [(one.id, one.subset, one.answers) for one in found] == [
        ("random-1", "random", ("yes",)), ("popular-1", "popular", ("yes",)),
    ]  # fmt: skip
    assert found[0].text == "Is there a snowboard in the image?" + SHORT
    assert found[0].images == (tmp_path / "val2014" / "COCO_val2014_000000310196.jpg",)
    for path in files.questions:
        path.write_text("[" + path.read_text() + "]")
    assert questions("pope", files) == found


def test_mmbench(tmp_path: Path) -> None:
    first, second, third = questions("mmbench", mmbench(tmp_path))
    assert first.text == f'Look.\nWhich is "red"?\nA. ball\nB. cube\n{LETTER}'
    assert (first.id, first.group, first.subset, first.answers) == ("7", "7", "attribute_recognition", ("A",))
    assert first.images == second.images == third.images == (RED * 3,)
    assert (second.choices, second.group) == (("1", "2"), "8")
    assert (third.id, third.group, third.text) == ("1000007", "7", f"Which\nis red?\nA. cube\nB. ball\n{LETTER}")


def test_mmbench_rotates_what_the_file_has_once(tmp_path: Path) -> None:
    found = questions("mmbench", mmbench(tmp_path).model_copy(update={"rotate": True}))
    assert [one.id for one in found] == ["7", "8", "1000008", "1000007"]
    assert (found[2].choices, found[2].answers, found[2].group) == (("2", "1"), ("A",), "8")
    assert found[2].text == f"Which?\nA. 2\nB. 1\n{LETTER}"


def test_mmmu(tmp_path: Path) -> None:
    choice, opened = questions("mmmu", mmmu(tmp_path))
    assert choice.text == f"<image 2> beside <image 1> is\n(A) a 'cup'\n(B) b\n\n{LETTER}"
    assert (choice.images, choice.choices, choice.answers) == ((RED, BLUE), ("a 'cup'", "b"), ("B",))
    assert (choice.subset, opened.subset) == ("Art_Theory", "Math")
    assert (opened.text, opened.images, opened.choices) == ("How many?" + SHORT, (BLUE,), ())
    assert opened.answers == ("4", "four")


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "mmmu"])
def test_half_a_file_is_named(name: str, tmp_path: Path) -> None:
    files = WRITERS[name](tmp_path)
    path = files.questions[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(WrongData, match=path.name):
        questions(name, files)


def test_half_a_parquet_file_is_named(tmp_path: Path) -> None:
    files = mmmu(tmp_path)
    files.questions[0].write_bytes(files.questions[0].read_bytes()[:-20])
    with pytest.raises(WrongData, match=r"validation-00000-of-00001.parquet cannot be read"):
        questions("mmmu", files)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_not_there_is_a_wrong_request(name: str, tmp_path: Path) -> None:
    files = WRITERS[name](tmp_path)
    for path in files.questions:
        path.unlink()
    with pytest.raises(WrongRequest, match=files.questions[0].name):
        questions(name, files)


@pytest.mark.parametrize(
    ("name", "changes", "finding"),
    [
        ("vqav2", {"annotation": {"question_id": 5}}, "annotations.json: no annotation of question 42001"),
        ("vqav2", {"annotation": {"answers": [{"answer": "yes"}]}}, "annotation 0: it has not 10 people's answers"),
        ("vqav2", {"questions": {"questions": []}}, "questions are no list of objects, or an empty one"),
        ("vqav2", {"questions": {"questions": [{"question_id": 42001}]}}, "question 0: it has no image_id"),
        ("gqa", {"answer": 3}, "question 201307251: its answer is no text"),
        ("gqa", {"types": None}, "question 201307251: not an object"),
        ("gqa", {"imageId": "../../etc/passwd"}, "question 201307251: its picture .* is no file's name"),
        ("gqa", {"isBalanced": False}, "questions.json has no question"),
        ("textvqa", {"answers": ["a", "b"]}, "question 0: it has 2 answers, not 10"),
        ("pope", {"label": "maybe"}, "coco_pope_random.json: line 1: its label is 'maybe'"),
        ("mmbench", {"image": "99"}, "row 3 .index 8.: its picture is that of row '99', which has none"),
        ("mmbench", {"image": "!" * 80}, "row 3 .index 8.: its image is no base64"),
        ("mmbench", {"answer": "C"}, "row 3 .index 8.: its answer 'C' is none of its choices"),
        ("mmbench", {"B": ""}, "row 3 .index 8.: it has fewer than two choices"),
        ("mmbench", {"index": "1000007"}, "question 1000007 is there twice"),
        ("mmbench", {"index": "x"}, "row 3 .index x.: its index 'x' is no whole number"),
        ("mmmu", {"options": "['a',"}, "row 0 .validation_Art_Theory_1.: .* is no list"),
        ("mmmu", {"answer": "C"}, "row 0 .*its answer 'C' is none of its choices"),
        ("mmmu", {"question": "see <image 3>"}, "row 0 .*image_3 has no bytes"),
    ],
)
def test_a_wrong_record_is_named(name: str, changes: dict[str, Any], finding: str, tmp_path: Path) -> None:
    with pytest.raises(WrongData, match=finding):
        questions(name, WRITERS[name](tmp_path, **changes))


def test_annotations_of_questions_that_are_not_asked_are_named(tmp_path: Path) -> None:
    files = vqav2(tmp_path)
    assert files.annotations is not None
    said = json.loads(files.annotations.read_text())
    said["annotations"].append(said["annotations"][0] | {"question_id": 9})
    put(files.annotations, said)
    with pytest.raises(WrongData, match="1 annotated questions are not in it, 9 among them"):
        questions("vqav2", files)


def test_a_hidden_answer_is_none(tmp_path: Path) -> None:
    assert questions("mmmu", mmmu(tmp_path, answer="?"))[0].answers == ()
    assert questions("mmbench", mmbench(tmp_path, answer=""))[1].answers == ()


def test_pictures_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="say where they lie: images"):
        questions("gqa", gqa(tmp_path).model_copy(update={"images": None}))


def test_an_unknown_benchmark_is_refused_with_the_known() -> None:
    with pytest.raises(WrongRequest, match=f"no benchmark 'mme'.*{next(iter(BENCHMARKS))}"):
        benchmark("mme")
