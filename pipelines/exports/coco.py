"""Masks in COCO's format, as pycocotools, torchvision and detectron2 load them.

For every split one file: `images`, `annotations` (segmentation as compressed RLE) and `categories`, the labels in the
order in which the shards name them first; `object` is what has no label. Beside COCO's own keys an annotation has those
of SA-1B (facebookresearch/segment-anything, README, "Dataset": predicted_iou, stability_score, point_coords) and where
it is from. Identifiers count from 1 over all files: pycocotools' evaluation takes 0 for "no match".
"""

import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipelines.exports.folder import Out
from pipelines.exports.pictures import Pictures
from pipelines.exports.read import VERIFY, Sample
from schemas.errors import WrongData, WrongRequest
from schemas.mask import Mask, Rle

if TYPE_CHECKING:
    from pipelines.export import Exported, ExportOptions

NO_LABEL = "object"
NOT_BEST = "not_best"
"""Why a mask is left out: its prompt gave a better one."""
_SIDES = ("x", "y", "w", "h")


class Coco:
    """An export of masks on its way. `build`: its URL and its recipe's name."""

    def __init__(self, pictures: Pictures, said: "Exported", options: "ExportOptions", build: tuple[str, str]) -> None:
        self.pictures, self.said, self._options, (self._url, self._recipe) = pictures, said, options, build
        self._categories: dict[str, int] = {}
        self._splits: set[str] = set()
        self._annotations = 0

    def add(self, sample: Sample, folder: Out) -> bool:
        """A sample's picture and its masks; whether it has any. Raises WrongRequest for a build without masks."""
        if sample.masks is None:
            raise WrongRequest(f"{self._url} has no masks", "add `masks` to its recipe and build again")
        self.said.samples += 1
        self.said.turned += sample.turned
        self._splits.add(sample.split)
        self.pictures.seen(sample)
        if self._options.images:
            self.pictures.use([sample.sample_id])
        folder.add(_part(sample.split, "images"), self._image(sample))
        found = masks_of(sample)
        kept = [mask for mask in found if mask.best or self._options.all_masks]
        if len(kept) < len(found):
            self.said.left[NOT_BEST] = self.said.left.get(NOT_BEST, 0) + len(found) - len(kept)
        for mask in kept:
            folder.add(_part(sample.split, "annotations"), self._annotation(mask, sample))
            self.said.kinds[mask.prompt] = self.said.kinds.get(mask.prompt, 0) + 1
        name = f"{sample.split}.json"
        self.said.records[name] = self.said.records.get(name, 0) + len(kept)
        return bool(kept)

    def finish(self, folder: Out) -> None:
        """Put the files together."""
        categories = [{"id": n, "name": name, "supercategory": ""} for name, n in self._categories.items()]
        info = {"description": self._recipe, "version": self.said.build}
        for split in sorted(self._splits):
            parts = {key: _part(split, key) for key in ("images", "annotations")}
            folder.join(f"{split}.json", {"info": info, "licenses": [], **parts, "categories": categories})

    def _image(self, sample: Sample) -> dict[str, Any]:
        return {
            "id": self.said.samples,
            "file_name": self.pictures.path(sample.sample_id),
            "width": sample.entry["width"],
            "height": sample.entry["height"],
            "sample_id": sample.sample_id,
        }

    def _annotation(self, mask: Mask, sample: Sample) -> dict[str, Any]:
        self._annotations += 1
        category = self._categories.setdefault((mask.label or "").strip() or NO_LABEL, len(self._categories) + 1)
        record = {
            "id": self._annotations,
            "image_id": self.said.samples,
            "category_id": category,
            "segmentation": {"size": [mask.rle.height, mask.rle.width], "counts": mask.rle.counts},
            "bbox": [mask.x, mask.y, mask.w, mask.h],
            "area": mask.area,
            "iscrowd": 0,
            "predicted_iou": mask.predicted_iou,
            "stability_score": mask.stability,
            "score": mask.score,
            "best": mask.best,
            "prompt": mask.prompt,
            "sample_id": sample.sample_id,
        }
        if mask.point_x is not None:
            record["point_coords"] = [[mask.point_x, mask.point_y]]
        return record


def masks_of(sample: Sample) -> list[Mask]:
    """What a sample's `.masks.json` says. Raises WrongData where that is not what a build writes."""
    try:
        said: Any = json.loads(sample.masks or b"[]")
        found = [_mask(one) for one in said]
    except ValidationError as error:
        first = error.errors()[0]
        raise _unreadable(sample, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(sample, str(error)) from error
    size = (sample.entry["height"], sample.entry["width"])
    if any((mask.rle.height, mask.rle.width) != size for mask in found):
        raise _unreadable(sample, "masks of another size than the picture's")
    return found


def _mask(said: dict[str, Any]) -> Mask:
    of = {name: value for name, value in said.items() if name not in ("bbox", "segmentation")}
    (height, width), counts = said["segmentation"]["size"], said["segmentation"]["counts"]
    rle = Rle(height=height, width=width, counts=counts)
    return Mask.model_validate(of | dict(zip(_SIDES, said["bbox"], strict=True)) | {"rle": rle})


def _unreadable(sample: Sample, why: str) -> WrongData:
    return WrongData(f"sample {sample.sample_id} in {sample.shard}.tar: its masks.json cannot be read: {why}", VERIFY)


def _part(split: str, key: str) -> str:
    return f"{split}.{key}.json"
