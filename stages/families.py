"""Column families: which columns each holds, which stage writes it, and what its files are called.

A family file holds every row of its part in the same order: `sample_id`, what the stage emits (nullable), then the
evidence of a rejection. Rows that an earlier stage rejected have nulls in all of it.
"""

import re

import pyarrow as pa

from schemas.conversation import Synthesized
from schemas.mask import Masked, Masks
from schemas.recipe import Recipe
from schemas.row import Row, nullable
from schemas.sample import Candidate, CaptionFacts, ClipScore, ImageFacts, PdqHash, Stored
from stages.store import Store

FAMILIES: dict[str, type[Row]] = {
    "pool": Candidate,
    "parts": Stored,
    "measures/image": ImageFacts,
    "measures/caption": CaptionFacts,
    "measures/pdq": PdqHash,
    "measures/clip": ClipScore,
    "masks": Masks,
    "masked": Masked,
    "conversations": Synthesized,
}
"""Folder → schema, in the order in which stages may reject a row."""

AFTER_SELECT = ("masks", "masked", "conversations")
"""Families about what select kept; rows that it, or one of them before, did not keep have nulls."""

SELECTION, FINAL = "selection.parquet", "final.parquet"
"""Select's decision on every row; and what is left of it after the stages that follow, where there are any."""

EVIDENCE = pa.schema(
    [
        pa.field("reason", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("detail", pa.string()),
    ]
)
"""What every family file ends with; reason is null for a row that its stage kept."""

_STAGES = {"parts": "download", "masked": "masks/rules", "conversations": "synthesize"}

_PART_FILE = re.compile(r"(\d{5,})\.parquet")


def stage_of(family: str) -> str:
    """The name of the stage that writes a family: `parts` → `download`, `measures/clip` → `measure/clip`."""
    return _STAGES.get(family, family.replace("measures/", "measure/"))


def family_of(stage: str) -> str:
    """The family that a stage writes, by the stage's name."""
    return next(family for family in FAMILIES if stage_of(family) == stage)


def family_schema(family: str) -> pa.Schema:
    """Schema of a family's files."""
    return pa.schema([*nullable(FAMILIES[family].arrow_schema()), *EVIDENCE])


def families_of(recipe: Recipe) -> list[str]:
    """The families that a build of `recipe` has once it is measured, in order."""
    asked = [f"measures/{name}" for name in type(recipe.measure).model_fields if getattr(recipe.measure, name)]
    return ["pool", "parts", *asked]


def late_families_of(recipe: Recipe) -> list[str]:
    """The families that a build of `recipe` has of what select kept, in the order in which they are made."""
    masks = ["masks", "masked"] if recipe.masks is not None else []
    conversations = ["conversations"] if recipe.synthesize is not None else []
    turned = recipe.masks is not None and recipe.masks.boxes_from == "conversations"
    return [*conversations, *masks] if turned else [*masks, *conversations]


def all_families_of(recipe: Recipe) -> list[str]:
    """Every family that a build of `recipe` has, in the order in which they are made."""
    return [*families_of(recipe), *late_families_of(recipe)]


def final_file(recipe: Recipe) -> str:
    """The file with every row's final state: select's own, where no stage follows that may reject."""
    return FINAL if late_families_of(recipe) else SELECTION


def families_in(store: Store) -> list[str]:
    """The families of which a build holds at least one file, in order."""
    return [family for family in FAMILIES if part_files(store, family)]


def part_file(family: str, part: int) -> str:
    """Name of a family's file for one part."""
    return f"{family}/{part:05d}.parquet"


def part_files(store: Store, family: str) -> dict[int, str]:
    """Part → file name for what a build holds of a family, in part order; one listing."""
    found = ((_PART_FILE.fullmatch(name.rsplit("/", 1)[-1]), name) for name in store.listing(family))
    return dict(sorted((int(match[1]), name) for match, name in found if match))


def sample_schema(families: list[str]) -> pa.Schema:
    """Columns of the view `samples` without selection: part, row, and every family's columns once, nullable."""
    fields: dict[str, pa.Field] = {"part": pa.field("part", pa.int32()), "row": pa.field("row", pa.int32())}
    for family in families:
        for field in nullable(FAMILIES[family].arrow_schema()):
            fields.setdefault(field.name, field)
    return pa.schema(list(fields.values()))
