"""Encodings are what they are called, and show the scene."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines.sample_web.payloads import Edit, Encoding, Payload, encode, labelled_boxes
from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene

SEED = 123


def _shown(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("encoding", "kind", "mode"),
    [
        (Encoding.jpeg, "JPEG", "RGB"), (Encoding.jpeg_grey, "JPEG", "L"), (Encoding.jpeg_cmyk, "JPEG", "CMYK"),
        (Encoding.png, "PNG", "RGB"), (Encoding.png_alpha, "PNG", "RGBA"), (Encoding.gif_animated, "GIF", "P"),
        (Encoding.webp, "WEBP", "RGB"),
    ],
)  # fmt: skip
def test_an_encoding_is_what_it_is_called_and_shows_the_scene(encoding: Encoding, kind: str, mode: str):
    payload = Payload(SEED, encoding)
    image = Image.open(io.BytesIO(encode(payload)))
    assert (image.format, image.mode) == (kind, mode)
    assert payload.media_type == f"image/{kind.lower()}"
    wanted = render(make_scene(SEED)).astype(int)
    if encoding is Encoding.jpeg_grey:
        wanted = np.asarray(Image.fromarray(wanted.astype(np.uint8)).convert("L").convert("RGB")).astype(int)
    assert np.abs(_shown(encode(payload)) - wanted).mean() < 6


def test_the_animated_gif_has_frames_and_the_16_bit_png_has_16_bits():
    assert Image.open(io.BytesIO(encode(Payload(SEED, Encoding.gif_animated)))).n_frames == 3
    data = encode(Payload(SEED, Encoding.png_16bit))
    assert data[24] == 16  # bit depth in IHDR


def test_alpha_is_opaque_on_objects_and_not_elsewhere():
    scene = make_scene(SEED)
    alpha = np.asarray(Image.open(io.BytesIO(encode(Payload(SEED, Encoding.png_alpha)))))[:, :, 3]
    objects = scene.masks().any(axis=0)
    assert (alpha[objects] == 255).all()
    assert alpha[~objects].min() < 200


@pytest.mark.parametrize("orientation", range(2, 9))
def test_applying_the_exif_orientation_shows_the_scene(orientation: int):
    data = encode(Payload(SEED, orientation=orientation))
    image = Image.open(io.BytesIO(data))
    assert image.getexif()[0x0112] == orientation
    scene = make_scene(SEED)
    turned = (scene.height, scene.width) if orientation >= 5 else (scene.width, scene.height)
    assert image.size == turned
    wanted = render(scene).astype(int)
    assert np.abs(_shown(data) - wanted).mean() < 6
    assert np.abs(np.asarray(image.resize((scene.width, scene.height))).astype(int) - wanted).mean() > 10


@pytest.mark.parametrize("edit", [e for e in Edit if e is not Edit.none])
def test_an_edit_is_a_near_duplicate_and_not_the_same_file(edit: Edit):
    import pdqhash

    radius = 31  # PDQ's published radius, hashing.pdf
    near = 0
    for seed in range(20):
        pixels = [_shown(encode(Payload(seed, edit=e))).astype(np.uint8) for e in (Edit.none, edit)]
        (a, _), (b, _) = (pdqhash.compute(p) for p in pixels)
        near += int((a != b).sum()) <= radius
        assert encode(Payload(seed, edit=edit)) != encode(Payload(seed))
    assert near >= 19


@pytest.mark.parametrize("edit", [Edit.half, Edit.crop])
def test_boxes_follow_an_edit(edit: Edit):
    scene = make_scene(SEED)
    pixels = _shown(encode(Payload(SEED, Encoding.png, edit)))
    for box, item in zip(labelled_boxes(Payload(SEED, edit=edit), scene), scene.objects, strict=True):
        x, y, w, h = (float(box[k]) for k in "xywh")
        assert x >= 0 and y >= 0 and x + w <= pixels.shape[1] and y + h <= pixels.shape[0]
        full = [float(b) for b in scene.boxes()[scene.objects.index(item)]]
        inner = pixels[round(y) : round(y + h), round(x) : round(x + w)]
        factor = 2 if edit is Edit.half else 1
        assert inner.shape[:2] == pytest.approx((full[3] / factor, full[2] / factor), abs=1.01)


def test_a_truncated_file_is_the_first_half():
    whole, half = encode(Payload(SEED)), encode(Payload(SEED, Encoding.jpeg_truncated))
    assert half == whole[: len(whole) // 2]
