"""Masks of single frames as data sets write them: compressed RLE, uncompressed RLE or polygons.

Follows the COCO annotation format (Lin et al., "Microsoft COCO", 2014): runs go down the columns and start
with background; a polygon is [x0, y0, x1, y1, …], and a mask is the union of a list of them.

A mask without a pixel is no mask: an RLE of background or of nothing, a line, a box in place of polygons, a
polygon outside the picture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from avis.formats.rle import measure_rles
from avis.structures import RLE

# Numbers of the smallest polygon, a triangle.
_TRIANGLE = 6
# Numbers of a box.
_BOX = 4
# Coordinates beyond so many times the picture's size are mistakes.
_FAR = 10
# The largest coordinate that messages show: JSON has integers that no float holds.
_SHOWN = 1e300


def check_segmentation(segmentation: Any, height: int, width: int) -> None:
    """Check the form of a mask without decoding it.

    Raises:
        ValueError: it is none of the three forms, or not of the size height × width.
    """
    if _is_usual(segmentation, height, width):
        return
    if isinstance(segmentation, dict):
        _check_rle(segmentation, height, width)
    elif isinstance(segmentation, list):
        _check_polygons(segmentation)
    else:
        raise ValueError(f"mask is a {type(segmentation).__name__}, neither an RLE nor a list of polygons")


def compress_segmentation(segmentation: Any, height: int, width: int) -> RLE | None:
    """Bring a mask of any form into the compressed one, with text for its runs.

    The runs of one that is compressed already are left unchecked, for `measure_rles` to do it for many at
    once: pycocotools must not see them before.

    Returns:
        A compressed RLE; None for None, empty lists, boxes, and polygons that have no outline or lie outside.

    Raises:
        ValueError: the mask is malformed or not of this size.
    """
    if not segmentation:
        return None
    check_segmentation(segmentation, height, width)
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in _outlines(segmentation) if not _is_outside(polygon, height, width)]
        if not polygons:
            return None
        bounded = [_bounded(polygon, height, width) for polygon in polygons]
        rle = coco_mask.merge(coco_mask.frPyObjects(bounded, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    counts = rle["counts"]
    text = counts.decode("latin-1") if isinstance(counts, bytes) else counts  # which never fails
    return {"size": [height, width], "counts": text}


def decode_segmentations(
    segmentations: Sequence[Any], names: Sequence[str], height: int, width: int
) -> list[np.ndarray]:
    """Decode masks of any form, whose runs are checked all at once; what counts as no mask is an empty one.

    Args:
        segmentations: of one size.
        names: what to call each in messages.
        height: of the masks.
        width: of the masks.

    Returns:
        Of each uint8 (height, width) of 0 and 1, in column-major order.

    Raises:
        ValueError: a mask is malformed or not of this size; the message names it.
    """
    rles = [_compress(*named, height, width) for named in zip(segmentations, names, strict=True)]
    _, covered = measure_rles([rle["counts"] if rle else "" for rle in rles])
    for pixels, name in zip(covered.tolist(), names, strict=True):
        if pixels not in (0, height * width):
            raise ValueError(f"{name}: {explain_coverage(pixels, height, width)}")
    return [
        coco_mask.decode(rle) if pixels else np.zeros((height, width), np.uint8, order="F")
        for rle, pixels in zip(rles, covered.tolist(), strict=True)
    ]


def _compress(segmentation: Any, name: str, height: int, width: int) -> RLE | None:
    try:
        return compress_segmentation(segmentation, height, width)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def explain_coverage(covered: int, height: int, width: int) -> str:
    """What is wrong with an RLE whose runs cover so many pixels, -1 if it is malformed."""
    problem = "is malformed" if covered < 0 else f"covers {covered} pixels"
    return f"the RLE {problem}, the video has {height}×{width}, {height * width} pixels"


def _is_usual(segmentation: Any, height: int, width: int) -> bool:
    """Whether a mask is a compressed RLE of the right size, as nearly all are; found fast."""
    return (
        type(segmentation) is dict
        and segmentation.get("size") == [height, width]
        and type(segmentation.get("counts")) is str
    )


def _check_rle(rle: dict, height: int, width: int) -> None:
    if "size" not in rle or "counts" not in rle:
        raise ValueError(f"RLE needs the keys 'size' and 'counts', it has {sorted(map(str, rle))}")
    size, counts = rle["size"], rle["counts"]
    if not isinstance(size, list | tuple):
        raise ValueError(f"size of an RLE is [height, width], not {size!r:.40}")
    if list(size) != [height, width]:
        swapped = " (are height and width swapped?)" if list(size) == [width, height] else ""
        raise ValueError(f"mask is {'×'.join(map(str, size)):.40}, the video is {height}×{width}{swapped}")
    if isinstance(counts, list):
        _check_runs(counts, height, width)
    elif not isinstance(counts, str | bytes):
        raise ValueError(f"the counts of an RLE are a list or ASCII text, not {counts!r:.40}")


def _check_runs(runs: list, height: int, width: int) -> None:
    if not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError("RLE has runs that are no natural numbers")
    if sum(runs) not in (0, height * width):
        raise ValueError(f"RLE covers {sum(runs)} pixels of {height * width}")


def _check_polygons(polygons: list) -> None:
    if _is_box(polygons):
        return
    for polygon in polygons:
        if not isinstance(polygon, list) or not _are_numbers(polygon):
            raise ValueError("a mask of polygons is a list of lists of numbers")
        if len(polygon) % 2:
            raise ValueError(f"polygon has {len(polygon)} numbers, which are not pairs")


def _are_numbers(values: list) -> bool:
    return all(type(value) in (int, float) for value in values)


def _is_box(polygons: list) -> bool:
    """Whether there is [x, y, width, height] where polygons belong."""
    return len(polygons) == _BOX and _are_numbers(polygons)


def _outlines(polygons: list) -> list[list]:
    """The polygons that have at least three corners."""
    return [] if _is_box(polygons) else [polygon for polygon in polygons if len(polygon) >= _TRIANGLE]


def _is_outside(polygon: list, height: int, width: int) -> bool:
    """Whether a polygon lies beyond one side of the picture, be it far away."""
    sides = ((polygon[::2], width), (polygon[1::2], height))
    return any(
        all(value < 0 for value in values) or all(value > size for value in values) for values, size in sides
    )


def _bounded(polygon: list, height: int, width: int) -> list:
    """The polygon, known to be near the picture: pycocotools walks along every edge."""
    reach = _FAR * max(height, width)
    for number in polygon:
        if not -reach < number < reach:
            shown = min(max(number, -_SHOWN), _SHOWN)
            raise ValueError(f"polygon has the coordinate {shown:g} in a picture of {height}×{width}")
    return polygon
