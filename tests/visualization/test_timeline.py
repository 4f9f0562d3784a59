"""Timelines: filled cells are sounding frames."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.structures import sounding_runs
from avis.visualization import TimelineRow, draw_timeline
from avis.visualization.drawing import SHADE
from avis.visualization.timeline import MARGIN

RED, BLUE = (255, 0, 0), (0, 0, 255)


@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_maximal_and_cover_exactly_the_sounding_frames(sounding):
    runs = sounding_runs(sounding)
    covered = [any(start <= t < end for start, end in runs) for t in range(len(sounding))]
    assert covered == sounding
    assert all(end < start for (_, end), (start, _) in pairwise(runs))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300).flatmap(lambda n: st.lists(st.booleans(), min_size=n, max_size=n)))
def test_cells_are_filled_where_a_track_sounds(sounding):
    label_width, width = 100, 1000
    silent = [False] * len(sounding)
    rows = [TimelineRow("violin", RED, sounding), TimelineRow("dog", BLUE, silent)]
    picture = draw_timeline(rows, width, label_width, fps=1.0, text_height=14)
    assert picture.shape[1] == width
    cell = (width - MARGIN - label_width) / len(sounding)
    centres = (label_width + cell * (np.arange(len(sounding)) + 0.5)).astype(int)
    heard = [tuple(picture[MARGIN + 10, x]) == RED for x in centres]
    assert heard == sounding
    assert (picture[MARGIN + 32, centres] == SHADE).all()
