"""What is drawn, pixel by pixel: inside, outside, on top of each other, and at sizes that nobody can look at."""

import numpy as np
import pytest

from stages.masks.overlay import PALETTE, Look, contact_sheet, overlay
from tests.stages.masks.made import block, mask_of

GREY = np.full((600, 800, 3), 100, np.uint8)


def _mixed(colour: int, share: float = 0.35) -> list[int]:
    return [round(100 * (1 - share) + value * share) for value in PALETTE[colour]]


def test_inside_is_tinted_and_outside_is_left() -> None:
    ring = block(600, 800, 200, 100, 300, 300)
    ring[200:300, 300:400] = False
    before = GREY.copy()
    drawn = overlay(GREY, [mask_of(ring)])
    assert drawn[150, 250].tolist() == _mixed(0)
    assert drawn[250, 350].tolist() == [100, 100, 100], "the hole"
    away = ~block(600, 800, 194, 94, 312, 312)
    assert (drawn[away] == 100).all()
    assert (before == GREY).all()


def test_the_line_is_the_masks_colour_between_dark_ones() -> None:
    line = overlay(GREY, [mask_of(block(600, 800, 200, 100, 300, 300))])[250, 190:215]
    distance = np.abs(line.astype(int) - PALETTE[0]).sum(1)
    at = int(distance.argmin())
    assert distance[at] < 30
    assert line[:at].sum(1).min() < 120 and line[at:].sum(1).min() < 120


def test_a_small_mask_lies_on_a_large_one_whatever_came_first() -> None:
    small, large = mask_of(block(600, 800, 300, 200, 60, 60)), mask_of(block(600, 800, 100, 50, 600, 500))
    drawn = overlay(GREY, [small, large])
    under = [round(value * 0.65 + top * 0.35) for value, top in zip(_mixed(1), PALETTE[0], strict=True)]
    assert drawn[230, 330].tolist() == under


def test_masks_that_are_not_best_are_drawn_if_asked() -> None:
    masks = [mask_of(block(600, 800, 100, 50, 200, 200), best=False)]
    assert (overlay(GREY, masks) == 100).all()
    assert overlay(GREY, masks, Look(best=False))[150, 200].tolist() == _mixed(0)


@pytest.mark.parametrize("ground", [0, 255])
def test_label_and_predicted_iou_are_read_on_any_ground(ground: int) -> None:
    picture = np.full((600, 800, 3), ground, np.uint8)
    pixels = block(600, 800, 200, 300, 300, 200)
    plain, told = (
        overlay(picture, [mask_of(pixels)]),
        overlay(picture, [mask_of(pixels, label="dog", predicted_iou=0.9)]),
    )
    rows, columns = np.nonzero((plain != told).any(2))
    assert rows.min() > 270 and rows.max() <= 302, "above its box"
    assert columns.min() >= 198 and 30 < columns.max() - columns.min() < 120
    field = told[rows.min() + 3 : rows.max() - 3, columns.min() + 3 : columns.max() - 3].reshape(-1, 3)
    colours = {tuple(int(v) for v in colour) for colour in field}
    assert PALETTE[0] in colours
    assert min(sum(colour) for colour in colours) < 150, "ink"


def test_texts_make_room_for_each_other() -> None:
    same = [mask_of(block(600, 800, 300, 200, 200, 200), label=f"thing {n}") for n in range(3)]
    one = (overlay(GREY, same[:1]) != overlay(GREY, [mask_of(block(600, 800, 300, 200, 200, 200))])).any(2).sum()
    bare = [mask_of(block(600, 800, 300, 200, 200, 200)) for _ in range(3)]
    three = (overlay(GREY, same) != overlay(GREY, bare)).any(2).sum()
    assert three > 2.5 * one


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [((1, 1), (480, 480)), ((3, 3000), (48, 1280)), ((3000, 2), (1280, 200)), ((700, 900), (700, 900)),
     ((1000, 2000), (640, 1280)), ((30, 60), (240, 480))],
)  # fmt: skip
def test_tiny_and_huge_pictures_come_at_a_sensible_size(shape: tuple[int, int], drawn: tuple[int, int]) -> None:
    mask = mask_of(np.ones(shape, np.bool_), label="all of it", predicted_iou=1.0)
    assert overlay(np.zeros((*shape, 3), np.uint8), [mask]).shape == (*drawn, 3)


def test_a_mask_of_one_pixel_is_seen_in_a_huge_picture() -> None:
    picture = np.zeros((2000, 6000, 3), np.uint8)
    drawn = overlay(picture, [mask_of(block(2000, 6000, 3000, 1000, 1, 1))])
    rows, columns = np.nonzero(drawn.any(2))
    assert abs(rows.mean() - 1000 * 1280 / 6000) < 2
    assert abs(columns.mean() - 640) < 2


def test_labels_may_hold_anything() -> None:
    label = "a\x00\n\u202e" + "犬" * 500
    assert overlay(GREY, [mask_of(block(600, 800, 10, 10, 50, 50), label=label)]).shape == GREY.shape


def test_a_mask_of_another_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="a mask of 80 × 60 for a picture of 800 × 600"):
        overlay(GREY, [mask_of(block(60, 80, 1, 1, 5, 5))])


def test_a_sheet_has_every_picture_and_its_caption() -> None:
    pictures = [np.full((h, w, 3), 50, np.uint8) for h, w in ((100, 300), (900, 40), (1, 1), (240, 320), (5, 900))]
    sheet = contact_sheet(
        [(picture, f"number {n}\n" + "word " * 200) for n, picture in enumerate(pictures)], columns=3, cell=200
    )
    assert sheet.shape[1] == 3 * 205 + 5
    for n in range(5):
        top, left = 5 + n // 3 * ((sheet.shape[0] - 5) // 2), 5 + n % 3 * 205
        tile = sheet[top : top + 150, left : left + 200]
        below = sheet[top + 150 : top + 180, left : left + 200]
        assert (tile == 50).all(2).any()
        assert below.min() < 60, "the caption"
    assert (sheet[-140:, -150:] == 255).all()


def test_a_sheet_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no picture"):
        contact_sheet([])
