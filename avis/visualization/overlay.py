"""Tracks drawn over a video: translucent masks, contours and labels, with a timeline of what sounds below.

Pictures are RGB uint8 (H, W, 3); small ones are enlarged so that labels can be read.
"""

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from avis.structures import RLE, VideoPrediction, is_sounding
from avis.visualization.drawing import PAPER, Color, draw_texts, readable_on, text_size, track_color
from avis.visualization.timeline import TimelineRow, draw_timeline

MIN_HEIGHT = 480
MASK_OPACITY = 0.45

Box = tuple[int, int, int, int]


def draw_frame(
    image: np.ndarray,
    prediction: VideoPrediction,
    t: int,
    class_names: Sequence[str],
    *,
    colors: Sequence[Color] | None = None,
    show_scores: bool = True,
    min_height: int = MIN_HEIGHT,
) -> np.ndarray:
    """Draw all tracks that sound in frame t.

    Args:
        image: frame t, RGB uint8 (H, W, 3).
        prediction: the tracks of the video.
        t: index of the frame.
        class_names: name of each contiguous class index.
        colors: one for each track; by default `track_color` of its position.
        show_scores: write each track's score beside its class.
        min_height: smaller frames are enlarged to this height.

    Returns:
        A new picture, RGB uint8.

    Raises:
        IndexError: the video has no frame t.
    """
    if not 0 <= t < prediction.length:
        raise IndexError(f"video '{prediction.video_id}' has {prediction.length} frames, none with index {t}")
    colors = colors or [track_color(index) for index in range(len(prediction.tracks))]
    picture = resize_to_height(image, min_height) if len(image) < min_height else image.copy()
    text_height = max(12, len(picture) // 30)
    labels = []
    # The best track comes last: it lies on top.
    for track, color in reversed(list(zip(prediction.tracks, colors, strict=True))):
        if track.segmentations[t] is None:
            continue
        mask = _decode(track.segmentations[t], picture.shape[:2])
        _draw_mask(picture, mask, color, thickness=max(2, len(picture) // 240))
        score = f" {track.score:.2f}" if show_scores else ""
        labels.append((mask, class_names[track.category_id] + score, color))
    return _draw_labels(picture, labels[::-1], text_height)


def draw_video(
    frames: Iterable[np.ndarray], prediction: VideoPrediction, class_names: Sequence[str], fps: float
) -> Iterator[np.ndarray]:
    """Draw every frame of a video, with the timeline of its tracks below."""
    rows = [
        TimelineRow(class_names[track.category_id], track_color(index), is_sounding(track))
        for index, track in enumerate(prediction.tracks)
    ]
    for t, image in enumerate(frames):
        picture = draw_frame(image, prediction, t, class_names)
        yield np.concatenate([picture, _timeline_below(picture, rows, fps, t)]) if rows else picture


def _timeline_below(picture: np.ndarray, rows: Sequence[TimelineRow], fps: float, t: int) -> np.ndarray:
    text_height = max(13, len(picture) // 32)
    label_width = min(picture.shape[1] // 3, max(text_size(row.label, text_height)[0] for row in rows) + 40)
    return draw_timeline(rows, picture.shape[1], label_width, fps, text_height=text_height, current=t)


def resize_to_height(image: np.ndarray, height: int) -> np.ndarray:
    """The image at another height, its aspect ratio kept."""
    interpolation = cv2.INTER_CUBIC if height > len(image) else cv2.INTER_AREA
    return cv2.resize(
        image, (round(image.shape[1] * height / len(image)), height), interpolation=interpolation
    )


def _decode(rle: RLE, size: tuple[int, int]) -> np.ndarray:
    """The mask as (H, W) uint8 at another size, without the stairs of enlarged pixels."""
    mask = mask_utils.decode(rle)
    if mask.shape == size:
        return mask
    soft = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    if size[0] > len(mask):
        # Not more: masks of a single pixel's width must stay.
        soft = cv2.GaussianBlur(soft, (0, 0), sigmaX=0.65 * size[0] / len(mask))
    return (soft > 0.5).astype(np.uint8)


def _draw_mask(picture: np.ndarray, mask: np.ndarray, color: Color, thickness: int) -> None:
    inside = mask.astype(bool)
    blended = picture[inside] * (1 - MASK_OPACITY) + np.array(color) * MASK_OPACITY
    picture[inside] = blended.round().astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, PAPER, thickness + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, color, thickness, cv2.LINE_AA)


def _draw_labels(picture: np.ndarray, labels: list[tuple], text_height: int) -> np.ndarray:
    """Write each (mask, text, colour) on a tag above its mask, none over another."""
    placed: list[Box] = []
    texts = []
    padding = text_height // 4
    for mask, text, color in labels:
        if not mask.any():
            continue
        width, height = text_size(text, text_height)
        box = _place(mask, (width + 2 * padding, height + padding), placed)
        placed.append(box)
        cv2.rectangle(picture, box[:2], box[2:], color, thickness=cv2.FILLED)
        texts.append(((box[0] + padding, box[1] + padding // 2), text, text_height, readable_on(color)))
    return draw_texts(picture, texts)


def _place(mask: np.ndarray, size: tuple[int, int], placed: Sequence[Box]) -> Box:
    """A box of that size at the mask's top-left corner, inside the picture, moved down past other boxes."""
    left, top, _, _ = cv2.boundingRect(mask)
    width, height = size
    left = max(0, min(left, mask.shape[1] - width))
    top = max(0, min(top - height, mask.shape[0] - height))
    while blocking := [other for other in placed if _overlap((left, top, left + width, top + height), other)]:
        top = max(other[3] for other in blocking) + 1
    return left, top, left + width, top + height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
