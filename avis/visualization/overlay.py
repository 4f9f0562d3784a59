"""Tracks drawn over a video: translucent masks, contours and labels, with a strip of what sounds below.

Pictures are RGB uint8 (H, W, 3); small ones are enlarged so that labels can be read.
"""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from avis.media.shown import Shown, frame_step
from avis.structures import RLE, VideoPrediction, is_sounding
from avis.visualization.drawing import PAPER, SHADE, Color, draw_texts, readable_on, text_size, track_color
from avis.visualization.strip import Strip
from avis.visualization.timeline import TimelineRow

# The shorter side of small pictures is enlarged to this, as far as the longer one stays below its own limit.
MIN_SIDE, MAX_ENLARGED = 480, 1280
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
    min_side: int = MIN_SIDE,
) -> np.ndarray:
    """Draw all tracks that sound in frame t.

    Args:
        image: frame t, RGB uint8 (H, W, 3).
        prediction: the tracks of the video.
        t: index of the frame.
        class_names: name of each contiguous class index.
        colors: one for each track; by default `track_color` of its position.
        show_scores: write each track's score beside its class.
        min_side: smaller frames are enlarged until their shorter side has so many pixels.

    Returns:
        A new picture, RGB uint8.

    Raises:
        IndexError: the video has no frame t.
    """
    if not 0 <= t < prediction.length:
        raise IndexError(f"video '{prediction.video_id}' has {prediction.length} frames, none with index {t}")
    colors = colors or [track_color(index) for index in range(len(prediction.tracks))]
    picture = _enlarged(image, min_side)
    text_height = max(12, min(picture.shape[:2]) // 30)
    labels = []
    # The best track comes last: it lies on top.
    for track, color in reversed(list(zip(prediction.tracks, colors, strict=True))):
        if track.segmentations[t] is None:
            continue
        mask = _decode(track.segmentations[t], picture.shape[:2])
        _draw_mask(picture, mask, color, thickness=max(2, min(picture.shape[:2]) // 240))
        score = f" {track.score:.2f}" if show_scores else ""
        labels.append((mask, class_names[track.category_id] + score, color))
    return _draw_labels(picture, labels[::-1], text_height)


def draw_video(
    shown: Iterable[Shown[np.ndarray]],
    prediction: VideoPrediction,
    class_names: Sequence[str],
    fps: float,
    peaks: np.ndarray | None = None,
    colors: Sequence[Color] | None = None,
) -> Iterator[Shown[np.ndarray]]:
    """Draw every picture of a video, with a strip of its sound and tracks below.

    Between two predicted frames, the masks of the first are held.

    Args:
        shown: the pictures, RGB uint8 (H, W, 3), with their times from the first predicted frame on.
        prediction: the tracks of the video.
        class_names: name of each contiguous class index.
        fps: frames per second that were predicted.
        peaks: how loud equal parts of the time of all predicted frames are; None for a silent video.
        colors: one for each track; by default `track_color` of its position.
    """
    colors = colors or [track_color(index) for index in range(len(prediction.tracks))]
    step = frame_step(fps)
    strip: Strip | None = None
    held, layer = -1, None
    for picture, begin, end in shown:
        index, is_predicted = held_frame(begin, end, step, prediction.length)
        if layer is None or index != held:
            held, layer = index, _Layer(prediction, index, class_names, picture.shape, colors)
        drawn = layer.over(picture)
        strip = strip or _strip_below(drawn, prediction, class_names, fps, peaks, colors)
        below = strip.at(float(begin), is_predicted)
        yield Shown(np.concatenate([drawn, below]), begin, end)


def held_frame(begin: Fraction, end: Fraction, step: Fraction, num_frames: int) -> tuple[int, bool]:
    """The predicted frame whose masks belong on a picture, and whether the picture is that frame.

    Args:
        begin: when the picture comes.
        end: when the next one comes.
        step: seconds from one predicted frame to the next.
        num_frames: that were predicted.
    """
    index = begin // step
    if end - begin <= step and (index + 1) * step < end:
        index += 1
    return min(index, num_frames - 1), index < num_frames and begin <= index * step < end


class _Layer:
    """What `draw_frame` does to any picture of a size, for one predicted frame.

    Drawing maps each value p of a pixel to a·p + b. So what becomes of black and of white tells all, and the
    many pictures between two predicted frames take no drawing of their own.
    """

    def __init__(
        self,
        prediction: VideoPrediction,
        t: int,
        class_names: Sequence[str],
        shape: tuple[int, ...],
        colors: Sequence[Color],
    ) -> None:
        black, white = (
            draw_frame(np.full(shape, value, np.uint8), prediction, t, class_names, colors=colors)
            for value in (0, 255)
        )
        self._added, self._kept = black, cv2.subtract(white, black)

    def over(self, picture: np.ndarray) -> np.ndarray:
        """The picture, enlarged where it is small, with the layer on it."""
        picture = _enlarged(picture, MIN_SIDE)
        return cv2.add(cv2.multiply(picture, self._kept, scale=1 / 255), self._added)


def _strip_below(
    picture: np.ndarray,
    prediction: VideoPrediction,
    class_names: Sequence[str],
    fps: float,
    peaks: np.ndarray | None,
    colors: Sequence[Color],
) -> Strip:
    rows = [
        TimelineRow(class_names[track.category_id], color, is_sounding(track))
        for track, color in zip(prediction.tracks, colors, strict=True)
    ]
    rows = rows or [TimelineRow("no track", SHADE, [False] * prediction.length)]
    text_height = max(13, min(picture.shape[:2]) // 32)
    return Strip(rows, picture.shape[1], text_height, fps, peaks)


def _enlarged(image: np.ndarray, min_side: int) -> np.ndarray:
    """A copy of the image, enlarged where its shorter side has fewer pixels, if it does not get too long."""
    factor = min(min_side / min(image.shape[:2]), MAX_ENLARGED / max(image.shape[:2]))
    return resize_to_height(image, round(len(image) * factor)) if factor > 1 else image.copy()


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
