"""What the objects look like: a silhouette, a texture and two colours per class, and the cue of sounding.

Dimensions: h×w pixels of a picture of one object.
"""

import colorsys
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from avis.synthetic.silhouettes import silhouette

# In units of half an object's size: the width of its rim, and the mouth's radius shut and wide open.
RIM = 0.13
MOUTH_SHUT, MOUTH_OPEN = 0.08, 0.32
RIM_COLOUR = np.array([22, 20, 26], np.float32)
CUE_COLOUR = np.array([255, 255, 240], np.float32)

# Class: kind of texture, hue of its two colours (turns), brightness of the second.
_LOOKS: dict[str, tuple[str, float, float, float]] = {
    "person": ("plain", 0.58, 0.60, 0.75),
    "violin": ("stripes", 0.47, 0.06, 0.50),
    "guitar": ("rings", 0.13, 0.60, 0.50),
    "cello": ("waves", 0.02, 0.05, 0.40),
    "flute": ("dots", 0.50, 0.55, 0.35),
    "piano": ("keys", 0.75, 0.12, 0.85),
    "ukulele": ("checks", 0.13, 0.35, 0.50),
    "accordion": ("stripes", 0.97, 0.14, 0.80),
    "guzheng": ("keys", 0.08, 0.45, 0.65),
    "clarinet": ("bands", 0.65, 0.12, 0.75),
    "cat": ("bands", 0.09, 0.07, 0.35),
    "car": ("plain", 0.99, 0.97, 0.70),
    "saxophone": ("dots", 0.14, 0.10, 0.40),
    "dog": ("spots", 0.07, 0.60, 0.40),
    "lawn_mover": ("checks", 0.30, 0.17, 0.80),
    "tuba": ("rings", 0.15, 0.12, 0.45),
    "banjo": ("rays", 0.85, 0.15, 0.75),
    "pipa": ("waves", 0.92, 0.08, 0.60),
    "bassoon": ("stripes", 0.70, 0.90, 0.50),
    "airplane": ("stripes", 0.38, 0.48, 0.45),
    "tree_harvester": ("bands", 0.24, 0.05, 0.60),
    "trumpet": ("checks", 0.54, 0.16, 0.80),
    "lion": ("rays", 0.11, 0.05, 0.50),
    "bass": ("dots", 0.80, 0.42, 0.70),
    "erhu": ("rings", 0.45, 0.95, 0.60),
    "horse": ("spots", 0.03, 0.12, 0.75),
}


@dataclass(frozen=True)
class Variation:
    """How an object differs from others of its class."""

    hue_shift: float
    brightness: float
    phase: float
    mirrored: bool


@dataclass(frozen=True)
class Sprite:
    """The picture of one object.

    `colour` (h, w, 3) lies within 0 … 255, `opacity` (h, w) within 0 … 1; `rim` (h, w) is 1 along the edge,
    and `from_mouth` (h, w) the distance from the mouth in halves of the object's size.
    """

    colour: NDArray[np.float32]
    opacity: NDArray[np.float32]
    rim: NDArray[np.float32]
    from_mouth: NDArray[np.float32]

    def picture(self, cue: float) -> NDArray[np.float32]:
        """Draw the object with its cue: dark rim and shut mouth at 0, bright rim and open mouth at 1.

        Returns:
            (h, w, 4): colours, 0 … 255, already multiplied by the opacity, and the opacity.
        """
        mouth = _disc(self.from_mouth, MOUTH_SHUT + (MOUTH_OPEN - MOUTH_SHUT) * cue)
        lip = _disc(self.from_mouth, MOUTH_SHUT + (MOUTH_OPEN - MOUTH_SHUT) * cue + 0.12) - mouth
        marks = np.maximum(self.rim, mouth)
        mark_colour = RIM_COLOUR + (CUE_COLOUR - RIM_COLOUR) * min(1.0, 1.1 * cue)
        colour = _blend(_blend(self.colour, RIM_COLOUR, lip), mark_colour, marks)
        return np.dstack([colour * self.opacity[..., None], self.opacity])


def make_sprite(category: str, diameter: float, variation: Variation) -> Sprite:
    """Draw an object of a class so that the geometric mean of its width and height is `diameter` pixels."""
    outline = silhouette(category)
    scale = diameter / np.sqrt(outline.shape[0] * outline.shape[1])
    size = tuple(max(4, round(length * scale)) for length in outline.shape[::-1])
    layers = [cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in _layers(category)]
    if variation.mirrored:
        layers = [np.ascontiguousarray(layer[:, ::-1]) for layer in layers]
    opacity, rim, from_mouth = layers
    return Sprite(_paint(category, opacity.shape, diameter, variation), opacity, rim, from_mouth)


@cache
def _layers(category: str) -> tuple[NDArray[np.float32], ...]:
    """Opacity, rim and distance from the mouth, at the silhouette's resolution."""
    outline = silhouette(category)
    half_size = np.sqrt(outline.shape[0] * outline.shape[1]) / 2
    inside = cv2.copyMakeBorder((outline > 127).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    rim = np.clip((RIM * half_size - depth) / 4 + 0.5, 0, 1)
    mouth_y, mouth_x = np.unravel_index(depth.argmax(), depth.shape)
    y, x = np.indices(depth.shape)
    from_mouth = np.hypot(x - mouth_x, y - mouth_y) / half_size
    return outline.astype(np.float32) / 255, rim.astype(np.float32), from_mouth.astype(np.float32)


def _paint(
    category: str, shape: tuple[int, int], diameter: float, variation: Variation
) -> NDArray[np.float32]:
    """The textured colours (h, w, 3) of an object, lit from above."""
    kind, hue, second_hue, second_brightness = _LOOKS[category]
    y, x = np.indices(shape, dtype=np.float32)
    x = (x - shape[1] / 2) / (diameter / 2) * (-1 if variation.mirrored else 1)
    y = (y - shape[0] / 2) / (diameter / 2)
    first = _rgb(hue + variation.hue_shift, 0.75, 0.8 * variation.brightness)
    second = _rgb(second_hue + variation.hue_shift, 0.7, second_brightness * variation.brightness)
    pattern = _TEXTURES[kind](x, y, 2 * np.pi * variation.phase)
    colour = _blend(np.broadcast_to(first, (*shape, 3)), second, np.clip(0.5 + 2 * pattern, 0, 1))
    return colour * (0.92 - 0.12 * y)[..., None]


# Textures: position in halves of the object's size and a phase → about -1 … 1.
_TEXTURES = {
    "plain": lambda x, y, phase: 0.4 * np.sin(2 * x + phase) * np.cos(2 * y) - 0.2,
    "stripes": lambda x, y, phase: np.sin(7 * (x + y) + phase),
    "bands": lambda x, y, phase: np.sin(9 * y + phase),
    "keys": lambda x, y, phase: np.sin(10 * x + phase),
    "rings": lambda x, y, phase: np.sin(10 * np.hypot(x, y) + phase),
    "rays": lambda x, y, phase: np.sin(7 * np.arctan2(y, x) + phase),
    "checks": lambda x, y, phase: 1.5 * np.sin(6 * x + phase) * np.sin(6 * y),
    "dots": lambda x, y, phase: np.cos(8 * x + phase) + np.cos(8 * y) - 0.7,
    "waves": lambda x, y, phase: np.sin(8 * y + 1.5 * np.sin(4 * x + phase)),
    "spots": lambda x, y, phase: np.sin(4 * x + phase) + np.sin(5 * y + 2 * x) + np.sin(3 * (x - y)) - 0.4,
}


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, min(value, 1)), np.float32) * 255


def _blend(below: NDArray, above: NDArray, opacity: NDArray) -> NDArray[np.float32]:
    """(h, w, 3) colours with others laid over them."""
    return below + (above - below) * opacity[..., None].astype(np.float32)


def _disc(distance: NDArray, radius: float) -> NDArray[np.float32]:
    return np.clip((radius - distance) / 0.06 + 0.5, 0, 1)
