"""AVTrack as a source: its reader for evaluation is `avis/formats/avtrack.py`."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from avis.formats.avtrack import IMAGES, MergedMasks, read_avtrack, speech_file
from avis.formats.readers.common import Findings, ReadOptions, Size, SourceObject, SourceSet, SourceVideo
from avis.formats.tracks import Video


def read_avtrack_source(path: Path, _: Any, _options: ReadOptions, findings: Findings) -> SourceSet:
    """Read AVTrack; frames without a mask count as silent.

    Raises:
        ValueError: it is malformed; the message names the file.
    """
    annotations = read_avtrack(path)
    masks = MergedMasks(path.parent, {video.id: video for video in annotations.videos})
    videos = []
    for video in annotations.videos:
        unknown = video.length - len(video.annotated or ())
        findings.add("frames without a mask file, which count as silent", f"video {video.name!r}", unknown)
        videos.append(
            SourceVideo(
                video.name,
                f"{path}: video {video.id!r}",
                partial(_objects, masks, video, annotations.categories),
                (video.height, video.width),
                pictures=list(video.file_names),
                files=(video.name,),
                sound=speech_file(path.parent, video),
                id=video.id,
            )
        )
    return SourceSet(annotations.categories, videos, (path.parent / IMAGES,))


def _objects(masks: MergedMasks, video: Video, names: dict[int, str], _: Size) -> Iterable[SourceObject]:
    for track in masks[video.id]:
        frames = range(video.length)
        yield SourceObject(names[track.category_id], track.masks.__getitem__, frames, track.is_crowd)
