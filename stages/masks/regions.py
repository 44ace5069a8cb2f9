"""Small regions of a mask: holes to fill and islands to remove."""

import numpy as np


def tidied(mask: np.ndarray, smallest: int) -> np.ndarray:
    """`mask`, bool (height, width), without holes and islands under `smallest` pixels; empty where none is left.

    A hole is background that the mask encloses. Regions are 8-connected, holes are filled first, as in SAM's
    remove_small_regions (segment_anything/utils/amg.py); that keeps the largest island whatever its size, while SA-1B
    dropped such masks (arXiv:2304.02643, appendix B), as is done here.
    """
    # A frame of background makes one region of all that lies around the mask.
    framed = np.pad(mask, 1)
    number, areas, regions = _regions(~framed)
    areas[regions[0, 0]] = smallest
    framed |= _chosen(areas < smallest, number)[regions]
    number, areas, regions = _regions(framed)
    framed &= ~_chosen(areas < smallest, number)[regions]
    return framed[1:-1, 1:-1]


def _regions(pixels: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """How many labels, the area of each, the label of each pixel; label 0 is what lies outside of `pixels`."""
    import cv2

    number, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    return number, stats[:, cv2.CC_STAT_AREA].copy(), labels


def _chosen(wanted: np.ndarray, number: int) -> np.ndarray:
    chosen = np.zeros(number, np.bool_)
    chosen[1:] = wanted[1:]
    return chosen
