"""Ground truth and predictions, from files or parsed JSON, checked down to the last run of the last mask.

The checks are strict: pycocotools may never return from a malformed RLE, and predictions for an unknown video
or category are a mistake in all likelihood.

Dimensions: T frames of a video.
"""

import math
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from avis.annotations.format_check import format_problems
from avis.annotations.segmentation import check_segmentation
from avis.evaluation.json_file import read_json
from avis.evaluation.rle import measure_rles
from avis.evaluation.tracks import GroundTruth, GroundTruthTrack, PredictedTrack, Video, VideoId
from avis.structures import RLE

JsonSource = str | PathLike | dict | list

PREDICTION_KEYS = ("video_id", "score", "category_id", "segmentations")
# Numbers of a triangle, the smallest polygon with an area.
_TRIANGLE = 6


def load_ground_truth(source: JsonSource) -> GroundTruth:
    """Load the annotations of a data set.

    Args:
        source: the path of a JSON file in the AVISeg format, or its parsed content. Masks may be compressed
            RLE, uncompressed RLE or polygons.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names the file, the annotation and the problem.
    """
    name, content = _read(source, "ground truth")
    if problem := next(format_problems(content), None):
        raise ValueError(f"{name}: {problem}")
    videos = [_video(video) for video in sorted(content["videos"], key=_id_order)]
    truth = GroundTruth(
        videos={video.id: video for video in videos},
        categories={
            category["id"]: category["name"] for category in sorted(content["categories"], key=_id_order)
        },
        tracks={video.id: [] for video in videos},
    )
    for annotation in content.get("annotations") or []:
        video = truth.videos[annotation["video_id"]]
        where = f"{name}: annotation {annotation['id']} of video {video.id!r}"
        truth.tracks[video.id].append(_located(where, _ground_truth_track, annotation, video))
    return truth


def load_predictions(source: JsonSource, truth: GroundTruth) -> dict[VideoId, list[PredictedTrack]]:
    """Load predictions in the results format of YouTube-VIS.

    Args:
        source: the path of a JSON file, or its parsed content: a list of objects with "video_id", "score",
            "category_id" and "segmentations" (T masks, null where empty).
        truth: what the predictions are for.

    Returns:
        The tracks of every video of `truth`, in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names the file, the index of the entry and the problem.
    """
    name, entries = _read(source, "predictions")
    if not isinstance(entries, list):
        raise ValueError(f"{name}: predictions are a list of tracks, this is a {type(entries).__name__}")
    predictions = {video_id: [] for video_id in truth.videos}
    for index, entry in enumerate(entries):
        track = _located(f"{name}: entry {index}", _predicted_track, entry, truth)
        predictions[entry["video_id"]].append(track)
    return predictions


def _read(source: JsonSource, kind: str) -> tuple[str, Any]:
    """What to call the source in messages, and its content."""
    if isinstance(source, str | PathLike):
        return str(source), read_json(source)
    return kind, source


def _located(where: str, read: Callable, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _id_order(entry: dict) -> tuple[bool, VideoId]:
    """Ids in ascending order, numbers before texts."""
    return isinstance(entry["id"], str), entry["id"]


def _video(video: dict) -> Video:
    file_names = video["file_names"]
    folder = PurePosixPath(file_names[0]).parts[0]
    return Video(video["id"], video["height"], video["width"], len(file_names), folder)


def _ground_truth_track(annotation: dict, video: Video) -> GroundTruthTrack:
    masks, areas, stored = _read_masks(annotation["segmentations"], video)
    # As YouTube-VIS does: the areas written down count, not those of the masks.
    mean_area = _mean_area(areas.tolist() if annotation.get("areas") is None else annotation["areas"])
    is_crowd = bool(annotation.get("iscrowd", 0))
    return GroundTruthTrack(annotation["category_id"], masks, areas, stored, mean_area, is_crowd)


def _predicted_track(entry: Any, truth: GroundTruth) -> PredictedTrack:
    _check_prediction(entry, truth)
    video = truth.videos[entry["video_id"]]
    masks, areas, stored = _located(f"video {video.id!r}", _read_masks, entry["segmentations"], video)
    mean_area = _mean_area(areas.tolist())
    return PredictedTrack(entry["category_id"], masks, areas, stored, mean_area, float(entry["score"]))


def _check_prediction(entry: Any, truth: GroundTruth) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"a track is an object with {', '.join(PREDICTION_KEYS)}, this is {entry!r:.80}")
    for key in PREDICTION_KEYS:
        if key not in entry:
            raise ValueError(f"the key {key!r} is missing")
    if not _is_among(entry["video_id"], truth.videos):
        raise ValueError(f"video {entry['video_id']!r} is not in the ground truth")
    if not _is_among(entry["category_id"], truth.categories):
        raise ValueError(f"category {entry['category_id']!r} is not among {list(truth.categories)}")
    if not (_is_number(entry["score"]) and math.isfinite(entry["score"])):
        raise ValueError(f"score is {entry['score']!r}, not a finite number")


def _is_among(id: Any, known: dict) -> bool:
    return isinstance(id, int | str) and not isinstance(id, bool) and id in known


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mean_area(areas: Sequence) -> float:
    """Mean over the frames that have an area; 0 if none has."""
    if not all(area is None or _is_number(area) for area in areas):
        raise ValueError("'areas' holds something that is no number")
    present = [area for area in areas if area]
    return math.fsum(present) / len(present) if present else 0.0


def _read_masks(segmentations: Any, video: Video) -> tuple[list[RLE | None], np.ndarray, np.ndarray]:
    """T masks as compressed RLEs, None where they are empty, their areas, and where one is stored."""
    if not isinstance(segmentations, list) or len(segmentations) != video.length:
        count = len(segmentations) if isinstance(segmentations, list) else "no"
        raise ValueError(f"{count} segmentations for {video.length} frames (a silent frame has null)")
    masks = [_compress(mask, frame, video) for frame, mask in enumerate(segmentations)]
    frames = [frame for frame, mask in enumerate(masks) if mask]
    inside, covered = measure_rles([masks[frame]["counts"] for frame in frames])
    for index in np.flatnonzero(covered != video.height * video.width):
        problem = "is malformed" if covered[index] < 0 else f"covers {covered[index]} pixels"
        raise ValueError(
            f"frame {frames[index]}: the RLE {problem}, the video has {video.height}×{video.width}"
        )
    areas = np.zeros(video.length, np.int64)
    areas[frames] = inside
    stored = np.array([mask is not None for mask in masks], bool)
    return [mask if area else None for mask, area in zip(masks, areas, strict=True)], areas, stored


def _compress(mask: dict | list | None, frame: int, video: Video) -> RLE | None:
    if not mask:
        return None
    try:
        check_segmentation(mask, video.height, video.width)
        if isinstance(mask, dict) and isinstance(mask["counts"], str) and mask["counts"].isascii():
            return mask
        return _to_compressed_rle(mask, video.height, video.width)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"frame {frame}: {error}") from error


def _to_compressed_rle(mask: dict | list, height: int, width: int) -> RLE | None:
    if isinstance(mask, list):
        polygons = [polygon for polygon in mask if len(polygon) >= _TRIANGLE]
        if not polygons:
            return None
        mask = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    elif isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(mask, height, width)
    if not isinstance(mask["counts"], bytes):
        raise ValueError(f"the counts of an RLE are a list or ASCII text, not {mask['counts']!r:.40}")
    return {"size": [height, width], "counts": mask["counts"].decode("ascii")}
