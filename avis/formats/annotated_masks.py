"""The masks of annotations, for training, metrics and statistics alike, and which of them are none.

Dimensions: N tracks of a video, T frames.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avis.formats.aviseg import Annotations
from avis.formats.masks import MeasuredMasks, read_masks
from avis.formats.tracks import Video, VideoId

logger = logging.getLogger(__name__)


def read_annotated_masks(annotations: Annotations) -> dict[VideoId, list[MeasuredMasks]]:
    """Read the masks of a split. One warning tells of all that have no pixel and count as null.

    Returns:
        The masks of each video's N annotations by its id, in the order of the file.

    Raises:
        ValueError: a mask is malformed; the message names the file, the annotation and the frame.
    """
    masks = {video.id: _read_video(annotations, video) for video in annotations.videos}
    _warn_about_empty_masks(annotations, masks)
    return masks


def nullify(values: Sequence[Any] | None, masks: MeasuredMasks) -> list[Any] | None:
    """What an annotation says of its T masks, with None for those that count as null."""
    if values is None:
        return None
    return [None if gone else value for value, gone in zip(values, masks.nullified.tolist(), strict=True)]


def _read_video(annotations: Annotations, video: Video) -> list[MeasuredMasks]:
    entries = annotations.entries[video.id]
    names = [f"{annotations.source}: annotation {entry['id']} of video {video.id!r}" for entry in entries]
    return read_masks([entry["segmentations"] for entry in entries], names, video)


def _warn_about_empty_masks(
    annotations: Annotations, masks: Mapping[VideoId, Sequence[MeasuredMasks]]
) -> None:
    places = [
        (video, entry["id"], frame)
        for video in annotations.videos
        for entry, track in zip(annotations.entries[video.id], masks[video.id], strict=True)
        for frame in np.flatnonzero(track.nullified).tolist()
    ]
    if places:
        video, annotation_id, frame = places[0]
        logger.warning(
            "%s: %d masks have no pixel and count as null, the first is annotation %d of video %r, frame %d "
            "(%s)", annotations.source, len(places), annotation_id, video.id, frame, video.file_names[frame],
        )  # fmt: skip
