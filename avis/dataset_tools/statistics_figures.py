"""Figures of what a data set holds, after those of the AVISeg paper (arXiv 2310.18709, Figures 3 and 4)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avis.dataset_tools.statistics import DatasetStatistics

_COLOURS = ("#3b6fb6", "#e08a2e", "#4a9c5d", "#a05195", "#7a7a7a")
_GRID = "#dddddd"
_LENGTH_BINS = 12
_SHARE_BINS = np.linspace(0, 100, 11)


def draw_videos_by_category(statistics: DatasetStatistics) -> Figure:
    """Draw in how many videos each category sounds in view, most frequent first, a colour for each split."""
    order = np.argsort(-statistics.videos_by_category, kind="stable")
    names = [statistics.categories[index] for index in order]
    figure = Figure(figsize=(max(6.0, 0.42 * len(names) + 1.5), 4.2), layout="constrained")
    axes = _axes(figure.subplots(), "", "videos")
    below = np.zeros(len(names), int)
    for split, colour in zip(statistics.splits, _cycle(len(statistics.splits)), strict=True):
        counts = statistics.of_split(split).videos_by_category[order]
        axes.bar(names, counts, bottom=below, color=colour, width=0.75, label=split)
        below += counts
    for position, count in enumerate(below):
        axes.text(position, count, f"{count}", ha="center", va="bottom", fontsize=8)
    axes.tick_params(axis="x", rotation=60)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    axes.margins(x=0.01, y=0.1)
    axes.legend(frameon=False)
    return figure


def draw_dependency(statistics: DatasetStatistics) -> Figure:
    """Draw in how many videos each category occurs by scenario; without scenarios, by other category."""
    if statistics.scenarios:
        title, columns = "videos", statistics.scenarios
        counts = statistics.videos_by_category_and_scenario
    else:
        title, columns = "videos in which both sound", list(statistics.categories)
        counts = statistics.videos_by_pair - np.diag(statistics.videos_by_category)
    height = max(3.0, 0.27 * len(statistics.categories) + 1.4)
    figure = Figure(figsize=(max(4.5, 0.27 * len(columns) + 3.5), height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues", aspect="auto", vmin=0)
    axes.set_title(title, fontsize=10)
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(statistics.categories)), statistics.categories)
    axes.tick_params(length=0)
    _write_counts(axes, counts)
    return figure


def draw_overview(statistics: DatasetStatistics) -> Figure:
    """Draw lengths of videos, tracks in a video, sources in a frame, and how long tracks sound."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    (lengths, tracks), (sources, shares) = figure.subplots(2, 2)
    bins = np.histogram_bin_edges(statistics.lengths, _LENGTH_BINS)
    _axes(lengths, "frames of a video", "videos").hist(statistics.lengths, bins, color=_COLOURS[0])
    _draw_counts(_axes(tracks, "tracks in a video", "videos"), statistics.num_tracks)
    _draw_counts(_axes(sources, "sources in a frame", "frames"), statistics.sources)
    sounding = 100 * statistics.sounding_shares
    _axes(shares, "% of the frames in which a track sounds", "tracks").hist(
        sounding, _SHARE_BINS, color=_COLOURS[0]
    )
    return figure


def _axes(axes: Axes, x_label: str, y_label: str) -> Axes:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    return axes


def _draw_counts(axes: Axes, values: np.ndarray) -> None:
    """How often each natural number occurs."""
    counts = np.bincount(values, minlength=1)
    bars = axes.bar(range(len(counts)), counts, color=_COLOURS[0])
    axes.bar_label(bars, fontsize=8)
    axes.set_xticks(range(len(counts)))
    axes.margins(y=0.1)


def _write_counts(axes: Axes, counts: np.ndarray) -> None:
    half = counts.max(initial=1) / 2
    for row, column in np.argwhere(counts).tolist():
        count = counts[row, column]
        colour = "white" if count > half else "black"
        axes.text(column, row, f"{count}", ha="center", va="center", fontsize=7, color=colour)


def _cycle(number: int) -> Sequence[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(number)]
