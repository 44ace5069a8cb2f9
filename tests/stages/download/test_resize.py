"""Resize is img2dataset's: the same bytes, but for what it gets wrong."""

import io
import itertools
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from schemas.recipe import DownloadConfig, ResizeConfig
from stages.download.reasons import Refusal
from stages.download.resize import Resize, Resized, load_resizer, turned
from stages.download.sniff import Facts, sniff
from stages.download.stage import Download
from tests.stages.download.hostile import HostileServer, answer
from tests.stages.download.web import config, encoded, fetch, one, pixels

PHOTOS = Path("../shared/data/photos")
MODES = ["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
QUALITY = {"jpg": 92, "png": 3, "webp": 80}


@cache
def _theirs() -> ModuleType:
    return load_resizer(mute=True)


@cache
def _ours(settings: ResizeConfig) -> Resize:
    return Resize(settings)


def _their_bytes(settings: ResizeConfig, data: bytes) -> bytes:
    resizer = _theirs().Resizer(
        settings.size, settings.mode, settings.only_if_bigger, settings.upscale, settings.downscale,
        settings.quality, settings.format, settings.skip_reencode,
    )  # fmt: skip
    made, *_, error = resizer(io.BytesIO(data))
    assert error is None
    return made


def _made(settings: ResizeConfig, data: bytes) -> Resized:
    facts = sniff(data)
    assert isinstance(facts, Facts)
    made = _ours(settings)(data, facts)
    assert isinstance(made, Resized)
    return made


def _refused(settings: ResizeConfig, data: bytes) -> Refusal:
    facts = sniff(data)
    assert isinstance(facts, Facts)
    made = _ours(settings)(data, facts)
    assert isinstance(made, Refusal)
    return made


@cache
def _samples() -> dict[str, bytes]:
    found = {
        "jpeg": encoded(pixels(300, 200), quality=90),
        "tall": encoded(pixels(90, 400, seed=1)),
        "grey": encoded(pixels(300, 200, channels=1)),
        "transparent": encoded(np.concatenate([pixels(300, 200), pixels(300, 200, 5, 1)], axis=2), "PNG"),
        "small": encoded(pixels(50, 60), "PNG"),
        "gif": encoded(pixels(300, 200), "GIF"),
        "webp": encoded(pixels(300, 200), "WEBP"),
    }
    if PHOTOS.is_dir():
        found |= {p.stem: p.read_bytes() for p in sorted(PHOTOS.glob("*.jpg"))[:3]}
    return found


@pytest.mark.parametrize(
    ("mode", "kind", "only_if_bigger"), list(itertools.product(MODES, ["jpg", "png", "webp"], [False, True]))
)
def test_the_bytes_are_those_of_the_resizer(mode: Any, kind: Any, only_if_bigger: bool) -> None:
    settings = ResizeConfig(mode=mode, size=128, only_if_bigger=only_if_bigger, format=kind, quality=QUALITY[kind])
    for name, data in _samples().items():
        assert _made(settings, data).data == _their_bytes(settings, data), name


@pytest.mark.parametrize("name", ["nearest", "bilinear", "area", "cubic", "lanczos"])
def test_every_interpolation_is_the_resizers(name: Any) -> None:
    for size in (64, 500):
        settings = ResizeConfig(mode="keep_ratio", size=size, upscale=name, downscale=name)
        assert _made(settings, _samples()["jpeg"]).data == _their_bytes(settings, _samples()["jpeg"])


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_without_reencoding_what_fits_is_kept_as_it_came(kind: Any) -> None:
    settings = ResizeConfig(
        mode="keep_ratio", size=1000, only_if_bigger=True, skip_reencode=True, format=kind, quality=QUALITY[kind]
    )
    for name in ("jpeg", "small", "webp"):
        made = _made(settings, _samples()[name])
        assert made.data == _their_bytes(settings, _samples()[name])
        same = {"jpeg": "jpg", "small": "png", "webp": "webp"}[name] == kind
        assert (made.data == _samples()[name]) is same


@pytest.mark.slow
def test_the_resizer_is_the_one_that_img2dataset_imports() -> None:
    from img2dataset.resizer import Resizer  # seconds, and it imports wandb

    settings = ResizeConfig(mode="center_crop", size=100)
    made, *_ = Resizer(100, "center_crop", False)(io.BytesIO(_samples()["jpeg"]))
    assert _made(settings, _samples()["jpeg"]).data == made


@pytest.mark.parametrize(
    ("mode", "size"),
    [("no", (300, 200)), ("border", (128, 128)), ("keep_ratio", (192, 128)), ("keep_ratio_largest", (128, 85)),
     ("center_crop", (128, 128))],
)  # fmt: skip
def test_facts_are_of_the_stored_image(mode: Any, size: tuple[int, int]) -> None:
    made = _made(ResizeConfig(mode=mode, size=128, format="png", quality=1), _samples()["jpeg"])
    assert made.facts == Facts("png", *size)
    with Image.open(io.BytesIO(made.data)) as image:
        assert image.size == size


# ---------------------------------------------------------------------- what the Resizer gets wrong


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation_is_applied_as_pillow_applies_it(orientation: int) -> None:
    from PIL import ImageOps

    data = encoded(pixels(60, 40), "PNG", exif=_exif(orientation))
    with Image.open(io.BytesIO(data)) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turned(pixels(60, 40), orientation), shown)
    made = _made(ResizeConfig(mode="no", format="png", quality=1, skip_reencode=True), data)
    assert made.facts == Facts("png", shown.shape[1], shown.shape[0], 1)
    with Image.open(io.BytesIO(made.data)) as image:
        assert np.array_equal(np.asarray(image), shown)
        assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_turned_photograph_gives_what_the_upright_one_gives(mode: Any) -> None:
    settings = ResizeConfig(mode=mode, size=100, format="png", quality=1)
    lying = encoded(np.ascontiguousarray(np.swapaxes(pixels(90, 150), 0, 1)), "PNG", exif=_exif(5))
    assert _made(settings, lying).data == _made(settings, encoded(pixels(90, 150), "PNG")).data


def test_a_turned_grey_image_stays_grey() -> None:
    data = encoded(pixels(60, 40, channels=1), "PNG", exif=_exif(6))
    made = _made(ResizeConfig(mode="no", format="png", quality=1), data)
    with Image.open(io.BytesIO(made.data)) as image:
        assert (image.mode, image.size) == ("L", (40, 60))


def test_sixteen_bits_are_scaled_and_not_clipped_to_white() -> None:
    eight = pixels(60, 40, channels=1).squeeze()
    settings = ResizeConfig(mode="no", format="png", quality=1)
    made = _made(settings, encoded(eight.astype(np.uint16) * 257, "PNG"))
    with Image.open(io.BytesIO(made.data)) as image:
        assert np.array_equal(np.asarray(image), eight)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_deep_avif_is_scaled(bits: int) -> None:
    import cv2

    eight = pixels(64, 48)
    source = eight if bits == 8 else eight.astype(np.uint16) << (bits - 8)
    data = cv2.imencode(".avif", source, [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100])[1].tobytes()
    facts = sniff(data)
    assert isinstance(facts, Facts)
    assert facts.bits == bits
    made = _made(ResizeConfig(mode="no", format="png", quality=1), data)
    stored = cv2.imdecode(np.frombuffer(made.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.abs(stored.astype(int) - eight).mean() < 4


def test_pixels_of_32_bits_are_refused() -> None:
    refusal = _refused(ResizeConfig(), encoded(pixels(channels=1).astype(np.int32), "TIFF"))
    assert (refusal.reason, refusal.detail) == ("undecodable", "neither 8 nor 16 bits")


def test_a_large_transparent_image_gives_the_resizers_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.download.resize._LARGE", 1000)
    settings = ResizeConfig(mode="keep_ratio", size=128)
    for name in ("transparent", "jpeg"):
        assert _made(settings, _samples()[name]).data == _their_bytes(settings, _samples()[name])


# ---------------------------------------------------------------------- rejections


def test_too_small_and_too_long_are_seen_in_the_header() -> None:
    small = _refused(ResizeConfig(min_size=64), encoded(pixels(100, 63)))
    assert (small.reason, small.value, small.threshold) == ("too_small", 63, 64)
    long = _refused(ResizeConfig(max_aspect=3), encoded(pixels(320, 100)))
    assert (long.reason, long.value, long.threshold) == ("bad_aspect", 3.2, 3)
    _made(ResizeConfig(max_aspect=3, min_size=100), encoded(pixels(300, 100)))


@pytest.mark.parametrize("orientation", [1, 6])
def test_pixels_that_cannot_be_decoded(orientation: int) -> None:
    data = bytearray(encoded(pixels(100, 63), "PNG", exif=_exif(orientation)))
    at = data.index(b"IDAT")
    data[at + 4 : at + 40] = bytes(36)
    assert _refused(ResizeConfig(), bytes(data)).reason == "undecodable"


@pytest.mark.parametrize("shape", [(3000, 1), (1, 3000)])
@pytest.mark.parametrize("mode", MODES)
def test_an_extreme_shape_breaks_nothing(shape: tuple[int, int], mode: Any) -> None:
    settings = ResizeConfig(mode=mode, size=64)
    data = encoded(pixels(*shape), "PNG")
    made = _ours(settings)(data, Facts("png", *shape))
    assert isinstance(made, Resized) or made.reason == "undecodable"


def test_png_quality_is_compression() -> None:
    with pytest.raises(ValidationError, match="compression"):
        ResizeConfig(format="png")


# ---------------------------------------------------------------------- in the stage


def test_the_stage_stores_what_the_resize_made(server: HostileServer) -> None:
    settings = ResizeConfig(mode="keep_ratio_largest", size=128)
    for name, data in _samples().items():
        server.pages[f"/{name}"] = answer(data)
    server.pages["/bad"] = answer(_samples()["jpeg"][:800])
    urls = [f"http://a.test/{name}" for name in [*_samples(), "bad"]]
    rows, _ = fetch(urls, config(server, resize=settings))
    for row, data in zip(rows[:-1], _samples().values(), strict=True):
        assert row["image"] == _their_bytes(settings, data)
        assert max(row["width"], row["height"]) == 128
        assert row["sha256"] != row["stored_sha256"]
        facts = sniff(data)
        assert isinstance(facts, Facts)
        assert (row["original_width"], row["original_height"]) == (facts.width, facts.height)
    assert rows[-1]["reason"] == "undecodable"
    assert (rows[-1]["sha256"] is None, rows[-1]["width"]) == (False, None)


def test_a_pixel_bomb_is_refused_before_it_is_decoded(server: HostileServer) -> None:
    bomb = bytearray(encoded(pixels(), "PNG"))
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    server.pages["/a"] = answer(bytes(bomb))
    row = one("http://a.test/a", config(server, resize=ResizeConfig()))
    assert row["reason"] == "too_many_pixels"


def test_libraries_count_only_where_they_decide_bytes() -> None:
    assert "libraries" not in Download(DownloadConfig()).identity()
    assert "img2dataset" in Download(DownloadConfig(resize=ResizeConfig())).identity()["libraries"]


def test_importing_albumentations_asks_nobody_for_a_newer_version() -> None:
    """In a process of its own: no socket is opened while the Resizer is loaded, and the environment is as before."""
    code = """
import os, socket, sys
def refuse(*a, **k): raise SystemExit("a socket was opened")
socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
from stages.download.resize import load_resizer
load_resizer()
assert "NO_ALBUMENTATIONS_UPDATE" not in os.environ
assert "img2dataset" not in sys.modules
"""
    env = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=120)
