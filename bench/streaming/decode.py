"""The decoder that all readers share in the column `same`: pairmill's, JPEG bytes → 224 × 224 × 3 uint8."""

from typing import Any

import numpy as np

from schemas.stream import DecodeConfig
from stages.stream.decode import decode_into

SIZE = 224
_CONFIG = DecodeConfig(size=SIZE)


def to_224(jpeg: Any) -> np.ndarray:
    """RGB, as `DecodeConfig` has it by default: scaled decode, middle square."""
    out = np.empty((SIZE, SIZE, 3), np.uint8)
    decode_into(jpeg, out, _CONFIG)
    return out


def fitted(pixels: Any) -> np.ndarray:
    """What a reader's own decoder made (H × W × 3 uint8 array, or PIL image) → the middle square, resized as ours is.

    Only the decoder differs from `to_224`.
    """
    import cv2

    picture = np.asarray(pixels)
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    how = cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC
    return cv2.resize(picture[top : top + side, left : left + side], (SIZE, SIZE), interpolation=how)


def stacked(images: list[np.ndarray]) -> Any:
    """B × 224 × 224 × 3 uint8 torch tensor: in a DataLoader worker it travels through shared memory."""
    import torch

    return torch.from_numpy(np.stack(images))
