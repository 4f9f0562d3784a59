"""The plan of a video: which objects are there, where they move, when they sound, and what is heard.

Everything random about the content is drawn here; pictures and sound follow from the plan.
Dimensions: T frames of the video, P paths to choose from.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from avis.formats.categories import scenario_of
from avis.synthetic.appearance import Variation
from avis.synthetic.options import SynthOptions

# Paths to choose from for an object that is to keep clear of the others.
PATHS_TRIED = 64
# Level of the cue and loudness of a sound swing between these while it lasts.
QUIETEST, LOUDEST = 0.75, 1.0


@dataclass(frozen=True)
class Trajectory:
    """Where an object is in each frame: centre (T, 2) as x, y in pixels, tilt (T,) in degrees, scale (T,)."""

    centre: NDArray[np.float64]
    tilt: NDArray[np.float64]
    scale: NDArray[np.float64]


@dataclass(frozen=True)
class SceneObject:
    """An object in view.

    `cue` (T,) is how strongly it shows the sign of sounding, 0 for not at all; `sounds` (T,) whether it does.
    """

    category: str
    diameter: float
    variation: Variation
    trajectory: Trajectory
    cue: NDArray[np.float64]
    sounds: NDArray[np.bool_]


@dataclass(frozen=True)
class HeardClass:
    """What a class makes heard, in view or not: `level` (T,) is its loudness, 0 in silent frames."""

    category: str
    level: NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A video: its objects, the lowest first, and its sounds."""

    num_frames: int
    objects: tuple[SceneObject, ...]
    sounds: tuple[HeardClass, ...]

    @property
    def scenario(self) -> str:
        """What kind of objects are in view."""
        return scenario_of(*(thing.category for thing in self.objects))


def plan_scene(options: SynthOptions, rng: Generator) -> Scene:
    """Draw a video."""
    num_frames = max(1, round(rng.uniform(*options.seconds) * options.fps))
    categories, absent = _draw_categories(options, rng)
    objects = _place_objects(categories, num_frames, options, rng)
    sounds = []
    for category, role in _draw_roles(categories, options, rng).items():
        members = [index for index, name in enumerate(categories) if name == category]
        cues, sounding, level = _draw_activity(len(members), role, num_frames, options, rng)
        for index, cue, sounds_in in zip(members, cues, sounding, strict=True):
            objects[index] = replace(objects[index], cue=cue, sounds=sounds_in)
        sounds.append(HeardClass(category, level))
    if absent is not None:
        sounds.append(
            HeardClass(absent, _draw_level(_draw_intervals(num_frames, options, rng), num_frames, rng))
        )
    heard = tuple(sound for sound in sounds if sound.level.any())
    return Scene(num_frames, tuple(objects[index] for index in rng.permutation(len(objects))), heard)


def _draw_categories(options: SynthOptions, rng: Generator) -> tuple[list[str], str | None]:
    """The class of each object in view, and one that is not in view but heard, or None."""
    shuffled = [options.categories[index] for index in rng.permutation(len(options.categories))]
    if options.scenario_probability and rng.random() < options.scenario_probability:
        shuffled = [name for name in shuffled if scenario_of(name) == scenario_of(shuffled[0])]
    count = int(rng.integers(options.objects[0], options.objects[1], endpoint=True))
    in_view = shuffled[:count]
    if count > 1 and rng.random() < options.pair_probability:
        in_view[1:2] = in_view[:1]
    is_heard_from_afar = rng.random() < options.offscreen_probability and count < len(shuffled)
    return in_view, shuffled[count] if is_heard_from_afar else None


def _draw_roles(categories: list[str], options: SynthOptions, rng: Generator) -> dict[str, str]:
    """What each class in view does: it is "inactive", a "decoy" that only pretends to sound, or "audible".

    Of the classes that are not inactive, the share that `options.decoy_probability` asks for are decoys,
    rounded up or down at random: few videos are left without an object that sounds, and cues tell no more.
    """
    classes = list(dict.fromkeys(categories))
    roles = {
        name: "inactive" if rng.random() < options.inactive_probability else "audible" for name in classes
    }
    active = [name for name in classes if roles[name] == "audible"]
    num_decoys = int(len(active) * options.decoy_probability + rng.random())
    return roles | {active[index]: "decoy" for index in rng.permutation(len(active))[:num_decoys]}


def _draw_activity(
    members: int, role: str, num_frames: int, options: SynthOptions, rng: Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """What the objects of one class do.

    In each active interval one of them acts: it sounds and shows it, or only shows it, or else the class is
    heard from beyond the frame.

    Returns:
        The cue (members, T) of each, whether it sounds (members, T), and the loudness of the class (T,).
    """
    cues = np.zeros((members, num_frames))
    sounding = np.zeros((members, num_frames), bool)
    loudness = np.zeros(num_frames)
    if role == "inactive":
        return cues, sounding, loudness
    for interval in _draw_intervals(num_frames, options, rng):
        level = _draw_level([interval], num_frames, rng)
        member = rng.integers(members)
        is_decoy = role == "decoy" or rng.random() < options.decoy_interval_probability
        is_offscreen = not is_decoy and rng.random() < options.offscreen_probability
        if not is_offscreen:
            cues[member] += level
        if not is_decoy:
            loudness += level
            sounding[member, interval] = not is_offscreen
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
        trajectory = _draw_trajectory(diameter, num_frames, objects, options, rng)
        silent = np.zeros(num_frames)
        objects.append(
            SceneObject(category, diameter, _draw_variation(rng), trajectory, cue=silent, sounds=silent > 0)
        )
    return objects


def _draw_variation(rng: Generator) -> Variation:
    return Variation(
        hue_shift=rng.uniform(-0.03, 0.03),
        brightness=rng.uniform(0.75, 1.1),
        phase=rng.uniform(),
        mirrored=rng.random() < 0.5,
    )


def _draw_trajectory(
    diameter: float, num_frames: int, others: list[SceneObject], options: SynthOptions, rng: Generator
) -> Trajectory:
    """A path that keeps clear of the other objects as well as it can, or one that does not care."""
    centres = _draw_centres(diameter, num_frames, options, rng)
    chosen = (
        0 if rng.random() < options.overlap_probability else np.argmin(_overlap(centres, diameter, others))
    )
    centre = centres[chosen]
    if rng.random() < options.leave_probability:
        centre = _leave(centre, diameter, options, rng)
    seconds = np.arange(num_frames) / options.fps
    phase = rng.uniform(0, 2 * np.pi, size=2)
    tilt = rng.uniform(-10, 10) + 8 * np.sin(seconds * rng.uniform(0.3, 0.8) + phase[0])
    scale = 1 + 0.08 * np.sin(seconds * rng.uniform(0.3, 0.8) + phase[1])
    return Trajectory(centre, tilt, scale)


def _draw_centres(
    diameter: float, num_frames: int, options: SynthOptions, rng: Generator
) -> NDArray[np.float64]:
    """Paths to choose from (P, T, 2): slow swings around a place, mostly within the frame."""
    seconds = np.arange(num_frames)[:, None] / options.fps
    size = np.array([options.width, options.height])
    shape = (PATHS_TRIED, 1, 2)
    period = rng.uniform(10, 25, shape)
    reach = np.maximum(0, size / 2 - 0.45 * diameter)
    # A sine of amplitude A and period P moves at 4 A / P on average.
    amplitude = np.minimum(options.speed * options.height * period / 4 * rng.uniform(0.5, 1, shape), reach)
    place = size / 2 + (reach - amplitude) * rng.uniform(-1, 1, shape)
    return place + amplitude * np.sin(2 * np.pi * (seconds / period + rng.uniform(0, 1, shape)))


def _overlap(centres: NDArray[np.float64], diameter: float, others: list[SceneObject]) -> NDArray[np.float64]:
    """How close each path (P, T, 2) comes to other objects, summed over frames: (P,), 0 if it keeps clear."""
    total = np.zeros(len(centres))
    for other in others:
        distance = np.linalg.norm(centres - other.trajectory.centre, axis=2)
        touching = 0.6 * (diameter + other.diameter)
        total += np.clip(1 - distance / touching, 0, None).sum(axis=1)
    return total


def _leave(
    centre: NDArray[np.float64], diameter: float, options: SynthOptions, rng: Generator
) -> NDArray[np.float64]:
    """Lead a path (T, 2) out of the frame to the nearer side, and back after a while."""
    seconds = np.arange(len(centre)) / options.fps
    away, ramp = rng.uniform(1, 4), 1.5
    outside = np.clip((away / 2 + ramp - np.abs(seconds - rng.uniform(0, seconds[-1]))) / ramp, 0, 1)
    is_left = centre[outside.argmax(), 0] < options.width / 2
    exit_x = -diameter if is_left else options.width + diameter
    shift = outside * (exit_x - centre[:, 0])
    return centre + np.stack([shift, np.zeros_like(shift)], axis=1)
