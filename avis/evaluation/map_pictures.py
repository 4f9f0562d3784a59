"""Maps of what sounds as pictures, one a frame, as AVSBench has its masks.

    <video>/<frame>.png      named as the frame

Of S4 this is <category>/<video>/<video>_<second>.png, as its masks are called. MS3's masks lack the ".mp4"
that its frames have. Of AVSS it is <part>/<video>/<second>.png. AVSBench's own code counts predicted seconds
from 0, and masks from 1.

A map of what sounds is black and white. A map of classes has the category's id in each pixel, 0 where nothing
sounds, and shows it in PASCAL VOC's colours, which are AVSBench's.

Dimensions: H×W frames.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from avis.evaluation.metrics.avs_tracks import AVS
from avis.files import replacing
from avis.formats.categories import voc_colour
from avis.formats.tracks import GroundTruth, PredictedTrack, Video, VideoId

# The highest id that a pixel of a byte can have.
_MAX_ID = 255
_PALETTE = [channel for index in range(_MAX_ID + 1) for channel in voc_colour(index)]


def save_maps(
    folder: Path,
    truth: GroundTruth,
    predictions: Mapping[VideoId, Sequence[PredictedTrack]],
    task: str,
    score_threshold: float,
) -> None:
    """Write the maps that predicted tracks make; pictures that are there already are replaced.

    Args:
        folder: is made where it is missing.
        truth: the data set.
        predictions: the tracks of each of its videos.
        task: "avs" or "avss".
        score_threshold: tracks that score more are in the maps.

    Raises:
        ValueError: a map cannot hold the categories' ids, or two frames would have one picture.
    """
    if task != AVS and not all(0 < category_id <= _MAX_ID for category_id in truth.categories):
        raise ValueError(
            f"{truth.source}: maps of classes are pictures of one byte, and cannot hold the category ids "
            f"{[id for id in truth.categories if not 0 < id <= _MAX_ID]}; number them 1 … {_MAX_ID}"
        )
    files = _files(truth)
    for video_id, video in tqdm(truth.videos.items(), "saving", unit=" videos", delay=2, disable=None):
        chosen = [track for track in predictions[video_id] if track.score > score_threshold]
        for frame, name in enumerate(files[video_id]):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as unfinished:
                _picture(draw_map(video, chosen, frame), task).save(unfinished)


def draw_map(video: Video, tracks: Iterable[PredictedTrack], frame: int) -> np.ndarray:
    """The category id of each pixel of a frame, int64 (H, W), 0 for silence; the better score wins."""
    drawn = np.zeros((video.height, video.width), np.int64)
    # Of equal scores the first one is seen, as `score_tracks` counts.
    for track in sorted(tracks, key=lambda track: track.score, reverse=True)[::-1]:
        if (mask := track.masks[frame]) is not None:
            drawn[coco_mask.decode(mask) > 0] = track.category_id
    return drawn


def _picture(drawn: np.ndarray, task: str) -> Image.Image:
    if task == AVS:
        return Image.fromarray(np.where(drawn != 0, 255, 0).astype(np.uint8))
    picture = Image.fromarray(drawn.astype(np.uint8), mode="P")
    picture.putpalette(_PALETTE)
    return picture


def _files(truth: GroundTruth) -> dict[VideoId, list[str]]:
    """The paths of the pictures of each video."""
    files = {
        video_id: [PurePosixPath(name).with_suffix(".png").as_posix() for name in video.file_names]
        for video_id, video in truth.videos.items()
    }
    seen: dict[str, VideoId] = {}
    for video_id, names in files.items():
        for name in names:
            if name in seen:
                raise ValueError(
                    f"{truth.source}: {name} would be a picture of {seen[name]!r} and of {video_id!r}"
                )
            seen[name] = video_id
    return files
