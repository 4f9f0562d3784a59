"""A picture of predictions beside ground truth: frames over time, and below them when each track sounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from scipy.optimize import linear_sum_assignment

from avis.structures import Track, VideoPrediction, is_sounding
from avis.visualization.drawing import (
    FAINT_INK,
    INK,
    PAPER,
    Color,
    draw_texts,
    shorten,
    text_size,
    track_color,
)
from avis.visualization.overlay import draw_frame, resize_to_height
from avis.visualization.timeline import MARGIN, TimelineRow, draw_timeline

MAX_COLUMNS = 6
# Pairs of tracks that overlap less are not the same object.
MIN_IOU = 0.1
FRAME_HEIGHT = 216
TEXT_HEIGHT = 15
LABEL_WIDTH = 190
GAP = 4


@dataclass
class ComparedVideo:
    """A video with its ground truth (scores are ignored) and what was predicted.

    Attributes:
        title: written above the video.
        frames: RGB uint8 (H, W, 3) images by frame index, at least those of `shown_frames(length)`.
    """

    title: str
    frames: Mapping[int, np.ndarray]
    ground_truth: VideoPrediction
    prediction: VideoPrediction


def shown_frames(length: int) -> list[int]:
    """The indices of the frames that the picture shows, evenly spread over a video of `length` frames."""
    return np.linspace(0, length - 1, min(length, MAX_COLUMNS)).round().astype(int).tolist()


def draw_comparison(videos: Sequence[ComparedVideo], class_names: Sequence[str], fps: float) -> np.ndarray:
    """Draw videos one under the other; a predicted track has the colour of the object it overlaps with.

    Args:
        videos: at least one.
        class_names: name of each contiguous class index.
        fps: frames per second.

    Returns:
        One RGB uint8 picture.
    """
    blocks = [_draw_video(video, class_names, fps) for video in videos]
    width = max(block.shape[1] for block in blocks)
    return np.concatenate([_pad(block, width) for block in blocks])


def match_tracks(ground_truth: Sequence[Track], predicted: Sequence[Track]) -> dict[int, int]:
    """Associate tracks by the Hungarian assignment on their spatio-temporal IoU.

    Returns:
        The index of the ground-truth track of each predicted track that has one.
    """
    iou = np.array([[track_iou(truth, track) for track in predicted] for truth in ground_truth])
    if not iou.size:
        return {}
    rows, columns = linear_sum_assignment(iou, maximize=True)
    return {
        int(column): int(row)
        for row, column in zip(rows, columns, strict=True)
        if iou[row, column] >= MIN_IOU
    }


def track_iou(one: Track, other: Track) -> float:
    """Intersection over union of two tracks' masks, summed over the frames."""
    intersection, area = 0.0, 0.0
    for mask, other_mask in zip(one.segmentations, other.segmentations, strict=True):
        masks = [m for m in (mask, other_mask) if m is not None]
        area += sum(float(mask_utils.area(m)) for m in masks)
        if len(masks) == 2:
            intersection += float(mask_utils.area(mask_utils.merge(masks, intersect=True)))
    return intersection / (area - intersection) if area else 0.0


def _draw_video(video: ComparedVideo, class_names: Sequence[str], fps: float) -> np.ndarray:
    truth, predicted = video.ground_truth, video.prediction
    matches = match_tracks(truth.tracks, predicted.tracks)
    truth_colors = [track_color(index) for index in range(len(truth.tracks))]
    colors = _matched_colors(matches, len(truth.tracks), len(predicted.tracks))
    strips = [
        _draw_strip("ground truth", video.frames, truth, class_names, colors=truth_colors, show_scores=False),
        _draw_strip("prediction", video.frames, predicted, class_names, colors=colors),
    ]
    width = strips[0].shape[1]
    columns = (width - LABEL_WIDTH - MARGIN) / len(shown_frames(truth.length))
    header = _draw_header(video.title, [t / fps for t in shown_frames(truth.length)], columns, width)
    truth_labels = [f"{class_names[track.category_id]} (truth)" for track in truth.tracks]
    labels = [f"{class_names[track.category_id]} {track.score:.2f}" for track in predicted.tracks]
    rows = _interleave(
        _rows(truth.tracks, truth_colors, truth_labels), _rows(predicted.tracks, colors, labels), matches
    )
    timeline = [draw_timeline(rows, width, LABEL_WIDTH, fps, text_height=TEXT_HEIGHT)] if rows else []
    return np.concatenate([header, *strips, *timeline])


def _matched_colors(matches: Mapping[int, int], num_truth: int, num_predicted: int) -> list[Color]:
    """The colour of the matching ground-truth track, or one that no other track has."""
    unmatched = [index for index in range(num_predicted) if index not in matches]
    own = {index: num_truth + position for position, index in enumerate(unmatched)}
    return [track_color((own | matches)[index]) for index in range(num_predicted)]


def _rows(tracks: Sequence[Track], colors: Sequence[Color], labels: Sequence[str]) -> list[TimelineRow]:
    return [
        TimelineRow(label, color, is_sounding(track))
        for track, color, label in zip(tracks, colors, labels, strict=True)
    ]


def _interleave(
    truth: Sequence[TimelineRow], predicted: Sequence[TimelineRow], matches: Mapping[int, int]
) -> list[TimelineRow]:
    """Each ground-truth row followed by the prediction that matches it, then the remaining predictions."""
    predicted_of = {row: column for column, row in matches.items()}
    rows = []
    for index, row in enumerate(truth):
        rows.append(row)
        if index in predicted_of:
            rows.append(predicted[predicted_of[index]])
    return rows + [row for index, row in enumerate(predicted) if index not in matches]


def _draw_strip(
    label: str,
    frames: Mapping[int, np.ndarray],
    tracks: VideoPrediction,
    class_names: Sequence[str],
    **style: Any,
) -> np.ndarray:
    """The shown frames side by side, with a label on their left; `style` is for `draw_frame`."""
    cells = [_blank(FRAME_HEIGHT, LABEL_WIDTH)]
    for t in shown_frames(tracks.length):
        image = resize_to_height(frames[t], FRAME_HEIGHT)
        drawn = draw_frame(image, tracks, t, class_names, min_height=0, **style)
        cells += [drawn, _blank(FRAME_HEIGHT, GAP)]
    strip = np.concatenate([*cells, _blank(FRAME_HEIGHT, MARGIN - GAP)], axis=1)
    strip = np.concatenate([strip, _blank(GAP, strip.shape[1])])
    position = (MARGIN, FRAME_HEIGHT // 2 - TEXT_HEIGHT)
    return draw_texts(strip, [(position, label, TEXT_HEIGHT + 2, INK)])


def _draw_header(title: str, seconds: Sequence[float], column_width: float, width: int) -> np.ndarray:
    """The video's title, and above each column its time."""
    texts = [((MARGIN, TEXT_HEIGHT), shorten(title, LABEL_WIDTH - 2 * MARGIN, TEXT_HEIGHT), TEXT_HEIGHT, INK)]
    for column, second in enumerate(seconds):
        label = f"{second:g} s"
        middle = LABEL_WIDTH + (column + 0.5) * column_width
        left = round(middle - text_size(label, TEXT_HEIGHT)[0] / 2)
        texts.append(((left, TEXT_HEIGHT), label, TEXT_HEIGHT, FAINT_INK))
    return draw_texts(_blank(round(2.5 * TEXT_HEIGHT), width), texts)


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def _pad(block: np.ndarray, width: int) -> np.ndarray:
    return np.concatenate([block, _blank(len(block), width - block.shape[1])], axis=1)
