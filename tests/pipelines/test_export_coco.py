"""Masks as COCO: what pycocotools reads is what the shards hold, nothing is lost without a reason."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from pipelines.export import Exported, ExportOptions, export
from pipelines.exports import command
from pipelines.manifest import write_manifest
from schemas.errors import WrongData, WrongRequest
from schemas.ledger import ShardEntry
from schemas.mask import Mask, Masks, Prompt
from stages.payload import PayloadTar
from stages.shard.document import mask_documents
from stages.store import Store
from tests.builders import sample, sid
from tests.finished import finished, recipe, rewrite
from tests.stages.masks.made import block, mask_of

HEIGHT, WIDTH = 30, 40
KINDS = {"image": "png", "json": "json", "masks": "masks.json", "txt": "txt"}


def _png(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (number * 37 % 256, 90, 200)).save(file, "PNG")
    return file.getvalue()


def _masked(url: Path, masks: Sequence[list[Mask]], **shards: Any) -> Store:
    """A finished build of one sample (`sid(i)`, 40 × 30) per entry, with its masks as the shard writer puts them."""
    rows = [sample(i, image=_png(i), width=WIDTH, height=HEIGHT) for i in range(len(masks))]
    store = finished(url, rows, **shards)
    column = pa.array([[one.model_dump() for one in each] for each in masks], Masks.arrow_schema().field("masks").type)
    documents = mask_documents(pa.table({"masks": column}))
    assert documents is not None
    by_id = {sid(i): document for i, document in enumerate(documents)}
    tars = sorted(n for n in store.listing("shards") if n.endswith(".tar"))
    rewrite(store, "shards/index.parquet", pa.concat_tables([_added(store, tar, by_id) for tar in tars]))
    write_manifest(store, recipe(**shards))
    return store


def _added(store: Store, tar: str, by_id: dict[str, bytes]) -> pa.Table:
    index, whole = f"{tar.removesuffix('.tar')}.parquet", store.read_bytes(tar)
    rows: list[dict[str, Any]] = store.read_table(index).to_pylist()
    with store.committing(tar) as path:
        out = PayloadTar(path)
        for row in rows:
            data = {"masks": by_id[row["sample_id"]]}
            data |= {k: whole[row[f"{k}_offset"] :][: row[f"{k}_size"]] for k in KINDS if k != "masks"}
            for kind, ext in KINDS.items():
                member = out.add(f"{row['key']}.{ext}", data[kind])
                row |= {f"{kind}_offset": member.offset, f"{kind}_size": member.size}
        sha256 = out.finish()
    table = pa.Table.from_pylist(rows, schema=ShardEntry.arrow_schema())
    rewrite(store, index, table, tar_sha256=sha256, tar_bytes=out.bytes)
    return table


def _block(x: int, y: int, w: int, h: int, **columns: Any) -> Mask:
    return mask_of(block(HEIGHT, WIDTH, x, y, w, h), **columns)


def _ring() -> np.ndarray:
    pixels = block(HEIGHT, WIDTH, 5, 4, 20, 15)
    pixels[8:12, 10:15] = False
    return pixels


MASKS = [
    [
        mask_of(_ring(), label="ring", score=0.75),
        _block(20, 10, 15, 15, label="box", predicted_iou=0.9, stability=0.96, prompt_index=1),
        _block(20, 10, 5, 5, label="box", predicted_iou=0.5, prompt_index=1, best=False),
    ],
    [],
    [_block(0, 0, 40, 30, label=None, prompt=Prompt.everything, prompt_index=None, point_x=3.5, point_y=7.25)],
    [_block(39, 29, 1, 1, label="ring"), _block(1, 1, 3, 9, label="  ")],
    [_block(10, 10, 9, 9, label="Straße\u2028 “犬”")],
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return _masked(tmp_path_factory.mktemp("coco") / "b", MASKS)


def _written(store: Store, out: Path, **options: Any) -> tuple[Exported, dict[str, Any]]:
    said = export(store, "coco", out, ExportOptions(**options))
    return said, json.loads((out / "train.json").read_text(encoding="utf-8"))


def _loaded(path: Path) -> Any:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_pycocotools_reads_the_masks_that_the_shards_hold(store: Store, tmp_path: Path) -> None:
    _written(store, tmp_path / "out", all_masks=True)
    coco = _loaded(tmp_path / "out" / "train.json")
    by_sample = {image["sample_id"]: image["id"] for image in coco.dataset["images"]}
    assert set(by_sample) == {sid(i) for i in range(5)}
    seen = 0
    for number, masks in enumerate(MASKS):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[by_sample[sid(number)]]))
        assert len(annotations) == len(masks)
        for annotation, mask in zip(annotations, masks, strict=True):
            pixels = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(pixels)
            assert annotation["bbox"] == [mask.x, mask.y, mask.w, mask.h]
            assert annotation["bbox"][:2] == [columns.min(), rows.min()]
            assert annotation["area"] == mask.area == pixels.sum()
            assert annotation["sample_id"] == sid(number)
            seen += 1
    assert seen == 7
    (ring, *_) = coco.loadAnns(coco.getAnnIds(imgIds=[by_sample[sid(0)]]))
    assert (coco.annToMask(ring).astype(bool) == _ring()).all()


def test_an_annotation_says_what_is_known_of_the_mask(store: Store, tmp_path: Path) -> None:
    _, document = _written(store, tmp_path / "out")
    first, second = (one for one in document["annotations"] if one["sample_id"] == sid(0))
    (third,) = (one for one in document["annotations"] if one["sample_id"] == sid(2))
    assert (first["score"], first["predicted_iou"], first["stability_score"]) == (0.75, None, None)
    assert (second["predicted_iou"], second["stability_score"], second["iscrowd"]) == (0.9, 0.96, 0)
    assert (third["prompt"], third["point_coords"]) == ("everything", [[3.5, 7.25]])
    assert "point_coords" not in first
    assert [one["id"] for one in document["annotations"]] == [1, 2, 3, 4, 5, 6]


def test_labels_are_categories_and_no_label_is_object(store: Store, tmp_path: Path) -> None:
    _, document = _written(store, tmp_path / "out")
    names = {one["id"]: one["name"] for one in document["categories"]}
    assert list(names) == [1, 2, 3, 4]
    said = [(one["sample_id"], names[one["category_id"]]) for one in document["annotations"]]
    assert sorted(said) == [
        (sid(0), "box"), (sid(0), "ring"), (sid(2), "object"), (sid(3), "object"), (sid(3), "ring"),
        (sid(4), "Straße\u2028 “犬”"),
    ]  # fmt: skip
    assert [names[one] for one in names] == list(dict.fromkeys(name for _, name in said)), "in order of appearance"


def test_only_the_best_masks_and_the_rest_counted(store: Store, tmp_path: Path) -> None:
    best, _ = _written(store, tmp_path / "best")
    assert (best.records, best.left, best.samples) == ({"train.json": 6}, {"not_best": 1}, 5)
    assert best.kinds == {"box": 5, "everything": 1}
    every, document = _written(store, tmp_path / "all", all_masks=True)
    assert (every.records, every.left) == ({"train.json": 7}, {})
    assert [one["best"] for one in document["annotations"]].count(False) == 1


def test_coco_evaluation_runs_and_finds_the_masks_equal_to_themselves(store: Store, tmp_path: Path) -> None:
    from pycocotools.cocoeval import COCOeval

    _, document = _written(store, tmp_path / "out")
    truth = _loaded(tmp_path / "out" / "train.json")
    results = [{**one, "score": 0.9} for one in document["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        for kind in ("segm", "bbox"):
            evaluation = COCOeval(truth, truth.loadRes([dict(one) for one in results]), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            assert evaluation.stats[0] == pytest.approx(1.0)
            fewer = COCOeval(truth, truth.loadRes([dict(one) for one in results[:1]]), kind)
            fewer.evaluate()
            fewer.accumulate()
            fewer.summarize()
            assert 0 < fewer.stats[0] < 0.5


def test_pictures_lie_where_the_file_says(store: Store, tmp_path: Path) -> None:
    said, document = _written(store, tmp_path / "out", images=True)
    assert said.images == len(document["images"]) == 5
    for one in document["images"]:
        with Image.open(tmp_path / "out" / one["file_name"]) as picture:
            assert picture.size == (one["width"], one["height"]) == (WIDTH, HEIGHT)
            assert picture.getpixel((0, 0))[0] == int(one["sample_id"], 16) * 37 % 256  # type: ignore[index]


def test_splits_have_files_of_their_own_with_the_same_categories(tmp_path: Path) -> None:
    masks = [[_block(1, 1, 5, 5, label=f"label {i % 3}")] for i in range(12)]
    export(_masked(tmp_path / "b", masks, val_share=0.4), "coco", tmp_path / "out")
    train, val = (json.loads((tmp_path / "out" / f"{split}.json").read_text()) for split in ("train", "val"))
    assert train["categories"] == val["categories"]
    assert len(train["categories"]) == 3
    for key in ("images", "annotations"):
        ids = [one["id"] for one in (*train[key], *val[key])]
        assert train[key] and val[key] and sorted(ids) == list(range(1, 13))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["export.json", "train.json", "val.json"]


def test_the_same_bytes_again(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export(store, "coco", tmp_path / name)
    assert (tmp_path / "a" / "train.json").read_bytes() == (tmp_path / "b" / "train.json").read_bytes()


def test_pictures_without_any_mask_are_listed(tmp_path: Path) -> None:
    said, document = _written(_masked(tmp_path / "b", [[], []]), tmp_path / "out")
    assert (len(document["images"]), document["annotations"], document["categories"]) == (2, [], [])
    assert said.records == {"train.json": 0}
    assert _loaded(tmp_path / "out" / "train.json").getImgIds() == [1, 2]


# ------------------------------------------------------------------------------------------- wrong requests and data


def test_a_build_without_masks(tmp_path: Path) -> None:
    store = finished(tmp_path / "b", [sample(0)])
    with pytest.raises(WrongRequest, match="has no masks"):
        export(store, "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format", "options"),
    [("coco", {"kinds": ("vqa",)}), ("coco", {"captions": True}), ("llava", {"all_masks": True}),
     ("coco", {"pictures": "data"})],
)  # fmt: skip
def test_options_of_the_other_kind(store: Store, format: str, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(WrongRequest):
        export(store, format, tmp_path / "out", ExportOptions(**options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"area":', b'"arae":'), (b'"best":true', b'"best":7.25'), (b'"size":[30,40]', b'"size":[31,40]'),
     (b'"bbox":[5,4,20,15]', b'"bbox":[5,4,20154]'), (b'[{"area"', b'{{"area"')],
)  # fmt: skip
def test_damaged_masks_are_named(old: bytes, new: bytes, tmp_path: Path) -> None:
    store = _masked(tmp_path / "b", MASKS[:1])
    (tar,) = (tmp_path / "b" / "shards").glob("*.tar")
    whole = tar.read_bytes()
    assert old in whole and len(old) == len(new)
    tar.write_bytes(whole.replace(old, new, 1))
    with pytest.raises(WrongData, match=rf"{sid(0)}.*masks\.json"):
        export(store, "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_line(store: Store, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command.export)
    args = [store.url, "--format", "coco", "--all-masks", "--out"]
    plain = CliRunner().invoke(app, [*args, str(tmp_path / "a")])
    assert plain.exit_code == 0, plain.output
    assert "train.json: 7 records" in plain.output and "prompts: box 6, everything 1" in plain.output
    machine = CliRunner().invoke(app, [*args, str(tmp_path / "b"), "--json"])
    assert json.loads(machine.output) == json.loads((tmp_path / "b" / "export.json").read_text())
