"""Data set records and results.json as the predictions that everything here draws."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from detectron2.data.detection_utils import read_image
from pycocotools import mask as mask_utils

from avis.data import decode_segmentation
from avis.structures import RLE, Track, VideoPrediction


def read_frames(record: dict, frame_indices: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Read frames of a video, all by default, as RGB uint8 (H, W, 3)."""
    for t in range(record["length"]) if frame_indices is None else frame_indices:
        yield read_image(record["file_names"][t], "RGB")


def ground_truth_tracks(record: dict) -> VideoPrediction:
    """The annotated objects of a video as tracks of score 1, crowds left out."""
    tracks = [
        Track(1.0, annotation["category_id"], [_to_rle(mask, record) for mask in annotation["segmentations"]])
        for annotation in record["annotations"]
        if not annotation["iscrowd"]
    ]
    return VideoPrediction(record["video_id"], record["height"], record["width"], record["length"], tracks)


def predicted_tracks(
    results: Sequence[dict],
    records: Sequence[dict],
    contiguous_ids: Mapping[int, int],
    score_threshold: float,
) -> dict[int | str, VideoPrediction]:
    """The content of results.json by video.

    Args:
        results: its entries.
        records: of the videos wanted.
        contiguous_ids: the class index of each category id of the data set.
        score_threshold: tracks that do not score higher are left out.

    Returns:
        For each record's video_id its tracks, best first.

    Raises:
        ValueError: an entry's category is unknown, or its masks are not as many as the video's frames.
    """
    by_video = defaultdict(list)
    for entry in results:
        if entry["score"] > score_threshold:
            by_video[entry["video_id"]].append(entry)
    return {
        record["video_id"]: VideoPrediction(
            record["video_id"],
            record["height"],
            record["width"],
            record["length"],
            [
                _to_track(entry, record, contiguous_ids)
                for entry in sorted(by_video[record["video_id"]], key=lambda entry: -entry["score"])
            ],
        )
        for record in records
    }


def _to_track(entry: dict, record: dict, contiguous_ids: Mapping[int, int]) -> Track:
    masks = entry["segmentations"]
    where = f"prediction of score {entry['score']:.4f} for video {record['video_id']!r}"
    if entry["category_id"] not in contiguous_ids:
        raise ValueError(f"{where}: the data set has no category {entry['category_id']!r}")
    if len(masks) != record["length"]:
        raise ValueError(f"{where}: {len(masks)} masks, the video has {record['length']} frames")
    return Track(entry["score"], contiguous_ids[entry["category_id"]], [_or_none(mask) for mask in masks])


def _to_rle(segmentation: dict | list | None, record: dict) -> RLE | None:
    if segmentation is None:
        return None
    return _or_none(mask_utils.encode(decode_segmentation(segmentation, record["height"], record["width"])))


def _or_none(mask: RLE | None) -> RLE | None:
    return mask if mask is not None and mask_utils.area(mask) else None
