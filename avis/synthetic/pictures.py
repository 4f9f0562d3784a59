"""From the plan of a video to its frames and to the masks of what is visible.

Dimensions: T frames of H×W pixels, N objects.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from avis.synthetic.appearance import Sprite, make_sprite
from avis.synthetic.options import SynthOptions
from avis.synthetic.scene import Scene, Trajectory

# An object of which less is in view counts as out of view.
VISIBLE_FRACTION = 0.05


def render(
    scene: Scene, options: SynthOptions, rng: Generator
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Draw a video frame by frame.

    Yields:
        A frame, RGB (H, W, 3), and the visible part (N, H, W) of each object, empty where it is out of view.
    """
    background = _draw_background(options, rng)
    grain = rng.normal(0, options.image_noise, background.shape).astype(np.float32)
    sprites = [make_sprite(thing.category, thing.diameter, thing.variation) for thing in scene.objects]
    for frame in range(scene.num_frames):
        picture = background.copy()
        masks = np.zeros((len(sprites), *picture.shape[:2]), bool)
        for index, (thing, sprite) in enumerate(zip(scene.objects, sprites, strict=True)):
            drawing = sprite.picture(thing.cue[frame] * options.cue_strength)
            covered, opacity = _lay(picture, drawing, thing.trajectory, frame)
            masks[index][covered] = opacity > 0.5
            masks[:index] &= ~masks[index]
        shift = tuple(rng.integers(0, picture.shape[:2]))
        picture += np.roll(grain, shift, axis=(0, 1))
        _hide_slivers(masks, sprites)
        yield np.clip(np.rint(picture), 0, 255).astype(np.uint8), masks


def _lay(
    picture: NDArray[np.float32], drawing: NDArray[np.float32], trajectory: Trajectory, frame: int
) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
    """Lay an object over a picture, in place; the region that it reaches and its opacity there."""
    height, width = drawing.shape[:2]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = cv2.getRotationMatrix2D(tuple(middle), trajectory.tilt[frame], trajectory.scale[frame])
    matrix[:, 2] += trajectory.centre[frame] - middle
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    limits = np.array(picture.shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=1)).astype(int) - 1, 0, limits)
    high = np.clip(np.ceil(corners.max(axis=1)).astype(int) + 1, low, limits)
    covered = (slice(low[1], high[1]), slice(low[0], high[0]))
    region = picture[covered]
    if not region.size:
        return covered, region[..., 0]
    matrix[:, 2] -= low
    warped = cv2.warpAffine(drawing, matrix, region.shape[1::-1], flags=cv2.INTER_LINEAR)
    opacity = warped[..., 3]
    region *= 1 - opacity[..., None]
    region += warped[..., :3]
    return covered, opacity


def _hide_slivers(masks: NDArray[np.bool_], sprites: list[Sprite]) -> None:
    for mask, sprite in zip(masks, sprites, strict=True):
        if mask.sum() < VISIBLE_FRACTION * sprite.opacity.sum():
            mask[:] = False


def _draw_background(options: SynthOptions, rng: Generator) -> NDArray[np.float32]:
    """A muted texture (H, W, 3): smooth noise of three scales, with a tint and a contrast of its own."""
    picture = np.full((options.height, options.width, 3), rng.uniform(70, 150), np.float32)
    picture += rng.uniform(-25, 25, size=3).astype(np.float32)
    contrast = rng.uniform(0.5, 1)
    for cells, strength in ((rng.integers(2, 5), 45), (rng.integers(6, 12), 30), (rng.integers(20, 40), 18)):
        columns = max(2, round(cells * options.width / options.height))
        grid = rng.uniform(-1, 1, (cells, columns, 1)) + rng.uniform(-0.35, 0.35, (cells, columns, 3))
        noise = cv2.resize(grid.astype(np.float32), picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        picture += contrast * strength * noise
    return np.clip(picture, 15, 200)
