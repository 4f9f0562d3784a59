"""Ground truth from annotations in the AVISeg format, checked down to the last run of the last mask.

Dimensions: T frames of a video.
"""

from typing import Any

from avis.files import JsonSource
from avis.formats.annotated_masks import nullify, read_annotated_masks
from avis.formats.aviseg import read_annotations
from avis.formats.masks import MeasuredMasks
from avis.formats.tracks import GroundTruth, GroundTruthTrack, Video, VideoId, mean_area


def load_ground_truth(source: JsonSource) -> GroundTruth:
    """Load the annotations of a data set.

    Args:
        source: the path of a JSON file in the AVISeg format, or its parsed content. Masks may be compressed
            RLE, uncompressed RLE or polygons; those without a pixel count as null.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names the file, the annotation and the problem.
    """
    annotations = read_annotations(source)
    masks = read_annotated_masks(annotations)
    videos = {video.id: video for video in sorted(annotations.videos, key=_id_order)}
    return GroundTruth(
        source=annotations.source,
        videos=videos,
        categories=annotations.categories,
        tracks={
            video_id: list(map(_track, annotations.entries[video_id], masks[video_id])) for video_id in videos
        },
    )


def _id_order(video: Video) -> tuple[bool, VideoId]:
    """Ids in ascending order, numbers before texts."""
    return isinstance(video.id, str), video.id


def _track(entry: dict[str, Any], masks: MeasuredMasks) -> GroundTruthTrack:
    # As YouTube-VIS does: the areas written down count, not those of the masks.
    areas = masks.areas.tolist() if entry.get("areas") is None else nullify(entry["areas"], masks)
    return GroundTruthTrack(
        entry["category_id"],
        *masks,
        mean_area=mean_area(areas),
        is_crowd=bool(entry.get("iscrowd", 0)),
        id=entry["id"],
    )
