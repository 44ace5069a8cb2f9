"""Rows and settings of masks."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from schemas.mask import Mask, Masks, Prompt, Rle
from schemas.masks_config import EverythingConfig, MasksConfig, SamConfig
from schemas.row import ContractBreach, cast

RLE = Rle(height=2, width=2, counts="013")
MASK = Mask(
    label="cat", prompt=Prompt.box, prompt_index=0, point_x=None, point_y=None, x=0, y=0, w=1, h=1, area=1,
    predicted_iou=None, stability=None, best=True, score=None, rle=RLE,
)  # fmt: skip


def test_masks_travel_through_arrow_unchanged() -> None:
    row = Masks(
        sample_id="a" * 32,
        mask_count=1,
        mask_largest=1,
        mask_coverage=0.25,
        box_agreement=None,
        mask_clip=None,
        masks=[MASK],
    )
    table = pa.Table.from_pylist([row.model_dump()], schema=Masks.arrow_schema())
    back = cast(table, Masks.arrow_schema(), "masks").to_pylist()
    assert [Masks.model_validate(r) for r in back] == [row]


def test_a_sample_may_have_no_masks_but_not_null() -> None:
    schema = Masks.arrow_schema()
    facts = {"sample_id": "a", "mask_count": 0, "mask_largest": 0, "mask_coverage": 0.0}
    none = pa.Table.from_pylist([facts | {"masks": []}], schema=schema)
    assert cast(none, schema, "masks")["masks"].to_pylist() == [[]]
    null = pa.Table.from_pylist([facts | {"masks": None}], schema=schema)
    with pytest.raises(ContractBreach, match="masks"):
        cast(null, schema, "masks")


def test_defaults_are_those_of_sa_1b() -> None:
    found = EverythingConfig()
    assert (found.points_per_side, found.predicted_iou, found.stability, found.stability_offset) == (32, 0.88, 0.95, 1)
    assert (found.nms, found.smallest_region, found.largest) == (0.7, 100, 0.95)


@pytest.mark.parametrize(
    "change", [{"sam": {"model": "x", "pictures_per_pass": 1}}, {"everything": {"prompts_per_pass": 512}}]
)
def test_the_shape_of_batches_decides_bytes(change: dict[str, object]) -> None:
    base: dict[str, object] = {"sam": {"model": "x"}}
    assert MasksConfig.model_validate(base | change).decisive() != MasksConfig.model_validate(base).decisive()


def test_where_embeddings_are_kept_decides_none() -> None:
    one, other = (SamConfig(model="x", embeddings=folder) for folder in (None, "embeddings"))
    assert one.decisive() == other.decisive()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": "sam"}, "masks.sam.model"),
        ({"prompt": "everything"}, "grabcut takes boxes only"),
        (
            {"backend": "sam", "sam": {"model": "x"}, "prompt": "point", "keep": {"agreement": 0.5}},
            "masks.keep.agreement",
        ),
        ({"backend": "sam", "sam": {"model": "x"}, "prompt": "point", "boxes_from": "conversations"}, "boxes_from"),
        ({"keep": {"smallest": -1}}, "smallest"),
        ({"everything": {"predicted_iou": 88.0}}, "predicted_iou"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MasksConfig.model_validate(settings)
