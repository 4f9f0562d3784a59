"""What a SynthAVIS data set holds and how hard it is."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from avis.formats.categories import AVISEG_CATEGORIES

SPLITS = ("train", "val", "test")


def _option(default: object, explanation: str) -> Any:
    return field(default=default, metadata={"help": explanation})


@dataclass(frozen=True)
class SynthOptions:
    """Size, content and difficulty of a SynthAVIS data set. The defaults resemble AVISeg.

    Pairs are ranges, both ends included; probabilities lie within [0, 1].

    Raises:
        ValueError: a value is out of its range; the message names the option.
    """

    train: int = _option(616, "training videos; a split of 0 videos is not written")
    val: int = _option(105, "validation videos")
    test: int = _option(205, "test videos")
    seconds: tuple[float, float] = _option((10.0, 60.0), "length of a video")
    fps: float = _option(1.0, "frames per second")
    width: int = _option(640, "of a frame, in pixels")
    height: int = _option(360, "of a frame, in pixels")
    categories: tuple[str, ...] = _option(
        AVISEG_CATEGORIES, "classes, of AVISeg's 26, ids 1 … K in this order; fewer are easier"
    )
    scenario_probability: float = _option(
        0.6, "all objects are of one of AVISeg's scenarios: music, speaking, animal, machine"
    )
    objects: tuple[int, int] = _option(
        (1, 4), "objects in a video, whether they sound or not; fewer if a scenario has not as many classes"
    )
    object_size: tuple[float, float] = _option(
        (0.2, 0.5), "diameter of an object as a fraction of the frame's height; larger ones are easier"
    )
    speed: float = _option(0.08, "mean speed of an object, in frame heights per second")
    pair_probability: float = _option(
        0.35, "a video has two objects of one class, of which at most one sounds at a time"
    )
    inactive_probability: float = _option(0.05, "a class in view is silent throughout and shows no cue")
    activity: float = _option(0.75, "share of the time in which an active class is heard or shows the cue")
    interval_seconds: tuple[float, float] = _option((2.0, 10.0), "how long it is so at a time")
    decoy_probability: float = _option(
        0.5,
        "an active class shows the cue and never sounds; the higher, the less vision alone can tell",
    )
    decoy_interval_probability: float = _option(
        0.1,
        "the same in one interval of a class that sounds in others; only a model that knows in which frame "
        "it hears what can tell",
    )
    offscreen_probability: float = _option(
        0.1,
        "in an interval, a class in view is heard from beyond the frame and shows no cue; and in a video, a "
        "class not in view is heard; the higher, the less hearing alone can tell",
    )
    leave_probability: float = _option(0.25, "an object leaves the frame and comes back")
    overlap_probability: float = _option(
        0.5, "an object moves where it likes rather than where it covers others least"
    )
    cue_strength: float = _option(
        1.0, "brightness of the cue on an object that sounds or pretends to, in (0, 1]"
    )
    image_noise: float = _option(4.0, "standard deviation of the noise in a picture, in grey levels of 255")
    sound_noise: float = _option(0.1, "background noise, relative to the loudness of one object")
    separated_sources: int = _option(
        0,
        "WAVs in WAVAudios_sep/<video>, each of one class that is heard or of silence; more than objects in "
        "a video; 0: none",
    )
    seed: int = _option(0, "data sets of the same options and seed are equal, byte for byte")

    def __post_init__(self) -> None:
        """Check every option."""
        for name in (*SPLITS, "speed", "image_noise", "sound_noise", "separated_sources", "seed"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "must be finite and not negative")
        for name in ("seconds", "objects", "object_size", "interval_seconds"):
            low, high = getattr(self, name)
            self._check(name, 0 < low <= high < math.inf, "must be a range (low, high), 0 < low <= high")
        for name in (option.name for option in fields(self) if option.name.endswith("probability")):
            self._check(name, 0 <= getattr(self, name) <= 1, "must lie within [0, 1]")
        for name in ("activity", "cue_strength"):
            self._check(name, 0 < getattr(self, name) <= 1, "must lie within (0, 1]")
        enough = not self.separated_sources or self.separated_sources > self.objects[1]
        self._check("separated_sources", enough, f"must be 0 or more than objects, {self.objects[1]}")
        for name in ("width", "height"):
            self._check(name, getattr(self, name) >= 32, "must be at least 32 pixels")
        self._check("train", any(getattr(self, name) for name in SPLITS), "and val and test are all 0")
        self._check("fps", 0 < self.fps < math.inf, "must be finite and positive")
        self._check("seconds", self.seconds[0] * self.fps >= 1, "must last for at least one frame")
        self._check("object_size", self.object_size[1] <= 1, "must not exceed the frame's height")
        self._check_categories()

    def _check_categories(self) -> None:
        unknown = set(self.categories) - set(AVISEG_CATEGORIES)
        self._check("categories", not unknown, f"must be among {', '.join(AVISEG_CATEGORIES)}")
        is_distinct = len(set(self.categories)) == len(self.categories)
        self._check("categories", is_distinct, "must differ")
        is_enough = self.objects[1] <= len(self.categories)
        self._check(
            "categories",
            is_enough,
            f"must be at least as many as objects, up to {self.objects[1]} (option objects)",
        )

    def _check(self, name: str, condition: bool, requirement: str) -> None:
        if not condition:
            raise ValueError(f"{name} {requirement}, got {getattr(self, name)!r}")


PRESETS = {
    # The sizes of SynthAVIS-Bench. As large and as hard as AVISeg:
    "full": SynthOptions(),
    # Trains from scratch on a CPU in an hour:
    "small": SynthOptions(train=1500, val=150, test=0, seconds=(10, 30), width=256, height=144),
    # And in minutes:
    "tiny": SynthOptions(
        train=2000,
        val=150,
        test=0,
        seconds=(10, 10),
        width=160,
        height=96,
        object_size=(0.4, 0.55),
        speed=0.04,
        interval_seconds=(3, 6),
        decoy_interval_probability=0.05,
        leave_probability=0.1,
        overlap_probability=0.05,
    ),
    # Six classes and less of everything that makes it hard.
    "quickstart": SynthOptions(
        train=400,
        val=100,
        test=0,
        seconds=(10, 10),
        width=160,
        height=96,
        categories=("person", "piano", "cat", "car", "tuba", "airplane"),
        scenario_probability=0.0,
        objects=(2, 3),
        object_size=(0.35, 0.5),
        speed=0.04,
        inactive_probability=0.1,
        interval_seconds=(3, 6),
        decoy_interval_probability=0.0,
        leave_probability=0.1,
        overlap_probability=0.0,
        sound_noise=0.05,
    ),
}
