"""The strip below a video: its waveform, when each track sounds, and a cursor that moves.

Small marks below the waveform are the frames that were predicted. The cursor's head is filled while one of
them is shown, and hollow while its masks are held.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from avis.visualization.drawing import FAINT_INK, INK, PAPER, SHADE, Color, draw_texts, shorten, text_size
from avis.visualization.timeline import MARGIN, TimelineRow, draw_timeline

# Parts of the sound whose loudness is enough for the widest strip.
PEAKS = 4096
WAVE: Color = (120, 134, 156)
# Marks that are closer, in pixels, would be a line.
_MARK_DISTANCE = 4
# A sound that is quieter is not drawn larger: it would be noise.
_QUIET = 0.02


class Strip:
    """Draws the strip of a video for any of its times."""

    def __init__(
        self,
        rows: Sequence[TimelineRow],
        width: int,
        text_height: int,
        fps: float,
        peaks: np.ndarray | None = None,
    ) -> None:
        """Draw all but the cursor.

        Args:
            rows: of the tracks, over the predicted frames; at least one.
            width: of the strip in pixels.
            text_height: all other sizes follow it.
            fps: frames per second that were predicted.
            peaks: how loud equal parts of the time of all frames are; None for a silent video.
        """
        labels = [row.label for row in rows] + ["sound"]
        wanted = max(text_size(label, text_height)[0] for label in labels) + text_height + 4 * MARGIN
        self._left, self._right = min(width // 3, wanted), width - MARGIN
        self._text_height = text_height
        self._seconds = len(rows[0].sounding) / fps
        wave = self._draw_wave(width, len(rows[0].sounding), peaks)
        below = draw_timeline(rows, width, self._left, fps, text_height=text_height)
        self._picture = np.concatenate([wave, below])
        self._bottom = len(wave) + MARGIN + len(rows) * round(text_height * 1.6)

    def at(self, seconds: float, is_predicted: bool) -> np.ndarray:
        """The strip (height, width, 3) while a picture is shown that comes at that time.

        Args:
            seconds: since the first predicted frame.
            is_predicted: whether the picture is a predicted frame.
        """
        picture = self._picture.copy()
        x = self._column(seconds)
        thickness = max(2, self._text_height // 8)
        radius = max(4, self._text_height // 3)
        top = MARGIN // 2 + radius
        cv2.line(picture, (x, top), (x, self._bottom), INK, thickness)
        cv2.circle(picture, (x, top), radius, INK if is_predicted else PAPER, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, (x, top), radius, INK, thickness, cv2.LINE_AA)
        return picture

    def _column(self, seconds: float) -> int:
        share = min(max(seconds / self._seconds, 0), 1)
        return round(self._left + share * (self._right - self._left))

    def _draw_wave(self, width: int, num_frames: int, peaks: np.ndarray | None) -> np.ndarray:
        """The waveform, mirrored about its middle, with a mark below for each predicted frame."""
        half = round(self._text_height * 1.1)
        mark = max(3, self._text_height // 4)
        top = MARGIN + 2 * max(4, self._text_height // 3)  # below the cursor's head
        picture = np.full((top + 2 * half + 2 + mark, width, 3), PAPER, np.uint8)
        middle = top + half
        cv2.line(picture, (self._left, middle), (self._right - 1, middle), WAVE, 1)
        if peaks is not None:
            heights = np.round(_at_columns(peaks, self._right - self._left) * half).astype(int)
            rows = np.abs(np.arange(len(picture)) - middle)
            drawn = (rows[:, None] <= heights) & (heights > 0)
            picture[:, self._left : self._right][drawn] = WAVE
        line = middle + half + 1
        cv2.line(picture, (self._left, line), (self._right - 1, line), SHADE, 1)
        if self._right - self._left >= _MARK_DISTANCE * num_frames:
            for index in range(num_frames):
                x = self._column(index * self._seconds / num_frames)
                cv2.line(picture, (x, line), (x, line + mark), FAINT_INK, max(1, self._text_height // 14))
        label = shorten(
            "sound" if peaks is not None else "no sound", self._left - 3 * MARGIN, self._text_height
        )
        place = (2 * MARGIN + self._text_height // 2, middle - round(self._text_height * 0.7))
        return draw_texts(picture, [(place, label, self._text_height, FAINT_INK)])


def _at_columns(peaks: np.ndarray, columns: int) -> np.ndarray:
    """The largest peak of each column, (columns,), of the largest of all, or of a quiet sound."""
    firsts = np.arange(columns) * len(peaks) // columns
    return np.maximum.reduceat(peaks, firsts) / max(float(peaks.max()), _QUIET)
