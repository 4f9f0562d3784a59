"""What a SynthAVIS data set holds and how hard it is."""

import math
from dataclasses import dataclass, fields

from avis.data.categories import AVISEG_CATEGORIES

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SynthOptions:
    """Size, content and difficulty of a SynthAVIS data set. The defaults resemble AVISeg.

    Pairs are ranges, both ends included. Probabilities and fractions lie within [0, 1].

    Raises:
        ValueError: a value is out of its range; the message names the option.
    """

    # Videos of each split; a split of 0 videos is not written.
    train: int = 600
    val: int = 100
    test: int = 200
    # Length of a video, and its frames per second.
    seconds: tuple[float, float] = (10.0, 60.0)
    fps: float = 1.0
    # Frame size in pixels.
    width: int = 640
    height: int = 360
    # The classes, ids 1 … K in this order. Fewer classes are easier.
    categories: tuple[str, ...] = AVISEG_CATEGORIES
    # Objects in a video, whether they sound or not.
    objects: tuple[int, int] = (1, 4)
    # Diameter of an object as a fraction of the frame's height. Larger objects are easier.
    object_size: tuple[float, float] = (0.2, 0.5)
    # Mean speed of an object, in frame heights per second.
    speed: float = 0.08
    # A video with two objects of one class, of which at most one sounds at a time.
    pair_probability: float = 0.35
    # A class in view that is silent throughout and shows no cue.
    inactive_probability: float = 0.2
    # Share of the time in which an active class is heard or shows the cue, and the length of such an interval.
    activity: float = 0.6
    interval_seconds: tuple[float, float] = (2.0, 8.0)
    # An active class whose objects show the cue and make no sound throughout: the higher, the less vision alone
    # can tell. And the same in one interval of a class that sounds in others: only a model that knows in which
    # frame it hears what can tell.
    decoy_probability: float = 0.5
    decoy_interval_probability: float = 0.1
    # An active interval of a class in view that comes from beyond the frame (its objects show no cue),
    # and a video with the sound of a class that is not in view. The higher, the less hearing alone can tell.
    offscreen_probability: float = 0.15
    # An object that leaves the frame and comes back.
    leave_probability: float = 0.25
    # An object that moves where it likes, rather than where it overlaps the others least.
    overlap_probability: float = 0.5
    # Opacity of the cue on an object that sounds (or pretends to).
    cue_strength: float = 1.0
    # Standard deviation of the noise in the pictures, in grey levels of 255.
    image_noise: float = 4.0
    # Background noise in the sound, relative to the loudness of one object.
    sound_noise: float = 0.1
    # Data sets of the same options and seed are equal, byte for byte.
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every option."""
        for name in SPLITS:
            _require(getattr(self, name) >= 0, name, "must not be negative", self)
        _require(
            sum(getattr(self, name) for name in SPLITS) > 0,
            "train",
            "and val and test must not all be 0",
            self,
        )
        for name in (field.name for field in fields(self) if field.name.endswith("probability")):
            _require(0 <= getattr(self, name) <= 1, name, "must lie within [0, 1]", self)
        for name in ("seconds", "objects", "object_size", "interval_seconds"):
            _check_range(name, self)
        for name in ("fps", "speed", "image_noise", "sound_noise"):
            _require(0 <= getattr(self, name) < math.inf, name, "must be finite and not negative", self)
        _require(self.fps > 0, "fps", "must be positive", self)
        _require(self.seconds[0] * self.fps >= 1, "seconds", "must last for at least one frame", self)
        _require(0 < self.activity <= 1, "activity", "must lie within (0, 1]", self)
        _require(0 < self.cue_strength <= 1, "cue_strength", "must lie within (0, 1]", self)
        _require(self.object_size[1] <= 1, "object_size", "must not exceed the frame's height", self)
        _require(self.seed >= 0, "seed", "must not be negative", self)
        for name in ("width", "height"):
            _require(getattr(self, name) >= 32, name, "must be at least 32 pixels", self)
        self._check_categories()

    def _check_categories(self) -> None:
        unknown = sorted(set(self.categories) - set(AVISEG_CATEGORIES))
        _require(not unknown, "categories", f"{unknown} are not among {', '.join(AVISEG_CATEGORIES)}", self)
        _require(len(self.categories) > 0, "categories", "must name at least one class", self)
        _require(len(set(self.categories)) == len(self.categories), "categories", "names a class twice", self)
        _require(
            self.objects[1] <= len(self.categories),
            "objects",
            "must not exceed the number of categories",
            self,
        )


def _check_range(name: str, options: SynthOptions) -> None:
    low, high = getattr(options, name)
    _require(0 < low <= high < math.inf, name, "must be a range low, high with 0 < low <= high", options)


def _require(condition: bool, name: str, requirement: str, options: SynthOptions) -> None:
    if not condition:
        raise ValueError(f"{name} {requirement}, got {getattr(options, name)!r}")


PRESETS = {
    # As large and as hard as AVISeg.
    "bench": SynthOptions(),
    # Learnable from scratch in minutes on a CPU.
    "quickstart": SynthOptions(
        train=400,
        val=100,
        test=0,
        seconds=(10, 10),
        width=160,
        height=96,
        categories=("person", "piano", "cat", "car", "tuba", "airplane"),
        objects=(2, 3),
        object_size=(0.35, 0.5),
        speed=0.04,
        inactive_probability=0.1,
        activity=0.75,
        interval_seconds=(3, 6),
        decoy_interval_probability=0.0,
        offscreen_probability=0.1,
        leave_probability=0.1,
        overlap_probability=0.0,
        sound_noise=0.05,
    ),
}
