"""What is shown when."""

import math
from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.media.shown import Shown, at_rate, clip, exact, frame_step, repeat_long, resample, sample

DURATIONS = st.lists(
    st.fractions(min_value=Fraction(1, 100), max_value=3, max_denominator=100), min_size=1, max_size=12
)
TIMES = st.integers(0, 400).map(lambda hundredths: hundredths / 64)


def timeline(durations):
    begin, shown = Fraction(0), []
    for index, duration in enumerate(durations):
        shown.append(Shown(index, begin, begin + duration))
        begin += duration
    return shown


def seen_at(shown, time):
    return next((content for content, begin, end in shown if begin <= time < end), None)


def end_of(shown, end):
    """When the part ends that is wanted up to `end`."""
    return shown[-1].end if end is None else min(shown[-1].end, Fraction(end))


@settings(deadline=None)
@given(DURATIONS, st.sampled_from([1, 3, 29.97, 24000 / 1001]), TIMES, st.none() | TIMES)
def test_samples_are_what_is_seen(durations, fps, start, end):
    shown = timeline(durations)
    found = list(sample(shown, fps, start, end))
    step = 1 / Fraction(fps).limit_denominator(100_000)
    number = max(ceil((end_of(shown, end) - Fraction(start)) / step), 0)
    assert [time for _, time in found] == [Fraction(start) + k * step for k in range(number)]
    assert all(seen_at(shown, time) == content for content, time in found)


@settings(deadline=None)
@given(DURATIONS, st.sampled_from([0.25, 1, 3, 29.97]), TIMES, st.none() | TIMES)
def test_samples_are_shown_until_the_next_comes_and_to_the_end(durations, fps, start, end):
    shown, first = timeline(durations), Fraction(start)
    samples = list(sample(shown, fps, start, end))
    pieces = list(resample(shown, fps, start, end))
    assert [(content, first + begin) for content, begin, _ in pieces] == samples
    assert all(before.end == after.begin for before, after in pairwise(pieces))
    assert not pieces or first + pieces[-1].end == end_of(shown, end)


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf, 1e-9])
def test_a_rate_is_positive(fps):
    with pytest.raises(ValueError, match="fps must be positive"):
        frame_step(fps)


@settings(deadline=None)
@given(DURATIONS, TIMES, st.none() | TIMES, st.sampled_from([Fraction(1, 2), Fraction(1, 7)]))
def test_parts_and_repetitions_show_the_same(durations, start, end, longest):
    shown, first = timeline(durations), Fraction(start)
    part = list(clip(shown, start, end))
    repeated = list(repeat_long(part, longest))
    for pieces in (part, repeated):
        assert all(before.end == after.begin for before, after in pairwise(pieces))
        for content, begin, finish in pieces:
            assert seen_at(shown, first + begin) == seen_at(shown, first + (begin + finish) / 2) == content
        assert bool(pieces) == (first < end_of(shown, end))
        if pieces:
            assert (pieces[0].begin, first + pieces[-1].end) == (0, end_of(shown, end))
    assert all(finish - begin <= longest for _, begin, finish in repeated)
    new = {begin for _, begin, _ in repeated} - {begin for _, begin, _ in part}
    assert all(begin % longest == 0 for begin in new)


def test_times_are_what_was_written_and_not_the_nearest_float():
    shown = list(at_rate(range(40), 10))
    assert float(exact(1.2)) == 1.2 and Fraction(1.2) < exact(1.2)
    assert [content for content, _ in sample(shown, 5, 1.2, 2.2)] == [12, 14, 16, 18, 20]
    assert [content for content, _, _ in clip(shown, 1.2, 1.4)] == [12, 13]


def test_a_rate_gives_every_frame_its_time():
    assert list(at_rate("ab", 24000 / 1001)) == [
        Shown("a", 0, Fraction(1001, 24000)),
        Shown("b", Fraction(1001, 24000), Fraction(1001, 12000)),
    ]
