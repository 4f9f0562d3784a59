"""The plan of a video: which objects are there, where they move, when they sound, and what is heard.

Everything random about the content is drawn here; pictures and sound follow from the plan.
Dimensions: T frames of the video.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from avis.data.synthetic.appearance import Variation
from avis.data.synthetic.options import SynthOptions

# Paths tried for an object that is to keep clear of the others.
PATHS_TRIED = 24
# Level of the cue and loudness of a sound swing between these while it lasts.
QUIETEST, LOUDEST = 0.65, 1.0


@dataclass(frozen=True)
class Path:
    """Where an object is in each frame: centre (T, 2) as x, y in pixels, tilt (T,) in degrees, scale (T,)."""

    centre: NDArray[np.float64]
    tilt: NDArray[np.float64]
    scale: NDArray[np.float64]


@dataclass(frozen=True)
class SceneObject:
    """An object in view.

    `cue` (T,) is how strongly it shows the sign of sounding, 0 where it does not; `sounds` (T,) whether it does.
    """

    category: str
    diameter: float
    variation: Variation
    path: Path
    cue: NDArray[np.float64]
    sounds: NDArray[np.bool_]


@dataclass(frozen=True)
class Sound:
    """What a class makes heard, in view or not: `level` (T,) is its loudness, 0 in silent frames."""

    category: str
    level: NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A video: its objects, the lowest first, and its sounds."""

    num_frames: int
    objects: tuple[SceneObject, ...]
    sounds: tuple[Sound, ...]


def plan_scene(options: SynthOptions, rng: Generator) -> Scene:
    """Draw a video."""
    num_frames = max(1, round(rng.uniform(*options.seconds) * options.fps))
    categories, absent = _draw_categories(options, rng)
    objects = _place_objects(categories, num_frames, options, rng)
    sounds = []
    for category in dict.fromkeys(categories):
        members = [index for index, name in enumerate(categories) if name == category]
        cues, sounding, level = _draw_activity(len(members), num_frames, options, rng)
        for index, cue, sound in zip(members, cues, sounding, strict=True):
            objects[index] = replace(objects[index], cue=cue, sounds=sound)
        sounds.append(Sound(category, level))
    if absent is not None:
        sounds.append(Sound(absent, _draw_level(_draw_intervals(num_frames, options, rng), num_frames, rng)))
    heard = tuple(sound for sound in sounds if sound.level.any())
    return Scene(num_frames, tuple(objects[index] for index in rng.permutation(len(objects))), heard)


def _draw_categories(options: SynthOptions, rng: Generator) -> tuple[list[str], str | None]:
    """The class of each object in view, and one that is not in view but heard, or None."""
    shuffled = [options.categories[index] for index in rng.permutation(len(options.categories))]
    count = int(rng.integers(options.objects[0], options.objects[1], endpoint=True))
    in_view = shuffled[:count]
    if count > 1 and rng.random() < options.pair_probability:
        in_view[1] = in_view[0]
    is_heard_from_afar = rng.random() < options.offscreen_probability and count < len(shuffled)
    return in_view, shuffled[count] if is_heard_from_afar else None


def _draw_activity(
    members: int, num_frames: int, options: SynthOptions, rng: Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """When the objects of one class show the cue (members, T), when they sound (members, T), and its loudness (T,).

    In each active interval one object of the class acts: it sounds and shows it, or it only shows it (a decoy), or
    the class is heard from beyond the frame.
    """
    cues = np.zeros((members, num_frames))
    sounding = np.zeros((members, num_frames), bool)
    loudness = np.zeros(num_frames)
    if rng.random() < options.inactive_probability:
        return cues, sounding, loudness
    for interval in _draw_intervals(num_frames, options, rng):
        level = _draw_level([interval], num_frames, rng)
        member = rng.integers(members)
        is_decoy = rng.random() < options.decoy_probability
        is_offscreen = rng.random() < options.offscreen_probability
        if is_decoy:
            cues[member] += level
        elif is_offscreen:
            loudness += level
        else:
            cues[member] += level
            loudness += level
            sounding[member, interval] = True
    return cues, sounding, loudness


def _draw_intervals(num_frames: int, options: SynthOptions, rng: Generator) -> list[slice]:
    """Disjoint runs of frames that cover `options.activity` of the video on average."""
    pause = (1 - options.activity) / options.activity
    shortest, longest = options.interval_seconds
    # The video opens somewhere within a cycle of activity and pause.
    time = -rng.uniform() * (shortest + longest) / 2 * (1 + pause)
    intervals = []
    while round(time * options.fps) < num_frames:
        end = time + rng.uniform(shortest, longest)
        first, last = max(0, round(time * options.fps)), min(num_frames, round(end * options.fps))
        if first < last:
            intervals.append(slice(first, last))
        time = end + pause * rng.uniform(shortest, longest)
    return intervals


def _draw_level(intervals: list[slice], num_frames: int, rng: Generator) -> NDArray[np.float64]:
    """A level (T,) that swings within each interval and is 0 elsewhere."""
    swing = np.sin(rng.uniform(0, 2 * np.pi) + rng.uniform(1, 2.5) * np.arange(num_frames))
    level = QUIETEST + (LOUDEST - QUIETEST) * (0.5 + 0.5 * swing)
    active = np.zeros(num_frames)
    for interval in intervals:
        active[interval] = 1
    return level * active


def _place_objects(
    categories: list[str], num_frames: int, options: SynthOptions, rng: Generator
) -> list[SceneObject]:
    """Objects on their paths, silent as yet."""
    objects: list[SceneObject] = []
    for category in categories:
        diameter = rng.uniform(*options.object_size) * options.height
        is_free = rng.random() < options.overlap_probability
        paths = [_draw_path(diameter, num_frames, options, rng) for _ in range(PATHS_TRIED)]
        path = paths[0] if is_free else min(paths, key=lambda path: _overlap(path, diameter, objects))
        if rng.random() < options.leave_probability:
            path = _leave(path, diameter, options, rng)
        silent = np.zeros(num_frames)
        objects.append(
            SceneObject(category, diameter, _draw_variation(rng), path, cue=silent, sounds=silent > 0)
        )
    return objects


def _draw_variation(rng: Generator) -> Variation:
    return Variation(
        hue_shift=rng.uniform(-0.03, 0.03),
        brightness=rng.uniform(0.75, 1.1),
        phase=rng.uniform(),
        mirrored=rng.random() < 0.5,
    )


def _draw_path(diameter: float, num_frames: int, options: SynthOptions, rng: Generator) -> Path:
    """A slow swing around a place, mostly within the frame."""
    seconds = np.arange(num_frames) / options.fps
    size = np.array([options.width, options.height])
    period = rng.uniform(10, 25, size=2)
    # A sine of amplitude A and period P moves at 4 A / P on average.
    reach = np.maximum(0, size / 2 - 0.55 * diameter)
    amplitude = np.minimum(options.speed * options.height * period / 4 * rng.uniform(0.5, 1, size=2), reach)
    place = size / 2 + (reach - amplitude) * rng.uniform(-1, 1, size=2)
    phase = rng.uniform(0, 2 * np.pi, size=4)
    centre = place + amplitude * np.sin(2 * np.pi * seconds[:, None] / period + phase[:2])
    tilt = rng.uniform(-10, 10) + 8 * np.sin(seconds * rng.uniform(0.3, 0.8) + phase[2])
    scale = 1 + 0.08 * np.sin(seconds * rng.uniform(0.3, 0.8) + phase[3])
    return Path(centre, tilt, scale)


def _overlap(path: Path, diameter: float, objects: list[SceneObject]) -> float:
    """How much an object on a path would cover of others or be covered, summed over frames; 0 if nothing."""
    total = 0.0
    for other in objects:
        distance = np.linalg.norm(path.centre - other.path.centre, axis=1)
        touching = 0.6 * (diameter + other.diameter)
        total += np.clip(1 - distance / touching, 0, None).sum()
    return total


def _leave(path: Path, diameter: float, options: SynthOptions, rng: Generator) -> Path:
    """Lead a path out of the frame to the nearer side, and back after a while."""
    seconds = np.arange(len(path.centre)) / options.fps
    away, ramp = rng.uniform(1, 4), 1.5
    middle = rng.uniform(0, seconds[-1])
    outside = np.clip((away / 2 + ramp - np.abs(seconds - middle)) / ramp, 0, 1)
    turn = path.centre[int(np.argmax(outside)), 0]
    exit_x = -diameter if turn < options.width / 2 else options.width + diameter
    centre = path.centre.copy()
    centre[:, 0] += outside * (exit_x - centre[:, 0])
    return replace(path, centre=centre)
