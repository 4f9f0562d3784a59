"""Colours and text, shared by everything that draws. Pictures are RGB uint8 (H, W, 3) arrays."""

import colorsys
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from avis.visualization.fonts import font_for, writable

Color = tuple[int, int, int]

INK: Color = (38, 38, 38)
FAINT_INK: Color = (130, 130, 130)
PAPER: Color = (255, 255, 255)
SHADE: Color = (236, 236, 236)

# Bright and easy to tell apart on most pictures, also for colour-blind eyes where few are used.
_PALETTE: tuple[Color, ...] = (
    (255, 159, 28),
    (46, 139, 255),
    (52, 199, 89),
    (255, 64, 129),
    (156, 105, 255),
    (0, 200, 200),
    (255, 221, 51),
    (230, 57, 40),
    (164, 110, 70),
    (168, 218, 80),
)


def track_color(index: int) -> Color:
    """The colour of track `index`: always the same, different for all small indices."""
    if index < len(_PALETTE):
        return _PALETTE[index]
    # Multiples of the golden ratio spread the hues of any number of further tracks evenly.
    red, green, blue = colorsys.hsv_to_rgb(index * 0.6180339887 % 1, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def matched_colors(
    num_true: int, num_predicted: int, found: Mapping[int, int]
) -> tuple[list[Color], list[Color]]:
    """Colours of ground-truth and predicted tracks; a prediction has that of the track which it has found.

    Args:
        num_true: ground-truth tracks.
        num_predicted: predicted tracks.
        found: index of the ground-truth track of each predicted track that has one.
    """
    false = [index for index in range(num_predicted) if index not in found]
    own = {index: num_true + position for position, index in enumerate(false)}
    indices = [found.get(index, own.get(index)) for index in range(num_predicted)]
    return [track_color(index) for index in range(num_true)], [track_color(index) for index in indices]


def readable_on(color: Color) -> Color:
    """Black or white, whichever is easier to read on `color`."""
    red, green, blue = color
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


def text_size(text: str, size: int) -> tuple[int, int]:
    """Width of `text` and height of a line, in pixels."""
    text = writable(text)
    font = font_for(text, size)
    ascent, descent = font.getmetrics()
    return round(font.getlength(text)), ascent + descent


def draw_texts(picture: np.ndarray, texts: list[tuple[tuple[int, int], str, int, Color]]) -> np.ndarray:
    """Write (top-left (x, y), text, size, colour) entries on a copy of the picture."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for position, text, size, color in texts:
        text = writable(text)
        draw.text(position, text, fill=color, font=font_for(text, size))
    return np.asarray(image).copy()


def shorten(text: str, width: int, size: int) -> str:
    """`text`, cut so that it fits into `width` pixels."""
    text = writable(text)
    if text_size(text, size)[0] <= width:
        return text
    while text and text_size(text + "…", size)[0] > width:
        text = text[:-1]
    return text + "…"
