"""Ground truth from annotations in the AVISeg format, checked down to the last run of the last mask.

Dimensions: T frames of a video.
"""

from typing import Any

from avis.files import JsonSource
from avis.formats.annotated_masks import nullify, read_annotated_masks
from avis.formats.avtrack import is_avtrack, load_avtrack
from avis.formats.direct import read_any_annotations
from avis.formats.masks import MeasuredMasks
from avis.formats.tracks import GroundTruth, GroundTruthTrack, in_order, mean_area


def load_ground_truth(source: JsonSource) -> GroundTruth:
    """Load the annotations of a data set.

    Args:
        source: the path of a JSON file in the AVISeg format or in COCO's, or the parsed content of the first.
            Masks may be compressed RLE, uncompressed RLE or polygons; those without a pixel count as null. Or
            the path of AVTrack's avtrack_meta.json, whose masks are pictures and are read when asked for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names the file, the annotation and the problem.
    """
    if is_avtrack(source):
        return load_avtrack(source)
    annotations = read_any_annotations(source).annotations
    masks = read_annotated_masks(annotations)
    videos = in_order(annotations.videos)
    return GroundTruth(
        source=annotations.source,
        videos=videos,
        categories=annotations.categories,
        tracks={
            video_id: list(map(_track, annotations.entries[video_id], masks[video_id])) for video_id in videos
        },
    )


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
