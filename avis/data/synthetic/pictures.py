"""From the plan of a video to its frames and to the masks of what is visible.

Dimensions: T frames of H×W pixels, N objects.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from avis.data.synthetic.appearance import Sprite, make_sprite
from avis.data.synthetic.options import SynthOptions
from avis.data.synthetic.scene import Scene, SceneObject

# An object of which less is in view counts as out of view.
VISIBLE_FRACTION = 0.05


def render(
    scene: Scene, options: SynthOptions, rng: Generator
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Draw a video frame by frame.

    Yields:
        A frame, RGB (H, W, 3), and the visible part of each object (N, H, W), all False where it is out of view.
    """
    background = _draw_background(options, rng)
    grain = rng.normal(0, options.image_noise, background.shape).astype(np.float32)
    sprites = [make_sprite(thing.category, thing.diameter, thing.variation) for thing in scene.objects]
    for frame in range(scene.num_frames):
        picture = background.copy()
        masks = np.zeros((len(sprites), options.height, options.width), bool)
        for index, (thing, sprite) in enumerate(zip(scene.objects, sprites, strict=True)):
            opacity = _draw_object(picture, thing, sprite, frame, options.cue_strength)
            masks[index] = opacity > 0.5
            masks[:index] &= ~masks[index]
        shift = tuple(rng.integers(0, background.shape[:2]))
        picture += np.roll(grain, shift, axis=(0, 1))
        _hide_slivers(masks, sprites)
        yield np.clip(np.rint(picture), 0, 255).astype(np.uint8), masks


def _draw_object(
    picture: NDArray[np.float32], thing: SceneObject, sprite: Sprite, frame: int, cue_strength: float
) -> NDArray[np.float32]:
    """Lay an object over a picture, in place; its opacity (H, W)."""
    drawing = sprite.picture(thing.cue[frame] * cue_strength)
    height, width = drawing.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), thing.path.tilt[frame], thing.path.scale[frame]
    )
    matrix[:, 2] += thing.path.centre[frame] - ((width - 1) / 2, (height - 1) / 2)
    warped = cv2.warpAffine(drawing, matrix, picture.shape[1::-1], flags=cv2.INTER_LINEAR)
    opacity = warped[..., 3]
    picture *= 1 - opacity[..., None]
    picture += warped[..., :3]
    return opacity


def _hide_slivers(masks: NDArray[np.bool_], sprites: list[Sprite]) -> None:
    for mask, sprite in zip(masks, sprites, strict=True):
        if mask.sum() < VISIBLE_FRACTION * sprite.opacity.sum():
            mask[:] = False


def _draw_background(options: SynthOptions, rng: Generator) -> NDArray[np.float32]:
    """A muted texture (H, W, 3): smooth noise of three scales."""
    base = rng.uniform(80, 150) + rng.uniform(-25, 25, size=3)
    picture = np.zeros((options.height, options.width, 3), np.float32)
    for cells, strength in ((3, 45), (8, 30), (24, 18)):
        columns = round(cells * options.width / options.height)
        grey = rng.uniform(-1, 1, (cells, columns, 1))
        colour = grey + 0.5 * rng.uniform(-1, 1, (cells, columns, 3))
        smooth = cv2.resize(colour.astype(np.float32), (options.width, options.height), interpolation=cv2.INTER_CUBIC)
        picture += strength * smooth
    return np.clip(picture + base.astype(np.float32), 15, 215)
