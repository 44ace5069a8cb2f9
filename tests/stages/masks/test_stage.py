"""The masks stage: prompts in their places, labels, scores, what is measured, what is rejected."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import WrongRequest
from schemas.mask import Maskable, Masks, Rle
from schemas.masks_config import EverythingConfig, LabelConfig, MasksConfig, SamConfig
from schemas.recipe import ClipConfig, ResizeConfig
from schemas.row import cast
from stages.masks.rle import decode
from stages.masks.stage import FindMasks, Surroundings
from stages.measure.clip import ClipMeasure
from tests.stages.cases import batch_of
from tests.stages.masks.tiny_sam import saved, tiny_processor, tiny_sam
from tests.stages.measure.builders import encoded, tiny_clip

GREY = (90, 90, 90)


def drawn(width: int, height: int, *squares: tuple[int, int, int]) -> bytes:
    """A grey picture as PNG with bright squares: left, top, side of each."""
    rng = np.random.default_rng(1)
    rgb = rng.integers(80, 100, (height, width, 3), np.uint8)
    for x, y, side in squares:
        rgb[y : y + side, x : x + side] = rng.integers((220, 30, 30), (240, 50, 50), (side, side, 3)).astype(np.uint8)
    return encoded(rgb, "PNG")


def box(x: float, y: float, side: float, label: str | None = "red square") -> dict[str, Any]:
    return {"label": label, "x": x, "y": y, "w": side, "h": side}


def processed(stage: FindMasks, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    stage.open()
    try:
        outcome = stage.process(batch_of(Maskable, list(rows)))
    finally:
        stage.close()
    assert outcome.reason.null_count == len(rows)
    return cast(outcome.table, Masks.arrow_schema(), "masks").to_pylist()


def pixels(mask: dict[str, Any]) -> np.ndarray:
    return decode(Rle(**mask["rle"]))


# ------------------------------------------------------------------------------------------------ boxes


def test_a_mask_is_joined_to_the_box_that_asked() -> None:
    boxes = [box(500, 5, 9), box(10, 20, 30), box(float("nan"), 0, 3), box(60, 10, 20, None)]
    (row,) = processed(FindMasks(MasksConfig()), {"image": drawn(100, 60, (10, 20, 30), (60, 10, 20)), "boxes": boxes})
    assert [(m["prompt_index"], m["label"], m["prompt"]) for m in row["masks"]] == [
        (1, "red square", "box"),
        (3, None, "box"),
    ]
    assert [(m["x"], m["y"], m["w"], m["h"], m["area"]) for m in row["masks"]] == [
        (10, 20, 30, 30, 900),
        (60, 10, 20, 20, 400),
    ]
    assert pixels(row["masks"][0])[20:50, 10:40].all()
    assert (row["mask_count"], row["mask_largest"], row["box_agreement"]) == (2, 900, 1.0)
    assert row["mask_coverage"] == pytest.approx(1300 / 6000)


@pytest.mark.parametrize(
    ("resize", "width", "height", "at"),
    [
        (ResizeConfig(mode="keep_ratio", size=50), 100, 50, (10, 10)),
        (ResizeConfig(mode="border", size=100), 100, 100, (10, 35)),
        (ResizeConfig(mode="center_crop", size=50), 50, 50, (-15, 10)),
    ],
)
def test_boxes_are_asked_where_the_resize_put_them(
    resize: ResizeConfig, width: int, height: int, at: tuple[int, int]
) -> None:
    x, y = at[0] + (20 if at[0] < 0 else 0), at[1]
    row = {"image": drawn(width, height, (x, y, 20)), "original_width": 200, "original_height": 100}
    there = 2 * (x - at[0]) + 20
    (found,) = processed(FindMasks(MasksConfig(), Surroundings(resize)), row | {"boxes": [box(there, 20, 40)]})
    assert [(m["x"], m["y"], m["w"], m["h"]) for m in found["masks"]] == [(x, y, 20, 20)]


def test_no_more_is_asked_than_the_recipe_says() -> None:
    boxes = [box(i, 0, 8) for i in range(0, 40, 8)]
    (row,) = processed(FindMasks(MasksConfig(most=2)), {"image": drawn(60, 20, (8, 0, 8)), "boxes": boxes})
    assert {m["prompt_index"] for m in row["masks"]} <= {0, 1}


def test_pictures_that_do_not_decode_are_named_and_touch_no_other() -> None:
    good = {"image": drawn(60, 60, (10, 10, 30)), "boxes": [box(10, 10, 30)]}
    stage = FindMasks(MasksConfig())
    outcome = stage.process(batch_of(Maskable, [good, good | {"image": good["image"][:300]}, good]))
    assert outcome.reason.to_pylist() == [None, "undecodable", None]
    assert outcome.detail is not None and outcome.detail.to_pylist()[1]
    masks = outcome.table["masks"].to_pylist()
    assert masks[0] == masks[2] and masks[1] is None


# ------------------------------------------------------------------------------------------------ SAM


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("sam"), tiny_sam(), tiny_processor())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClipMeasure]:
    yield ClipMeasure(ClipConfig(model=tiny_clip(tmp_path_factory.mktemp("clip") / "tiny"), batch_size=4))


def seen_by(sam: Path, **more: Any) -> MasksConfig:
    everything = EverythingConfig(points_per_side=4, predicted_iou=0, stability=0, smallest_region=0)
    return MasksConfig(backend="sam", sam=SamConfig(model=str(sam)), everything=everything, **more)


def test_a_point_has_three_masks_and_its_own_label(sam: Path) -> None:
    points = [{"label": "far", "x": 900, "y": 3}, {"label": "cup", "x": 20, "y": 30}]
    (row,) = processed(
        FindMasks(seen_by(sam, prompt="point")), {"image": drawn(80, 60, (10, 20, 30)), "points": points}
    )
    assert {(m["prompt_index"], m["label"], m["prompt"]) for m in row["masks"]} == {(1, "cup", "point")}
    assert len(row["masks"]) == 3 and sum(m["best"] for m in row["masks"]) == row["mask_count"] == 1
    assert all(m["predicted_iou"] is not None for m in row["masks"])
    assert row["box_agreement"] is None


def test_everything_is_named_from_the_caption_and_measured_against_it(sam: Path, clip: ClipMeasure) -> None:
    config = seen_by(sam, prompt="everything", labels=LabelConfig(least=-1), clip=True)
    rows = [
        {"image": drawn(80, 60, (10, 20, 30)), "caption": "a red cup and a blue plate on a table"},
        {"image": drawn(60, 80, (10, 20, 30)), "caption": None},
    ]
    said, silent = processed(FindMasks(config, Surroundings(clip=clip)), *rows)
    named = {m["label"] for m in said["masks"] if m["best"]}
    assert named and named <= {"red cup", "cup", "blue plate", "plate", "table"}
    assert all(-1 <= m["score"] <= 1 for m in said["masks"] if m["best"])
    assert said["mask_clip"] is not None and said["mask_clip"] <= 1
    assert {m["label"] for m in silent["masks"]} == {None} and silent["mask_clip"] is None


def test_what_a_recipe_asks_of_other_rows_decides_nothing(sam: Path) -> None:
    rows = [{"image": drawn(40 + i, 60, (5, 5, 20)), "boxes": [box(5, 5, 20)] * (i % 3)} for i in range(5)]
    config = seen_by(sam)
    together = processed(FindMasks(config), *rows)
    for i, row in enumerate(rows):
        (alone,) = processed(FindMasks(config), row)
        assert [m["rle"] for m in alone["masks"]] == [m["rle"] for m in together[i]["masks"]]


# ------------------------------------------------------------------------------------------------ requests


def test_labels_need_a_clip(sam: Path) -> None:
    with pytest.raises(WrongRequest, match=r"measure\.clip"):
        FindMasks(seen_by(sam, prompt="everything", labels=LabelConfig()))


def test_words_need_a_model_that_takes_them(sam: Path) -> None:
    with pytest.raises(WrongRequest, match="takes no words"):
        FindMasks(seen_by(sam, prompt="text"))


def test_settings_of_the_other_backend_and_rules_are_no_part_of_it() -> None:
    base = FindMasks(MasksConfig()).identity()
    others = [{"everything": {"points_per_side": 8}}, {"keep": {"smallest": 9}}, {"sam": {"model": "a/b"}}]
    assert all(FindMasks(MasksConfig.model_validate(other)).identity() == base for other in others)
    assert FindMasks(MasksConfig.model_validate({"grabcut": {"side": 99}})).identity() != base
    assert pa.types.is_list(Masks.arrow_schema().field("masks").type)
