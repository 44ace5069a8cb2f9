"""A label for each mask, and how well the best of them fits the caption: CLIP over the masks' crops.

A crop is a square around the mask in which everything outside of the mask has one colour, as OVSeg gives its masks to
CLIP (arXiv:2210.04150). That colour is the mean of CLIP's training pictures, which its normalisation turns to zeros.

Measured with the small CLIP of the sample web, 100 labels to choose from, GrabCut masks of 498 objects: right are all
with a margin of 1 and this colour, middle grey, or the mean of the surroundings; 96 % with the surroundings blurred. Of
195 other objects: 100 % so, 56 % with the surroundings as they are; and with this colour and a margin of 0.5, 0.25 and
0: 83 %, 32 % and 10 %. The margin is that model's, which was never shown a thing that fills its picture; others know
larger things; `CropJudge` takes another.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from schemas.masks_config import LabelConfig
from stages.masks.backend import Found
from stages.masks.vocabulary import labels_in
from stages.measure.clip import ClipMeasure
from stages.measure.decode import Decoded
from stages.synthesize.facts import speakable
from stages.synthesize.words import a

MARGIN = 1.0
"""Room on each side of the mask, as a share of its longer side."""
_SIDE = 512
"""Pixels to which a larger crop is averaged down: no CLIP sees more."""
_OUTSIDE = np.array((123, 117, 104), np.uint8)
"""open_clip's OPENAI_DATASET_MEAN × 255."""

Label = tuple[str | None, float | None]
"""The label and its cosine; both None where nothing fits, or nobody judged."""


class CropJudge:
    """Judges the masks with `best`, of which there is one for each prompt. Open `clip` as the measure is."""

    def __init__(
        self, clip: ClipMeasure, config: LabelConfig | None, clip_measure: bool, margin: float = MARGIN
    ) -> None:
        """`config`: None gives no labels. `clip_measure`: whether `mask_clip` is asked for."""
        self.clip, self._config, self._measure, self._margin = clip, config, clip_measure, margin

    def judge(
        self,
        pictures: Sequence[np.ndarray],
        found: Sequence[Sequence[Found]],
        captions: Sequence[Sequence[str | None]],
    ) -> tuple[list[list[Label]], list[float | None]]:
        """A label for each mask of each picture, and each picture's `mask_clip`; both parallel to `found`.

        Pictures are uint8 (height, width, 3). `captions`: the sample's own first, that is what `mask_clip` is measured
        against; then all further ones, whose words are offered as labels too.
        """
        places = [(p, m) for p, masks in enumerate(found) for m, one in enumerate(masks) if one.best]
        labels: list[list[Label]] = [[(None, None)] * len(masks) for masks in found]
        if not places or (self._config is None and not self._measure):
            return labels, [None] * len(found)
        seen = self._seen([(pictures[p], found[p][m]) for p, m in places])
        rows: list[list[int]] = [[] for _ in found]
        for row, (picture, _) in enumerate(places):
            rows[picture].append(row)
        if self._config is not None:
            offered = self._offered(captions)
            for row, one in self._named(seen, rows, offered):
                picture, mask = places[row]
                labels[picture][mask] = one
        return labels, self._fits(seen, rows, captions) if self._measure else [None] * len(found)

    def _seen(self, masks: Sequence[tuple[np.ndarray, Found]]) -> np.ndarray:
        """Embeddings of the crops, unit length, float32 (masks, dimensions). One batch of crops is held at a time."""
        cut = self.clip.clip.batch_size
        batches = (masks[at : at + cut] for at in range(0, len(masks), cut))
        crops = ([self.clip.look(Decoded(crop(*one, self._margin), 3, 0)) for one in batch] for batch in batches)
        seen = np.concatenate([self.clip.pictures(batch) for batch in crops])
        if not np.isfinite(seen).all():
            raise ArithmeticError(f"{self.clip.clip.model} gives no finite embedding for the crop of a mask")
        return seen

    def _offered(self, captions: Sequence[Sequence[str | None]]) -> list[tuple[str, ...]]:
        assert self._config is not None
        words = self._config.vocabulary
        if words == "caption":
            return [labels_in(said) for said in captions]
        given = tuple(dict.fromkeys(label for word in words if (label := word.strip())))
        return [given] * len(captions)

    def _named(
        self, seen: np.ndarray, rows: list[list[int]], offered: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Label]]:
        """(row of `seen`, its label) where one is near enough; of equals, the one offered first."""
        assert self._config is not None
        number = {label: n for n, label in enumerate(dict.fromkeys(word for words in offered for word in words))}
        texts = self.clip.text([_prompt(label) for label in number])
        for own, words in zip(rows, offered, strict=True):
            if not own or not words:
                continue
            cosines = seen[own] @ texts[[number[word] for word in words]].T
            for row, each in zip(own, cosines, strict=True):
                nearest = int(each.argmax())
                if (cosine := float(each[nearest])) >= self._config.least:
                    yield row, (words[nearest], cosine)

    def _fits(
        self, seen: np.ndarray, rows: list[list[int]], captions: Sequence[Sequence[str | None]]
    ) -> list[float | None]:
        told = [said[0] if said and own else None for said, own in zip(captions, rows, strict=True)]
        texts = iter(self.clip.text([text for text in told if text]))
        return [float((seen[own] @ next(texts)).max()) if text else None for own, text in zip(rows, told, strict=True)]


def crop(picture: np.ndarray, one: Found, margin: float = MARGIN) -> np.ndarray:
    """What is shown of a mask: uint8 (side, side, 3), the mask in the middle, at most 512 pixels a side."""
    import cv2

    x, y, w, h = one.box
    thing = np.where(one.pixels[..., None], picture[y : y + h, x : x + w], _OUTSIDE)
    most = _SIDE / (1 + 2 * margin)
    if (scale := most / max(w, h)) < 1:
        w, h = max(1, round(w * scale)), max(1, round(h * scale))
        thing = cv2.resize(thing, (w, h), interpolation=cv2.INTER_AREA)
    side = round(max(w, h) * (1 + 2 * margin))
    square = np.empty((side, side, 3), np.uint8)
    square[:] = _OUTSIDE
    top, left = (side - h) // 2, (side - w) // 2
    square[top : top + h, left : left + w] = thing
    return square


def _prompt(label: str) -> str:
    return a(label) if speakable(label) else label
