"""The masks of tracks: from JSON in any form to checked, compressed RLEs.

The checks are strict: pycocotools may never return from a malformed RLE.

Dimensions: N tracks, T frames of a video.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from avis.formats.rle import measure_rles
from avis.formats.segmentation import compress_segmentation, explain_coverage
from avis.formats.tracks import Video
from avis.structures import RLE

# Masks that are measured at once: their runs should fit in the processor's cache.
_BATCH = 500


# What msgspec raises on text that is no JSON, or not of the form asked for.
UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class FrameMasks(Sequence[RLE | None]):
    """T masks of one size as compressed RLEs, None where they are empty.

    Only their texts are kept: millions of dicts would keep the garbage collector busy.
    """

    def __init__(self, size: Sequence[int], counts: Sequence[str | None]) -> None:
        """Keep the size (height, width) and the runs of T masks."""
        self._size, self._counts = list(size), counts

    def __getitem__(self, frame: int) -> RLE | None:
        counts = self._counts[frame]
        return None if counts is None else {"size": self._size, "counts": counts}

    def __len__(self) -> int:
        return len(self._counts)


class MeasuredMasks(NamedTuple):
    """The masks of a track.

    Attributes:
        masks: T compressed RLEs that cover their frames exactly.
        areas: pixels of each mask, int64 (T,).
        stored: where the file has a mask, be it an empty one, bool (T,); null and [] are none.
    """

    masks: FrameMasks
    areas: np.ndarray
    stored: np.ndarray

    @property
    def nullified(self) -> np.ndarray:
        """Where the file has a mask without a pixel, which counts as null, bool (T,)."""
        return self.stored & (self.areas == 0)


class _UsualMask(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str


_USUAL_MASKS = msgspec.json.Decoder(list[_UsualMask | None])


def read_masks(tracks: Sequence[Any], names: Sequence[str], video: Video) -> list[MeasuredMasks]:
    """Read the masks of N tracks of one video.

    Args:
        tracks: what each track has under "segmentations", parsed or as the text of the file.
        names: what to call each track in messages.
        video: where they are.

    Raises:
        ValueError: they are not T masks of the video's size; the message names the track and the frame.
    """
    counts = [_read_track(masks, name, video) for masks, name in zip(tracks, names, strict=True)]
    step = max(1, _BATCH // video.length)
    batches = (slice(start, start + step) for start in range(0, len(counts), step))
    return list(chain.from_iterable(_measure(counts[batch], names[batch], video) for batch in batches))


def _read_track(segmentations: Any, name: str, video: Video) -> list[str | None]:
    """The runs of T masks, not yet measured; None where no mask is stored."""
    if isinstance(segmentations, msgspec.Raw):
        usual = _parse_usual(segmentations, video)
        if usual is not None:
            return usual
        segmentations = _parse(segmentations, name)
    if not isinstance(segmentations, list) or len(segmentations) != video.length:
        count = len(segmentations) if isinstance(segmentations, list) else "no"
        raise ValueError(f"{name}: {count} segmentations for {video.length} frames (a silent frame has null)")
    return [_compress(mask, f"{name}: frame {frame}", video) for frame, mask in enumerate(segmentations)]


def _parse_usual(text: msgspec.Raw, video: Video) -> list[str | None] | None:
    """The runs of T masks that are compressed RLEs or null, without a detour; None if they are not."""
    try:
        masks = _USUAL_MASKS.decode(text)
    except UNREADABLE:
        return None
    size = (video.height, video.width)
    if len(masks) != video.length or not all([mask is None or mask.size == size for mask in masks]):
        return None
    return [None if mask is None else mask.counts for mask in masks]


def _parse(text: msgspec.Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except UNREADABLE as error:
        raise ValueError(f"{name}: the segmentations cannot be read: {error}") from error


def _compress(mask: Any, name: str, video: Video) -> str | None:
    try:
        rle = compress_segmentation(mask, video.height, video.width)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if rle is None:
        return "" if mask else None
    return rle["counts"]


def _measure(counts: list[list[str | None]], names: Sequence[str], video: Video) -> list[MeasuredMasks]:
    """Count the pixels of the tracks' masks, and drop the empty ones."""
    stored = np.array([[text is not None for text in track] for track in counts], bool)  # (N, T)
    areas = np.zeros(stored.shape, np.int64)
    areas[stored], covered = measure_rles([text for track in counts for text in track if text is not None])
    if wrong := np.flatnonzero((covered != video.height * video.width) & (covered != 0)).tolist():
        track, frame = np.argwhere(stored)[wrong[0]]
        problem = explain_coverage(covered[wrong[0]], video.height, video.width)
        raise ValueError(f"{names[track]}: frame {frame}: {problem}")
    for row, frame in np.argwhere(stored & (areas == 0)).tolist():
        counts[row][frame] = None
    size = (video.height, video.width)
    return [
        MeasuredMasks(FrameMasks(size, track), *rest)
        for track, *rest in zip(counts, areas, stored, strict=True)
    ]
