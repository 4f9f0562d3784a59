"""The outlines of the 26 classes, each a union of simple shapes, rounded off.

Coordinates: x to the right and y down, in units of half the object's size; whatever a drawing spans is scaled
to the size wanted.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

# The drawing: pixels a side, pixels a unit, and the blur that rounds corners off.
CANVAS = 320
CANVAS_UNIT = 110
ROUNDING = 5.0


def _polygon(*points: tuple[float, float]) -> NDArray:
    return np.array(points)


def _ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> NDArray:
    t, tilt = np.linspace(0, 2 * np.pi, 48, endpoint=False), np.radians(degrees)
    along, across = rx * np.cos(t), ry * np.sin(t)
    return np.stack(
        [
            x + along * np.cos(tilt) - across * np.sin(tilt),
            y + along * np.sin(tilt) + across * np.cos(tilt),
        ],
        axis=1,
    )


def _box(x0: float, y0: float, x1: float, y1: float) -> NDArray:
    return _polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _bar(x0: float, y0: float, x1: float, y1: float, width: float) -> NDArray:
    along = np.array([x1 - x0, y1 - y0])
    across = np.array([-along[1], along[0]]) / np.linalg.norm(along) * width / 2
    start, end = np.array([x0, y0]), np.array([x1, y1])
    return np.stack([start + across, end + across, end - across, start - across])


def _flower(petals: int, depth: float) -> NDArray:
    t = np.linspace(0, 2 * np.pi, 16 * petals, endpoint=False)
    radius = 1 - depth * (0.5 - 0.5 * np.cos(petals * t))
    return np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)


_SHAPES: dict[str, tuple[NDArray, ...]] = {
    "person": (
        _ellipse(0, -0.62, 0.4, 0.4),
        _box(-0.2, -0.4, 0.2, 0),
        _ellipse(0, 0.45, 0.68, 0.62),
        _box(-0.68, 0.4, 0.68, 1),
    ),
    "violin": (_ellipse(0, 0.55, 0.62, 0.47), _ellipse(0, -0.05, 0.5, 0.36), _bar(0, 0, 0, -1, 0.32)),
    "guitar": (
        _ellipse(0, 0.45, 0.82, 0.58),
        _ellipse(0, -0.15, 0.6, 0.42),
        _bar(0, 0, 0, -1.1, 0.34),
        _box(-0.28, -1.3, 0.28, -0.95),
    ),
    "cello": (
        _polygon((-0.4, -0.5), (0.4, -0.5), (0.7, 0.3), (0.55, 0.9), (-0.55, 0.9), (-0.7, 0.3)),
        _bar(0, -0.4, 0, -1.1, 0.3),
        _ellipse(0, -1.05, 0.28, 0.18),
        _bar(0, 0.8, 0, 1.15, 0.24),
    ),
    "flute": (_bar(-1, 0.5, 1, -0.5, 0.5), _ellipse(-0.65, 0.33, 0.42, 0.42)),
    "piano": (_polygon((-1, 0.75), (-1, -0.7), (-0.4, -0.9), (0, -0.25), (0.9, 0), (1, 0.75)),),
    "ukulele": (_ellipse(0, 0.4, 0.75, 0.65), _bar(0, 0, 0, -0.9, 0.5), _ellipse(0, -0.85, 0.4, 0.24)),
    "accordion": (
        _box(-1, -0.75, -0.5, 0.75),
        _box(0.5, -0.75, 1, 0.75),
        _polygon(
            *[(-0.5 + 0.125 * i, -0.6 + 0.2 * (i % 2)) for i in range(9)],
            *[(0.5 - 0.125 * i, 0.6 - 0.2 * (i % 2)) for i in range(9)],
        ),
    ),
    "guzheng": (_polygon((-1.2, 0.45), (-1.05, -0.35), (1.05, -0.15), (1.2, 0.75)),),
    "clarinet": (_bar(0, -1, 0, 0.7, 0.5), _polygon((-0.25, 0.3), (0.25, 0.3), (0.65, 1), (-0.65, 1))),
    "cat": (
        _ellipse(0, 0.2, 0.95, 0.75),
        _polygon((-0.92, 0.2), (-0.8, -0.95), (-0.15, -0.4)),
        _polygon((0.92, 0.2), (0.8, -0.95), (0.15, -0.4)),
    ),
    "car": (
        _box(-1.15, -0.05, 1.15, 0.5),
        _polygon((-0.75, 0), (-0.5, -0.55), (0.4, -0.55), (0.75, 0)),
        _ellipse(-0.65, 0.5, 0.3, 0.3),
        _ellipse(0.65, 0.5, 0.3, 0.3),
    ),
    "saxophone": (
        _bar(-0.95, -0.95, -0.25, -0.8, 0.34),
        _bar(-0.35, -0.95, -0.2, 0.6, 0.48),
        _ellipse(0.08, 0.55, 0.52, 0.46),
        _polygon((0.05, 0.9), (0.95, 0), (0.85, -0.35), (0.2, -0.35), (0.1, 0.4)),
    ),
    "dog": (
        _ellipse(0, 0, 0.68, 0.75),
        _ellipse(-0.78, -0.1, 0.24, 0.55, 15),
        _ellipse(0.78, -0.1, 0.24, 0.55, -15),
        _bar(-0.7, -0.5, 0.7, -0.5, 0.3),
        _ellipse(0, 0.62, 0.48, 0.36),
    ),
    "lawn_mover": (
        _polygon((-1, 0.45), (-1, -0.1), (0.3, -0.45), (0.85, 0.45)),
        _bar(0.1, 0, 1, -0.85, 0.34),
        _ellipse(-0.62, 0.5, 0.42, 0.42),
        _ellipse(0.45, 0.5, 0.42, 0.42),
    ),
    "tuba": (
        _polygon((-0.9, -1), (0.9, -1), (0.5, -0.3), (0.42, 0.2), (-0.42, 0.2), (-0.5, -0.3)),
        _ellipse(0, 0.42, 0.68, 0.58),
    ),
    "banjo": (_ellipse(0, 0.45, 0.68, 0.68), _bar(0, 0, 0, -1.1, 0.32), _box(-0.28, -1.2, 0.28, -0.85)),
    "pipa": (_ellipse(0, 0.45, 0.65, 0.6), _polygon((-0.62, 0.35), (0.62, 0.35), (0.2, -1.1), (-0.2, -1.1))),
    "bassoon": (
        _bar(-0.25, -1.1, -0.25, 1, 0.48),
        _bar(0.22, -0.3, 0.22, 1, 0.48),
        _bar(0.2, -0.15, 0.85, -0.5, 0.3),
    ),
    "airplane": (
        _ellipse(0, 0, 1.1, 0.36),
        _polygon((0.5, 0), (-0.1, -0.95), (-0.6, -0.95), (-0.4, 0)),
        _polygon((0.5, 0), (-0.1, 0.95), (-0.6, 0.95), (-0.4, 0)),
        _polygon((-0.5, 0), (-0.85, -0.55), (-1.2, -0.55), (-1.05, 0), (-1.2, 0.55), (-0.85, 0.55)),
    ),
    "tree_harvester": (
        _box(-0.55, -0.35, 1, 0.45),
        _box(0.25, -0.85, 0.95, 0),
        _bar(-0.3, 0.1, -0.95, -0.75, 0.34),
        _bar(-0.95, -0.9, -1.05, 0.2, 0.38),
        _ellipse(-0.15, 0.5, 0.42, 0.42),
        _ellipse(0.6, 0.5, 0.42, 0.42),
    ),
    "trumpet": (
        _polygon((0.2, -0.2), (0.7, -0.3), (1.05, -0.75), (1.05, 0.75), (0.7, 0.3), (0.2, 0.2)),
        _bar(-1.05, 0, 0.5, 0, 0.38),
        _box(-0.55, -0.4, 0.3, 0.55),
    ),
    "lion": (_flower(10, 0.22),),
    "bass": (
        _polygon((-0.9, 1), (-0.5, 0.4), (-0.8, -0.2), (0, 0), (0.85, -0.35), (0.55, 0.4), (0.9, 1)),
        _bar(0, 0.3, 0, -1.1, 0.34),
        _polygon((-0.2, -0.9), (0.4, -1.3), (0.2, -0.7)),
    ),
    "erhu": (
        _ellipse(0, 0.65, 0.6, 0.5),
        _bar(0, 0.5, 0, -1.1, 0.32),
        _bar(-0.5, -0.7, 0.5, -0.95, 0.3),
        _bar(-0.75, 0, 0.75, -0.2, 0.3),
    ),
    "horse": (
        _ellipse(0.1, 0, 0.8, 0.48),
        _polygon((-0.65, 0.2), (-0.1, -0.35), (-0.45, -1), (-0.85, -0.9)),
        _ellipse(-0.8, -0.72, 0.48, 0.27, -25),
        _box(-0.55, 0.1, -0.2, 1),
        _box(0.45, 0.1, 0.8, 1),
        _bar(0.75, -0.15, 1.05, 0.45, 0.26),
    ),
}


@cache
def silhouette(category: str) -> NDArray[np.uint8]:
    """The opacity (h, w), 0 … 255, of a class's outline, cut to what it spans."""
    drawing = np.zeros((CANVAS, CANVAS), np.uint8)
    for shape in _SHAPES[category]:
        points = np.round(shape * CANVAS_UNIT + CANVAS / 2).astype(np.int32)
        cv2.fillPoly(drawing, [points], 255)
    rounded = cv2.GaussianBlur(drawing, (0, 0), ROUNDING)
    rounded = np.clip((rounded.astype(np.float32) - 128) * 4 + 128, 0, 255).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(rounded)
    return rounded[y : y + height, x : x + width]
