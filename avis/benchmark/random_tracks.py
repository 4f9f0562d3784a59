"""Random ground truth and predictions of any scale, to measure evaluation on; there are no pictures.

Objects are ragged ellipses that drift. Of the predictions of a video one in two follows an object, the others
are anywhere; all have a mask in each frame. One video in four has been understood, or no frame would be right
as FSLA has it: each object is found where it sounds, and others have masks in the first frames alone.

Dimensions: T frames of a video, h×w pixels, C columns that an ellipse touches.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from avis.files import replacing, write_json
from avis.formats.categories import AVISEG_CATEGORIES

# Pixels by which edges are off, up or down.
_JITTER = 5
# Pixels by which a prediction that follows an object is off.
_OFFSET = 4
# Half axes of the ellipses, as shares of the frame's height.
_RADII = (0.07, 0.2)
# One video in so many has been understood; then what finds nothing has masks in this share of its frames.
_UNDERSTOOD, _BRIEFLY = 4, 0.2
# Chances that an object sounds in a frame, and that a prediction that follows it has its category.
_SOUNDS, _IS_RIGHT = 0.8, 0.8


@dataclass(frozen=True)
class Scale:
    """The size of a data set; by default about that of AVISeg's test split.

    Attributes:
        videos: their number.
        length: frames of each, T.
        size: of the frames, (h, w).
        objects: a video has 1 to so many.
    """

    videos: int = 205
    length: int = 60
    size: tuple[int, int] = (360, 640)
    objects: int = 5


@dataclass(frozen=True)
class _Ellipse:
    """An ellipse that moves, in pixels and pixels per frame, (y, x) each."""

    category_id: int
    center: np.ndarray
    speed: np.ndarray
    radii: np.ndarray


def write_random_tracks(
    folder: Path, num_predictions: int, scale: Scale, seed: int, progress: bool = False
) -> tuple[Path, Path, Path]:
    """Write annotations and predictions.

    Args:
        folder: gets the files.
        num_predictions: for each video.
        scale: of the data set.
        seed: the files depend on it and the other arguments alone.
        progress: show a bar.

    Returns:
        The paths of gt.json, of gt_uncompressed.json, which is the same with runs as lists of numbers, and of
        predictions.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    videos = [_video(number, scale) for number in range(1, scale.videos + 1)]
    annotations = []
    with replacing(folder / "predictions.json") as unfinished, unfinished.open("wb") as file:
        separator = b"["
        for video in tqdm(videos, desc="making tracks", unit=" videos", disable=None if progress else True):
            rng = np.random.default_rng((seed, video["id"]))
            objects = [_random_ellipse(rng, scale) for _ in range(rng.integers(1, scale.objects + 1))]
            sounding = [_annotation(rng, video, ellipse, scale) for ellipse in objects]
            annotations += sounding
            for number in range(num_predictions):
                prediction = _prediction(rng, video, objects, scale)
                if video["id"] % _UNDERSTOOD == 0:
                    prediction |= _understood(rng, prediction, sounding[number : number + 1], scale)
                file.write(separator + json.dumps(prediction).encode())
                separator = b",\n"
        file.write(b"]" if num_predictions else b"[]")
    categories = [{"id": id, "name": name} for id, name in enumerate(AVISEG_CATEGORIES, start=1)]
    content = {"videos": videos, "categories": categories, "annotations": annotations}
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    write_json(folder / "gt_uncompressed.json", content)
    for annotation in annotations:
        annotation["segmentations"] = [mask and _compress(mask) for mask in annotation["segmentations"]]
    write_json(folder / "gt.json", content)
    return folder / "gt.json", folder / "gt_uncompressed.json", folder / "predictions.json"


def _video(number: int, scale: Scale) -> dict:
    height, width = scale.size
    return {
        "id": number,
        "height": height,
        "width": width,
        "length": scale.length,
        "file_names": [f"{number:05}/{t}.jpg" for t in range(scale.length)],
    }


def _random_ellipse(rng: np.random.Generator, scale: Scale) -> _Ellipse:
    return _Ellipse(
        category_id=int(rng.integers(1, len(AVISEG_CATEGORIES) + 1)),
        center=rng.uniform(0, scale.size),
        speed=rng.normal(0, 2, 2),
        radii=rng.uniform(*_RADII, 2) * scale.size[0],
    )


def _annotation(rng: np.random.Generator, video: dict, ellipse: _Ellipse, scale: Scale) -> dict:
    sounds = rng.random(scale.length) < _SOUNDS
    masks = [_mask(rng, ellipse, t, scale) if sounds[t] else None for t in range(scale.length)]
    return {
        "video_id": video["id"],
        "category_id": ellipse.category_id,
        "iscrowd": 0,
        "height": video["height"],
        "width": video["width"],
        "segmentations": masks,
        "areas": [mask and sum(mask["counts"][1::2]) for mask in masks],
    }


def _prediction(rng: np.random.Generator, video: dict, objects: list[_Ellipse], scale: Scale) -> dict:
    ellipse, score = _random_ellipse(rng, scale), rng.random()
    if rng.random() < 0.5:
        followed = objects[rng.integers(len(objects))]
        category_id = followed.category_id if rng.random() < _IS_RIGHT else ellipse.category_id
        center = followed.center + rng.normal(0, _OFFSET, 2)
        ellipse, score = _Ellipse(category_id, center, followed.speed, followed.radii), (1 + score) / 2
    return {
        "video_id": video["id"],
        "score": score,
        "category_id": ellipse.category_id,
        "segmentations": [_compress(_mask(rng, ellipse, t, scale)) for t in range(scale.length)],
    }


def _understood(rng: np.random.Generator, prediction: dict, found: list[dict], scale: Scale) -> dict:
    """What differs of a prediction of a video that has been understood.

    Args:
        rng: of the video.
        prediction: one of its predictions.
        found: the annotation of what it has found, if it has found anything.
        scale: of the data set.
    """
    if not found:
        num_frames = max(1, round(_BRIEFLY * scale.length))
        masks = enumerate(prediction["segmentations"])
        return {"segmentations": [mask if t < num_frames else None for t, mask in masks]}
    (truth,) = found
    masks = [
        mask and _compress(_shifted(mask, int(rng.integers(1, _OFFSET)))) for mask in truth["segmentations"]
    ]
    return {"category_id": truth["category_id"], "segmentations": masks, "score": (1 + rng.random()) / 2}


def _shifted(mask: dict, pixels: int) -> dict:
    """An uncompressed RLE a few pixels further down, or up where it ends."""
    first, *between, last = mask["counts"]
    pixels = min(pixels, last)
    return {**mask, "counts": [first + pixels, *between, last - pixels]}


def _mask(rng: np.random.Generator, ellipse: _Ellipse, t: int, scale: Scale) -> dict:
    """The uncompressed RLE of an ellipse in frame t: a run in each of its columns."""
    height, width = scale.size
    center_y, center_x = (ellipse.center + ellipse.speed * t) % scale.size
    radius_y, radius_x = ellipse.radii
    columns = np.arange(max(0, int(center_x - radius_x)), min(width, int(center_x + radius_x) + 1))
    half = radius_y * np.sqrt(np.maximum(0, 1 - ((columns - center_x) / radius_x) ** 2))
    top, bottom = center_y - half, center_y + half
    ragged = rng.integers(-_JITTER, _JITTER + 1, (2, len(columns)))
    tops = np.clip(top + ragged[0], 0, height - 2).astype(int)
    bottoms = np.clip(bottom + ragged[1], tops + 1, height - 1).astype(int)
    edges = np.stack([columns * height + tops, columns * height + bottoms], axis=1).ravel()
    runs = np.diff(edges, prepend=0, append=height * width)
    return {"size": [height, width], "counts": runs.tolist()}


def _compress(mask: dict) -> dict:
    counts = coco_mask.frPyObjects(mask, *mask["size"])["counts"]
    return {"size": mask["size"], "counts": counts.decode("ascii")}
