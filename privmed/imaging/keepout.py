"""Where a watermark must not lie: from the outline of lesions to boxes.

Reference:
    B. Pu et al., "MedLocker", arXiv 2303.09858, semantic watermarking: dilate, drop what is small, box, merge. Two slips of the print are
    mended: the union of two boxes, and a fixed threshold of area that only fits the authors' image size.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen

from privmed.settings import at_least, between, setting

Box = tuple[int, int, int, int]  # x, y, width, height


@frozen(kw_only=True)
class KeepOut:
    """Settings of :func:`lesion_boxes`; defaults are the paper's, as parts of the image (IDRiD, 4288 x 2848), but for one.

    The paper drops components of at most 50,000 pixels, 0.0041 of its images. Here every lesion counts unless that is set.
    """

    dilate: float = setting(
        91 / 4288, "side of the box that lesions grow by, as part of the longer side", between(0, 1)
    )
    smallest: float = setting(
        0.0, "drop components of at most this part of the image; the paper's 0.0041", between(0, 1)
    )
    merge: float = setting(0.5, "merge boxes that overlap by more than this (IoU)", between(0, 1))
    margin: int = setting(0, "pixels added around each box", at_least(0))


def lesion_boxes(mask: np.ndarray, config: KeepOut | None = None) -> list[Box]:
    """Boxes around the lesions of a mask.

    Args:
        mask: (H, W), 0 is background.
        config: settings.

    Returns:
        Boxes (x, y, width, height) inside the image, from left to right; none when the mask is empty or all of it is small.
    """
    from scipy import ndimage

    config = config or KeepOut()
    height, width = mask.shape
    side = max(1, round(config.dilate * max(mask.shape))) | 1  # odd, so that it grows alike to all sides
    grown = ndimage.maximum_filter(mask != 0, size=side, mode="constant")
    named, count = ndimage.label(grown)
    areas = np.bincount(named.ravel(), minlength=count + 1)
    boxes = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(named), 1):
        if areas[number] > config.smallest * mask.size:
            boxes.append((columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start))
    merged = merge_boxes(boxes, config.merge)
    return sorted(_grow(box, config.margin, width, height) for box in merged)


def merge_boxes(boxes: list[Box], overlap: float) -> list[Box]:
    """Merge boxes until no two overlap by more than ``overlap`` (IoU); a merged box may meet a third, so it starts again."""
    boxes = list(boxes)
    again = True
    while again:
        again = False
        for i in range(len(boxes)):
            for j in range(i + 1, len(boxes)):
                if iou(boxes[i], boxes[j]) > overlap:
                    boxes[i] = union(boxes[i], boxes.pop(j))
                    again = True
                    break
            if again:
                break
    return boxes


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0, wide) * max(0, high)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def union(a: Box, b: Box) -> Box:
    """The smallest box around two."""
    x, y = min(a[0], b[0]), min(a[1], b[1])
    return x, y, max(a[0] + a[2], b[0] + b[2]) - x, max(a[1] + a[3], b[1] + b[3]) - y


def paint(boxes: list[Box], size: tuple[int, int]) -> np.ndarray:
    """Boxes as a mask of that height and width, bool."""
    out = np.zeros(size, bool)
    for x, y, width, height in boxes:
        out[y : y + height, x : x + width] = True
    return out


def _grow(box: Box, margin: int, width: int, height: int) -> Box:
    x, y, w, h = box
    left, top = max(0, x - margin), max(0, y - margin)
    return left, top, min(width, x + w + margin) - left, min(height, y + h + margin) - top
