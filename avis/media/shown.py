"""What a video shows when: things such as pictures, each with the time from when to when it is seen.

Times are exact seconds, so that no rounding moves a picture to another frame.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Generic, NamedTuple, TypeVar

Content = TypeVar("Content")
# A rate or time is a fraction with at most this denominator: 29.97 is 2997/100.
_MAX_DENOMINATOR = 100_000


class Shown(NamedTuple, Generic[Content]):
    """Something that is seen from `begin` to before `end`."""

    content: Content
    begin: Fraction
    end: Fraction


def frame_step(fps: float | Fraction) -> Fraction:
    """Seconds from one frame to the next.

    Raises:
        ValueError: `fps` is not positive.
    """
    if not 0 < fps < math.inf or not exact(fps):
        raise ValueError(f"fps must be positive, and no less than 1/{_MAX_DENOMINATOR}, got {fps}")
    return 1 / exact(fps)


def exact(seconds: float | Fraction) -> Fraction:
    """The time that somebody means who writes 1.2: no float is that, and the nearest one is a little less."""
    return Fraction(seconds).limit_denominator(_MAX_DENOMINATOR)


def at_rate(contents: Iterable[Content], fps: float | Fraction) -> Iterator[Shown[Content]]:
    """Contents that are each shown for one frame, one after the other."""
    step = frame_step(fps)
    return (Shown(content, index * step, (index + 1) * step) for index, content in enumerate(contents))


def sample(
    shown: Iterable[Shown[Content]], fps: float | Fraction, start: float = 0.0, end: float | None = None
) -> Iterator[tuple[Content, Fraction]]:
    """What is seen at the times start, start + 1/fps, … before `end`, with these times."""
    step, wanted = frame_step(fps), exact(start)
    end = None if end is None else exact(end)
    for content, _, stop in shown:
        stop = stop if end is None else min(stop, end)
        while wanted < stop:
            yield content, wanted
            wanted += step
        if end is not None and wanted >= end:
            return


def clip(
    shown: Iterable[Shown[Content]], start: float = 0.0, end: float | None = None
) -> Iterator[Shown[Content]]:
    """What is seen between two times, on a clock that is 0 at `start`."""
    first, end = exact(start), None if end is None else exact(end)
    for content, begin, stop in shown:
        if end is not None and begin >= end:
            return
        stop = stop if end is None else min(stop, end)
        if stop > first:
            yield Shown(content, max(begin, first) - first, stop - first)


def resample(
    shown: Iterable[Shown[Content]], fps: float | Fraction, start: float = 0.0, end: float | None = None
) -> Iterator[Shown[Content]]:
    """What `sample` gives, on a clock that is 0 at `start`: each to the next, the last to the end."""
    step, pending, reached = frame_step(fps), None, Fraction(0)
    for content, _, reached in clip(shown, start, end):
        while pending is None or pending.end < reached:
            if pending is not None:
                yield pending
            begin = Fraction(0) if pending is None else pending.end
            pending = Shown(content, begin, begin + step)
    if pending is not None:
        yield pending._replace(end=min(pending.end, reached))


def repeat_long(shown: Iterable[Shown[Content]], longest: Fraction) -> Iterator[Shown[Content]]:
    """What is seen for longer than `longest` comes again at each multiple of it."""
    for content, begin, end in shown:
        while end - begin > longest:
            following = (begin // longest + 1) * longest
            yield Shown(content, begin, following)
            begin = following
        yield Shown(content, begin, end)
