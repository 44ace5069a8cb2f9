"""The sample data: photographs (or drawn scenes) at 256 px, varied until there are enough, in WebDataset tars.

Sample n is picture n mod P in variant n div P: another JPEG quality (70–95) and, after 26 of those, a crop one pixel
further in; so no two JPEGs are the same bytes. Its text begins with n, which is how every reader names what it read.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.payload import PayloadTar

SIDE = 256
_QUALITIES = range(70, 96)
_DRAWN = 200


@dataclass(frozen=True, slots=True)
class Sample:
    number: int
    jpg: bytes
    json: bytes
    txt: bytes

    @property
    def key(self) -> str:
        return f"{self.number:09d}"


def pictures(photos: Path | None, side: int = SIDE) -> list[np.ndarray]:
    """H × W × 3 uint8 BGR, longest side `side` (enlarged never): of a folder's JPEGs, else scenes of the sample web."""
    import cv2

    found = [cv2.imread(str(path)) for path in sorted(photos.glob("*.jpg"))] if photos else _drawn()
    kept = [image for image in found if image is not None]
    if not kept:
        raise ValueError(f"no readable *.jpg in {photos}: name a folder of photographs, or none to draw scenes")
    out = []
    for image in kept:
        scale = min(1.0, side / max(image.shape[:2]))
        height, width = (max(1, round(length * scale)) for length in image.shape[:2])
        out.append(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return out


def _drawn() -> list[np.ndarray]:
    """Scenes of the sample web, BGR."""
    from pipelines.sample_web.render import render
    from pipelines.sample_web.scenes import make_scene

    return [np.ascontiguousarray(render(make_scene(number))[:, :, ::-1]) for number in range(_DRAWN)]


def samples(of: list[np.ndarray], count: int) -> Iterator[Sample]:
    """`count` samples, numbered from 0."""
    import cv2

    for number in range(count):
        variant, at = divmod(number, len(of))
        inset, step = divmod(variant, len(_QUALITIES))
        quality = _QUALITIES[(step * 7 + at) % len(_QUALITIES)]  # every shard has all of them: some decode slower
        image = of[at][inset % 64 :, inset // 64 % 64 :]
        ok, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not ok:
            raise ValueError(f"picture {at} cannot be encoded")
        text = f"{number} picture {at} of a set of {len(of)}, coded at quality {quality}"
        about = {"number": number, "width": image.shape[1], "height": image.shape[0], "caption": text}
        yield Sample(number, coded.tobytes(), json.dumps(about).encode(), text.encode())


def tiny(count: int) -> Iterator[Sample]:
    """`count` samples of one 16 × 16 JPEG each, for figures that depend on how many samples there are."""
    picture = [np.full((16, 16, 3), 127, np.uint8)]
    base = next(samples(picture, 1)).jpg
    for number in range(count):
        text = f"{number} grey"
        yield Sample(number, base, b'{"number": %d}' % number, text.encode())


def write_tars(folder: Path, of: Iterator[Sample], per_shard: int) -> int:
    """`000000.tar` …, `per_shard` samples each; returns how many samples there were."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    tar: PayloadTar | None = None
    for sample in of:
        if count % per_shard == 0:
            if tar:
                tar.finish()
            tar = PayloadTar(folder / f"{count // per_shard:06d}.tar")
        assert tar is not None
        for ending in ("jpg", "json", "txt"):
            tar.add(f"{sample.key}.{ending}", getattr(sample, ending))
        count += 1
    if tar:
        tar.finish()
    return count


def digest(jpg: bytes, about: bytes) -> str:
    """What a check compares: both members, byte for byte."""
    return hashlib.sha256(hashlib.sha256(jpg).digest() + about).hexdigest()[:16]


def number_of(text: bytes | str) -> int:
    """The sample's number, from its text."""
    return int(text.split(maxsplit=1)[0])
