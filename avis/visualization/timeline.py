"""Timelines: when each track of a video sounds.

One row a track: its label, then a cell for each frame, filled where the track's mask is not empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from avis.structures import sounding_runs
from avis.visualization.drawing import FAINT_INK, INK, PAPER, SHADE, Color, draw_texts, shorten, text_size

MARGIN = 8
# Labels of seconds keep at least this distance, in pixels.
TICK_DISTANCE = 60
TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True)
class TimelineRow:
    """One row: `sounding` has an entry for each of the T frames."""

    label: str
    color: Color
    sounding: Sequence[bool]


def draw_timeline(
    rows: Sequence[TimelineRow],
    width: int,
    label_width: int,
    fps: float,
    *,
    text_height: int = 14,
) -> np.ndarray:
    """Draw rows one under the other, with seconds below.

    Args:
        rows: at least one; all of the same T frames.
        width: of the picture, of which the first `label_width` pixels are for labels.
        label_width: where the first frame begins.
        fps: frames per second.
        text_height: font size; the row height follows it.

    Returns:
        A picture (height, width, 3); the height depends on the number of rows and the text height only.
    """
    row_height = round(text_height * 1.6)
    num_frames = len(rows[0].sounding)
    edges = np.linspace(label_width, width - MARGIN, num_frames + 1).round().astype(int)
    bottom = MARGIN + len(rows) * row_height
    picture = np.full((bottom + row_height, width, 3), PAPER, np.uint8)
    texts = []
    for index, row in enumerate(rows):
        top = MARGIN + index * row_height
        _draw_cells(picture[top + 2 : top + row_height - 2], row, edges)
        label = shorten(row.label, label_width - 3 * MARGIN - text_height, text_height)
        swatch = (
            MARGIN,
            top + row_height // 4,
            MARGIN + text_height // 2,
            top + row_height - row_height // 4,
        )
        cv2.rectangle(picture, swatch[:2], swatch[2:], row.color, thickness=cv2.FILLED)
        texts.append(((swatch[2] + MARGIN, top + row_height // 8), label, text_height, INK))
    return draw_texts(picture, texts + _ticks(edges, fps, bottom, text_height))


def _draw_cells(strip: np.ndarray, row: TimelineRow, edges: np.ndarray) -> None:
    strip[:, edges[0] : edges[-1]] = SHADE
    for start, end in sounding_runs(row.sounding):
        strip[:, edges[start] : edges[end]] = row.color


def _ticks(edges: np.ndarray, fps: float, top: int, text_height: int) -> list[tuple]:
    """Labels of whole seconds, as dense as there is room for."""
    seconds = (len(edges) - 1) / fps
    scale = (edges[-1] - edges[0]) / seconds
    step = next((step for step in TICK_STEPS if step * scale >= TICK_DISTANCE), TICK_STEPS[-1])
    texts = []
    for second in range(0, int(seconds) + 1, step):
        label = f"{second} s"
        width = text_size(label, text_height)[0]
        left = min(max(edges[0] + second * scale - width / 2, edges[0]), edges[-1] - width)
        texts.append(((round(left), top), label, text_height, FAINT_INK))
    return texts
