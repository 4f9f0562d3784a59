"""Pictures and charts of the page, as data URIs and SVG.

Dimensions: T frames of a video, H×W pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from markupsafe import Markup

from avis.evaluation.report.gallery import data_uri
from avis.structures import Track, VideoPrediction, is_sounding, sounding_runs
from avis.visualization import draw_frame
from avis.visualization.drawing import track_color

# Pictures fit in this box, however large the frames are.
WIDTH, HEIGHT = 320, 220
# Log-mel values that are drawn darkest and brightest: those of silence, and of loud music.
_QUIETEST, _LOUDEST = float(np.log(0.01)), 3.0
# Waves are drawn with so many peaks.
PEAKS = 300
# A sound that is quieter is not drawn larger: it would be noise.
_QUIET = 0.02


def frame_uri(
    image: np.ndarray,
    tracks: Sequence[Track],
    t: int,
    class_names: Sequence[str],
    colors: Sequence | None = None,
) -> str:
    """A frame with the tracks that sound in it.

    Args:
        image: frame t, RGB uint8 (H, W, 3).
        tracks: of the video.
        t: index of the frame.
        class_names: of each class index.
        colors: of each track; None: `track_color` of its position.
    """
    image = _fitted(image)
    length = max((len(track.segmentations) for track in tracks), default=t + 1)
    prediction = VideoPrediction("", *image.shape[:2], length, list(tracks))
    return data_uri(
        draw_frame(image, prediction, t, class_names, colors=colors, show_scores=False, min_side=0)
    )


def sound_uri(values: np.ndarray) -> str:
    """What the model hears of a frame: log-mel (96, 64), or features (A,) or (S, A)."""
    if values.shape == (96, 64):
        scaled = (values.T[::-1] - _QUIETEST) / (_LOUDEST - _QUIETEST)
    else:
        rows = np.atleast_2d(values)
        scaled = (rows - rows.min()) / max(float(np.ptp(rows)), 1e-6)
        scaled = np.repeat(scaled, max(1, 16 // len(rows)), axis=0)
    levels = (255 * scaled.clip(0, 1)).astype(np.uint8)
    picture = cv2.applyColorMap(np.ascontiguousarray(levels), cv2.COLORMAP_MAGMA)[..., ::-1]
    return data_uri(picture)


def color_of(index: int) -> str:
    """The colour of a track, as style sheets write it."""
    return "#{:02x}{:02x}{:02x}".format(*track_color(index))


def interval_bar(track: Track, description: str) -> Markup:
    """When a track sounds, a unit a frame, to be stretched to any width."""
    bars = Markup("").join(
        Markup(f'<rect x="{start}" y="0" width="{end - start}" height="10"/>')
        for start, end in sounding_runs(is_sounding(track))
    )
    return _stretched(len(track.segmentations), description, bars)


def wave(peaks: np.ndarray) -> Markup:
    """How loud a sound is over time, mirrored about its middle; `peaks` are within [0, 1]."""
    heights = 5 * peaks / max(float(peaks.max()), _QUIET)
    upper = [f"{x} {5 - height:.2f}" for x, height in enumerate(heights)]
    lower = [f"{x} {5 + height:.2f}" for x, height in enumerate(heights)]
    shape = Markup(f'<polygon points="{" ".join([*upper, *reversed(lower)])}"/>')
    return _stretched(len(peaks) - 1, "waveform", shape)


def _fitted(image: np.ndarray) -> np.ndarray:
    """The image, as large as the box allows."""
    factor = min(WIDTH / image.shape[1], HEIGHT / len(image))
    size = max(1, round(image.shape[1] * factor)), max(1, round(len(image) * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def _stretched(width: int, description: str, content: Markup) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(width, description, content)
