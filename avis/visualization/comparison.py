"""A picture of predictions beside ground truth: frames over time, and below them when each track sounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from avis.structures import Track, VideoPrediction, is_sounding
from avis.visualization.drawing import (
    FAINT_INK,
    INK,
    PAPER,
    Color,
    draw_texts,
    matched_colors,
    shorten,
    text_size,
)
from avis.visualization.overlay import draw_frame, resize_to_height
from avis.visualization.timeline import MARGIN, TimelineRow, draw_timeline

MAX_COLUMNS = 6
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
        found: index of the ground-truth track of each predicted track that has one.
    """

    title: str
    frames: Mapping[int, np.ndarray]
    ground_truth: VideoPrediction
    prediction: VideoPrediction
    found: Mapping[int, int]


def shown_frames(length: int) -> list[int]:
    """The indices of the frames that the picture shows, evenly spread over a video of `length` frames."""
    return np.linspace(0, length - 1, min(length, MAX_COLUMNS)).round().astype(int).tolist()


def draw_comparison(
    videos: Sequence[ComparedVideo], class_names: Sequence[str], fps: float, raw_frames: bool = False
) -> np.ndarray:
    """Draw videos one under the other; a predicted track has the colour of the object that it has found.

    Args:
        videos: at least one.
        class_names: name of each contiguous class index.
        fps: frames per second.
        raw_frames: also show the frames as they are, as Figure 6 of the paper (arXiv 2310.18709) does.

    Returns:
        One RGB uint8 picture.
    """
    blocks = [_draw_video(video, class_names, fps, raw_frames) for video in videos]
    width = max(block.shape[1] for block in blocks)
    return np.concatenate([_pad(block, width) for block in blocks])


def _draw_video(video: ComparedVideo, class_names: Sequence[str], fps: float, raw_frames: bool) -> np.ndarray:
    truth, predicted = video.ground_truth, video.prediction
    truth_colors, colors = matched_colors(len(truth.tracks), len(predicted.tracks), video.found)
    strips = [
        _draw_strip("ground truth", video.frames, truth, class_names, colors=truth_colors, show_scores=False),
        _draw_strip("prediction", video.frames, predicted, class_names, colors=colors),
    ]
    if raw_frames:
        strips.insert(0, _draw_strip("frames", video.frames, replace(truth, tracks=[]), class_names))
    width = strips[0].shape[1]
    columns = (width - LABEL_WIDTH - MARGIN) / len(shown_frames(truth.length))
    header = _draw_header(video.title, [t / fps for t in shown_frames(truth.length)], columns, width)
    truth_labels = [f"{class_names[track.category_id]} (truth)" for track in truth.tracks]
    labels = [f"{class_names[track.category_id]} {track.score:.2f}" for track in predicted.tracks]
    rows = _interleave(
        _rows(truth.tracks, truth_colors, truth_labels), _rows(predicted.tracks, colors, labels), video.found
    )
    timeline = [draw_timeline(rows, width, LABEL_WIDTH, fps, text_height=TEXT_HEIGHT)] if rows else []
    return np.concatenate([header, *strips, *timeline])


def _rows(tracks: Sequence[Track], colors: Sequence[Color], labels: Sequence[str]) -> list[TimelineRow]:
    return [
        TimelineRow(label, color, is_sounding(track))
        for track, color, label in zip(tracks, colors, labels, strict=True)
    ]


def _interleave(
    truth: Sequence[TimelineRow], predicted: Sequence[TimelineRow], found: Mapping[int, int]
) -> list[TimelineRow]:
    """Each ground-truth row followed by the prediction that matches it, then the remaining predictions."""
    predicted_of = {row: column for column, row in found.items()}
    rows = []
    for index, row in enumerate(truth):
        rows.append(row)
        if index in predicted_of:
            rows.append(predicted[predicted_of[index]])
    return rows + [row for index, row in enumerate(predicted) if index not in found]


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
        drawn = draw_frame(image, tracks, t, class_names, min_side=0, **style)
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
