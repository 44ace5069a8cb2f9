"""Masks of each sample that select kept: found by a backend, joined to the box, word or point that asked for them, and
measured. A sample is rejected here only where its picture does not decode; what its masks must be, rules say
(`stages/masks/rules.py`), so that another threshold runs no model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from schemas.errors import WrongRequest
from schemas.mask import Mask, Maskable, MaskFailure, Masks, Prompt
from schemas.masks_config import MasksConfig
from schemas.recipe import ResizeConfig
from schemas.row import Row
from stages.base import Outcome, Resources
from stages.late import LateStage
from stages.masks.asked import Asked, ask
from stages.masks.backend import Backend, Found
from stages.masks.backends import make_backend
from stages.masks.facts import facts
from stages.masks.labels import MARGIN, CropJudge
from stages.masks.rle import encode
from stages.measure.clip import ClipMeasure
from stages.measure.decode import MAX_PIXELS, Undecodable, decode, libraries

_PIXELS = 64_000_000
"""Pixels decoded at once, or one larger picture: 192 MB."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the recipe, beside `masks`, decides what the stage does."""

    resize: ResizeConfig | None = None
    """Boxes are in pixels of the picture as fetched, masks in those of the picture as stored."""
    max_pixels: int = MAX_PIXELS
    clip: ClipMeasure | None = None


class FindMasks(LateStage):
    """Family `masks`."""

    name = "masks"
    light = False
    accepts: ClassVar[type[Row]] = Maskable
    emits = Masks
    reasons = MaskFailure

    def __init__(self, config: MasksConfig, around: Surroundings | None = None) -> None:
        """Raises WrongRequest where labels or `clip` are asked for and the recipe measures no CLIP."""
        super().__init__(config)
        self._masks, self._around = config, around or Surroundings()
        clip = self._around.clip
        if clip is None and (config.labels is not None or config.clip):
            raise WrongRequest("masks.labels and masks.clip need measure.clip", "add measure.clip to the recipe")
        judged = clip is not None and (config.labels is not None or config.clip)
        margin = config.labels.margin if config.labels else MARGIN
        self._judge = CropJudge(clip, config.labels, config.clip, margin) if clip is not None and judged else None
        self._backend: Backend = make_backend(config)
        cuda = config.sam is not None and config.backend == "sam" and _device(config) == "cuda"
        self.resources = Resources(cpus=config.sam.threads if config.sam else 1.0, gpus=1.0 if cuda else 0.0)

    def reads(self) -> dict[str, list[str]]:
        if self._masks.boxes_from == "conversations":
            return {"conversations": ["conversations"]}
        return {}

    def open(self) -> None:
        self._backend.open()
        if self._judge is not None:
            self._judge.clip.open()

    def close(self) -> None:
        if self._judge is not None:
            self._judge.clip.close()  # first, as it was opened last: each puts torch's settings back
        self._backend.close()

    def fetch_weights(self) -> None:
        """Bring a model named on the hub into the local cache, so that `identity` can hash it."""
        self._backend.fetch_weights()

    def identity(self) -> dict[str, Any]:
        """With the backend's weights and libraries; without `keep`, whose rules are judged later."""
        config = self._masks.decisive()
        unused = {"grabcut": ("sam", "everything"), "sam": ("grabcut",)}[self._masks.backend]
        config = {name: value for name, value in config.items() if name not in ("keep", *unused)}
        if config.get("sam"):
            config["sam"] = {name: value for name, value in config["sam"].items() if name != "model"}  # its hash counts
        mine = {"stage": self.name, "version": self.version, "config": config, "backend": self._backend.identity()}
        mine["resize"] = self._around.resize.decisive() if self._around.resize else None
        mine["libraries"] = libraries()
        return mine if self._judge is None else mine | {"clip": self._judge.clip.identity()}

    def process(self, batch: pa.Table) -> Outcome:
        rows: list[dict[str, Any]] = batch.drop_columns(["image"]).to_pylist()
        out: list[dict[str, Any]] = [{"sample_id": row["sample_id"]} for row in rows]
        reasons: list[str | None] = [None] * len(rows)
        details: list[str | None] = [None] * len(rows)
        for chosen in _runs(rows):
            pictures: dict[int, np.ndarray] = {}
            for i in chosen:
                try:
                    pictures[i] = self._picture(batch, i)
                except Undecodable as error:
                    reasons[i], details[i] = MaskFailure.undecodable.value, str(error)
            for i, made in zip(pictures, self._found(rows, pictures), strict=True):
                out[i] |= made
        table = pa.Table.from_pylist(out, schema=_loose())
        return Outcome(table, pa.array(reasons, pa.string()), detail=pa.array(details, pa.string()))

    def _picture(self, batch: pa.Table, row: int) -> np.ndarray:
        data = memoryview(batch["image"][row].as_buffer())
        return decode(data, batch["orientation"][row].as_py(), self._around.max_pixels).rgb

    def _found(self, rows: list[dict[str, Any]], pictures: dict[int, np.ndarray]) -> Iterator[dict[str, Any]]:
        """Columns of Masks for each picture."""
        if not pictures:
            return
        shown = list(pictures.values())
        asked = [ask(rows[i], rgb.shape, self._masks, self._around.resize) for i, rgb in pictures.items()]
        found = self._backend.find(shown, [one.prompts for one in asked])
        labels, clips = self._judged(shown, found, [rows[i] for i in pictures])
        for rgb, one, masks, named, clip in zip(shown, asked, found, labels, clips, strict=True):
            height, width = rgb.shape[:2]
            boxes = one.prompts.boxes if self._masks.prompt is Prompt.box else None
            made = [self._mask(mask, one, judged, (height, width)) for mask, judged in zip(masks, named, strict=True)]
            yield {**facts(masks, boxes, height, width), "mask_clip": clip, "masks": made}

    def _judged(
        self, pictures: Sequence[np.ndarray], found: Sequence[Sequence[Found]], rows: list[dict[str, Any]]
    ) -> tuple[list[list[tuple[str | None, float | None]]], list[float | None]]:
        """A label and its score for each mask, and each sample's mask_clip."""
        if self._judge is None:
            return [[(None, None)] * len(masks) for masks in found], [None] * len(found)
        return self._judge.judge(pictures, found, [(row["caption"], *(row["captions"] or ())) for row in rows])

    def _mask(
        self, found: Found, asked: Asked, judged: tuple[str | None, float | None], size: tuple[int, int]
    ) -> dict[str, Any]:
        label, score = judged
        index = None if found.prompt_index is None else asked.indices[found.prompt_index]
        given = None if found.prompt_index is None else asked.labels[found.prompt_index]
        if given is not None:
            label, score = given, found.score
        x, y, w, h = found.box
        point = found.point or (None, None)
        return Mask.model_construct(
            label=label,
            prompt=self._masks.prompt.value,
            prompt_index=index,
            point_x=point[0],
            point_y=point[1],
            x=x,
            y=y,
            w=w,
            h=h,
            area=int(np.count_nonzero(found.pixels)),
            predicted_iou=found.predicted_iou,
            stability=found.stability,
            best=found.best,
            score=score,
            rle=encode(found.on(*size)),
        ).model_dump()


def _runs(rows: list[dict[str, Any]]) -> Iterator[list[int]]:
    """Indices of rows whose pictures are decoded together; cut by the sizes in the index, so always alike."""
    run: list[int] = []
    pixels = 0
    for i, row in enumerate(rows):
        more = (row["width"] or 1) * (row["height"] or 1)
        if run and pixels + more > _PIXELS:
            yield run
            run, pixels = [], 0
        run.append(i)
        pixels += more
    if run:
        yield run


def _loose() -> pa.Schema:
    from schemas.row import nullable

    return nullable(Masks.arrow_schema())


def _device(config: MasksConfig) -> str:
    from stages.measure.clip_model import device_kind

    return device_kind(config.sam.device) if config.sam else "cpu"
