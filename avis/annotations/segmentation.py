"""Masks of single frames as data sets write them: compressed RLE, uncompressed RLE or polygons.

Follows the COCO annotation format (Lin et al., "Microsoft COCO", 2014): runs go down the columns and start
with background; a polygon is [x0, y0, x1, y1, …], and a mask is the union of a list of them.
"""

import numpy as np
from pycocotools import mask as coco_mask

# Numbers of the smallest polygon, a triangle.
_TRIANGLE = 6
# Coordinates beyond so many times the picture's size are mistakes.
_FAR = 10


def check_segmentation(segmentation: dict | list, height: int, width: int) -> None:
    """Check the form of a mask without decoding it.

    Raises:
        ValueError: it is none of the three forms, or not of the size height × width.
    """
    if isinstance(segmentation, dict):
        _check_rle(segmentation, height, width)
    elif isinstance(segmentation, list):
        _check_polygons(segmentation)
    else:
        raise ValueError(f"mask is a {type(segmentation).__name__}, neither an RLE nor a list of polygons")


def decode_segmentation(segmentation: dict | list | None, height: int, width: int) -> np.ndarray:
    """Decode a mask of any form; None and empty lists are empty masks.

    Returns:
        uint8 (height, width) of 0 and 1, in column-major order.

    Raises:
        ValueError: the mask is malformed or not of this size.
    """
    if not segmentation:
        return np.zeros((height, width), np.uint8, order="F")
    check_segmentation(segmentation, height, width)
    if isinstance(segmentation, dict):
        return coco_mask.decode(_compressed(segmentation))
    polygons = [_bounded(polygon, height, width) for polygon in segmentation if len(polygon) >= _TRIANGLE]
    if not polygons:
        return np.zeros((height, width), np.uint8, order="F")
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


def _check_rle(rle: dict, height: int, width: int) -> None:
    if "size" not in rle or "counts" not in rle:
        raise ValueError(f"RLE needs the keys 'size' and 'counts', it has {sorted(rle)}")
    if list(rle["size"]) != [height, width]:
        raise ValueError(f"mask is {'×'.join(map(str, rle['size']))}, the video is {height}×{width}")
    if isinstance(rle["counts"], list) and sum(rle["counts"]) != height * width:
        raise ValueError(f"RLE covers {sum(rle['counts'])} pixels of {height * width}")


def _check_polygons(polygons: list) -> None:
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise ValueError("a mask of polygons is a list of lists of numbers")
        if len(polygon) % 2:
            raise ValueError(f"polygon has {len(polygon)} numbers, which are not pairs")


def _bounded(polygon: list, height: int, width: int) -> list:
    """The polygon, known to be numbers that lie near the picture: pycocotools walks along every edge."""
    reach = np.abs(np.asarray(polygon, dtype=np.float64)).max()
    if not reach < _FAR * max(height, width):
        raise ValueError(f"polygon has the coordinate {reach:g} in a picture of {height}×{width}")
    return polygon


def _compressed(rle: dict) -> dict:
    """The RLE in the compressed form, known to cover the mask exactly: pycocotools does not check that."""
    height, width = rle["size"]
    is_list = isinstance(rle["counts"], list)
    runs = np.asarray(rle["counts"]) if is_list else _run_lengths(rle["counts"])
    if runs.dtype.kind != "i" or runs.min(initial=0) < 0:
        raise ValueError("RLE has runs that are no natural numbers")
    if runs.sum() != height * width:
        raise ValueError(f"RLE covers {runs.sum()} pixels of {height * width}")
    return coco_mask.frPyObjects(rle, height, width) if is_list else rle


def _run_lengths(counts: str | bytes) -> np.ndarray:
    """Unpack a compressed RLE: groups of 5 bits, lowest first, in one character each; from the fourth
    run on the difference to the run before the last.
    """
    characters = np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, np.uint8)
    if len(characters) == 0:
        return np.zeros(0, np.int64)
    groups = characters.astype(np.int64) - 48
    last = (groups & 0x20) == 0
    starts = np.flatnonzero(np.concatenate(([True], last[:-1])))
    place = np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))
    runs = np.add.reduceat((groups & 0x1F) << (5 * place), starts)
    negative = (groups[last] & 0x10) != 0
    runs[: len(negative)] -= negative.astype(np.int64) << (5 * (place[last] + 1))
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
