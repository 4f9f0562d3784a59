"""Small data sets and predictions, written by hand."""

from collections.abc import Callable

import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 20, 30
LENGTH = 3
CATEGORIES = [{"id": 2, "name": "dog"}, {"id": 5, "name": "cat"}]


def rle(mask: np.ndarray) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def columns(first: int, last: int) -> dict:
    """The mask of the columns first … last - 1, each of 20 pixels."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, first:last] = 1
    return rle(mask)


def ground_truth(*annotations: dict, num_videos: int = 2) -> dict:
    videos = [
        {
            "id": video_id,
            "height": HEIGHT,
            "width": WIDTH,
            "length": LENGTH,
            "file_names": [f"{video_id}/{t}.jpg" for t in range(LENGTH)],
        }
        for video_id in range(1, num_videos + 1)
    ]
    numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)]
    return {"videos": videos, "categories": CATEGORIES, "annotations": numbered}


def annotation(mask: dict | list | None, video_id: int = 1, category_id: int = 2, **more: object) -> dict:
    """A ground-truth track with one mask in all frames, or with a list of masks."""
    masks = mask if isinstance(mask, list) else [mask] * LENGTH
    return {"video_id": video_id, "category_id": category_id, "segmentations": masks, **more}


def prediction(mask: dict | list | None, score: float = 0.5, video_id: int = 1, category_id: int = 2) -> dict:
    return {**annotation(mask, video_id, category_id), "score": score}


def perfect(truth: dict, score: float = 0.5) -> list[dict]:
    """The ground truth as predictions."""
    keys = ("video_id", "category_id", "segmentations")
    return [{"score": score, **{key: track[key] for key in keys}} for track in truth["annotations"]]


def changed(**values: object) -> Callable[[dict], dict]:
    return lambda entry: entry | values


def without(key: str) -> Callable[[dict], dict]:
    return lambda entry: {name: value for name, value in entry.items() if name != key}


def with_mask(mask: object) -> Callable[[dict], dict]:
    return changed(segmentations=[columns(0, 5), mask, None])
