"""Annotations mended where only one thing can have been meant.

Dimensions: T frames of a video.
"""

import copy
from collections import Counter
from typing import Any

from avis.dataset_tools.mask_checks import (
    CheckedTrack,
    box_of,
    duplicates,
    read_track,
    wrong_areas,
    wrong_boxes,
)
from avis.formats.aviseg import read_annotations


def mend(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Mend what is safe to mend: separators, empty masks, wrong areas and boxes, duplicated objects.

    Args:
        content: parsed annotations in the right format; they are not changed.

    Returns:
        Mended annotations, and how often each thing was done.

    Raises:
        ValueError: the annotations violate the format.
    """
    annotations = read_annotations(content)
    mended, done = copy.deepcopy(content), Counter()
    for video in mended["videos"]:
        done["file names"] += sum("\\" in name for name in video["file_names"])
        video["file_names"] = [name.replace("\\", "/") for name in video["file_names"]]
    entries = {entry["id"]: entry for entry in mended.get("annotations") or []}
    dropped = set()
    for video in annotations.videos:
        tracks = [read_track(entry, video) for entry in annotations.entries[video.id]]
        for track in tracks:
            _mend_track(track, entries[track.entry["id"]], done)
        dropped |= {track.entry["id"] for _, track in duplicates(tracks)}
    if dropped:
        mended["annotations"] = [entry for entry in mended["annotations"] if entry["id"] not in dropped]
        done["duplicated objects"] = len(dropped)
    return mended, {name: count for name, count in done.items() if count}


def _mend_track(track: CheckedTrack, entry: dict[str, Any], done: Counter) -> None:
    """Mend an annotation in its place."""
    for frame in track.empty:
        for key in ("segmentations", "areas", "bboxes"):
            if entry.get(key):
                entry[key][frame] = None
    done["empty masks"] += len(track.empty)
    for frame in wrong_areas(track):
        entry["areas"][frame] = int(track.areas[frame])
        done["areas"] += 1
    for frame in wrong_boxes(track):
        entry["bboxes"][frame] = box_of(track.masks[frame])
        done["boxes"] += 1
