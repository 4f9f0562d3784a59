"""Ground truth from annotations in the AVISeg format, checked down to the last run of the last mask.

Dimensions: T frames of a video.
"""

from collections.abc import Sequence
from typing import Any

from avis.files import JsonSource
from avis.formats.aviseg import read_annotations
from avis.formats.masks import MeasuredMasks, read_masks
from avis.formats.tracks import GroundTruth, GroundTruthTrack, Video, VideoId, mean_area


def load_ground_truth(source: JsonSource) -> GroundTruth:
    """Load the annotations of a data set.

    Args:
        source: the path of a JSON file in the AVISeg format, or its parsed content. Masks may be compressed
            RLE, uncompressed RLE or polygons.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names the file, the annotation and the problem.
    """
    annotations = read_annotations(source)
    videos = {video.id: video for video in sorted(annotations.videos, key=_id_order)}
    return GroundTruth(
        source=annotations.source,
        videos=videos,
        categories=annotations.categories,
        tracks={
            video.id: _tracks(annotations.source, annotations.entries[video.id], video)
            for video in videos.values()
        },
    )


def _id_order(video: Video) -> tuple[bool, VideoId]:
    """Ids in ascending order, numbers before texts."""
    return isinstance(video.id, str), video.id


def _tracks(source: str, entries: Sequence[dict[str, Any]], video: Video) -> list[GroundTruthTrack]:
    names = [f"{source}: annotation {entry['id']} of video {video.id!r}" for entry in entries]
    all_masks = read_masks([entry["segmentations"] for entry in entries], names, video)
    return [_track(entry, masks) for entry, masks in zip(entries, all_masks, strict=True)]


def _track(entry: dict[str, Any], masks: MeasuredMasks) -> GroundTruthTrack:
    # As YouTube-VIS does: the areas written down count, not those of the masks.
    areas = masks.areas.tolist() if entry.get("areas") is None else entry["areas"]
    return GroundTruthTrack(
        entry["category_id"],
        *masks,
        mean_area=mean_area(areas),
        is_crowd=bool(entry.get("iscrowd", 0)),
        id=entry["id"],
    )
