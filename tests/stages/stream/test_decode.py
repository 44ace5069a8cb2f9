"""Decoding: the right pixels whatever the format, scaled or exact; bad samples counted, named and bounded."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.errors import WrongData
from schemas.stream import DecodeConfig, Fit
from stages.stream.batches import BatchReader
from stages.stream.decode import Decoder
from tests.builders import sample, sid
from tests.finished import finished
from tests.stages.stream.conftest import config

GRADIENT = np.stack(np.broadcast_arrays(np.arange(256)[:, None], np.arange(512)[None] // 2, 128), -1).astype(np.uint8)
"""256 × 512: red tells the row, green the column."""


def encoded(picture: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes | None, **settings: Any) -> np.ndarray:
    out, bad = Decoder(DecodeConfig(**{"size": 64, **settings})).decode([data])
    assert not bad
    return out[0].astype(int)


JPEG = encoded(GRADIENT, "JPEG", quality=95)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("fit", "left", "right"), [(Fit.center_crop, 64, 191), (Fit.squash, 0, 255), (Fit.pad, 0, 255)]
)
def test_each_fit_shows_its_part_of_the_picture(fit: Fit, left: int, right: int, exact: bool) -> None:
    picture = decoded(JPEG, fit=fit, exact=exact)
    middle = picture[32, :, 1]
    assert abs(middle[0] - left) < 8 and abs(middle[-1] - right) < 8
    assert (picture[:16].max() == 0) == (fit is Fit.pad)  # 256 × 512 in a square leaves a quarter black above


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_other_formats_give_the_same_picture(kind: str) -> None:
    assert np.abs(decoded(encoded(GRADIENT, kind)) - decoded(JPEG, exact=True)).mean() < 6


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colour_spaces(mode: str) -> None:
    picture = Image.fromarray(GRADIENT).convert(mode)
    found = decoded(encoded(picture, "JPEG", quality=95))
    wanted = decoded(encoded(picture.convert("RGB"), "PNG"))
    assert np.abs(found - wanted).mean() < 6


def test_what_is_transparent_becomes_white() -> None:
    assert decoded(encoded(Image.new("RGBA", (64, 64), (9, 9, 9, 0)), "PNG")).min() == 255


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("turned", [1, 3, 6, 8])
def test_pictures_are_shown_upright(turned: int, exact: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    stored = Image.fromarray(GRADIENT)
    back = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[turned]
    data = encoded(stored.transpose(back) if back else stored, "JPEG", quality=95, exif=exif.tobytes())
    assert np.abs(decoded(data, exact=exact) - decoded(JPEG, exact=exact)).mean() < 4


def test_small_pictures_are_enlarged() -> None:
    assert np.abs(decoded(encoded(np.full((1, 1, 3), 77, np.uint8), "PNG")) - 77).max() == 0


def test_scaled_decoding_is_near_the_exact_one() -> None:
    photo = Image.effect_noise((40, 30), 60).convert("RGB").resize((801, 599), Image.Resampling.BICUBIC)
    data = encoded(photo, "JPEG", quality=90)
    difference = decoded(data, size=200) - decoded(data, size=200, exact=True)
    assert np.sqrt((difference**2).mean()) < 6


def test_a_batch_is_the_same_with_any_number_of_threads() -> None:
    images = [JPEG, encoded(GRADIENT, "PNG"), b"", *[JPEG] * 9]
    one, many = (Decoder(DecodeConfig(size=32, threads=n)).decode(images) for n in (1, 3))
    assert one[1] == many[1] and list(one[1]) == [2]
    assert all((one[0][i] == many[0][i]).all() for i in range(12) if i != 2)


@pytest.mark.parametrize("data", [b"", b"GIF89a", JPEG[:400], b"\xff\xd8\xff" + b"x" * 50, None])
def test_what_is_no_image_is_told(data: bytes | None) -> None:
    _, bad = Decoder(DecodeConfig(size=32)).decode([data])
    assert list(bad) == [0] and bad[0]


def test_a_bad_sample_leaves_its_batch_and_is_named(tmp_path) -> None:
    rows = [sample(i, image=b"broken" if i == 2 else JPEG) for i in range(4)]
    finished(tmp_path / "build", rows)
    (batch,) = BatchReader(config(str(tmp_path / "build"), decode={"size": 32}))
    assert sorted(batch.sample_id) == [sid(0), sid(1), sid(3)] and batch.image.shape == (3, 32, 32, 3)
    (bad,) = batch.bad
    assert (bad.sample_id, bad.source, bad.shard) == (sid(2), "build", "shards/train-000000.tar")
    assert bad.why


def test_too_many_bad_samples_end_the_stream(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.stream.batches._PATIENCE", 10)
    rows = [sample(i, image=b"broken" if i % 5 == 0 else JPEG) for i in range(40)]
    finished(tmp_path / "build", rows)
    with pytest.raises(WrongData, match=r"of \d+ samples cannot be decoded; the last is 0{30}\w\w in shards/train"):
        list(BatchReader(config(str(tmp_path / "build"), decode={"size": 32}, max_bad_share=0.1)))
    found = list(BatchReader(config(str(tmp_path / "build"), decode={"size": 32}, max_bad_share=0.4)))
    assert sum(len(b.bad) for b in found) == 8
