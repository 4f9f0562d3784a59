"""Pictures of the metrics of one or several runs over their iterations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from avis.formats.run_curves import SUM, Curve, Curves, matching

# Easy to tell apart, also for colour-blind eyes (Okabe and Ito, 2008).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333", "#B2A000")
_STYLES = ("-", "--", ":", "-.")
_GREY = "#b0b0b0"
# Lines of more points than these have no marks.
_FEW = 40
_WIDTH, _HEIGHT, _LEGEND_ROW = 5.2, 3.3, 0.19
# A legend with more entries stands below its diagram, in columns.
_INSIDE, _COLUMNS = 4, 2
# Legends with longer entries would hide the curves.
_LONGEST_LABEL = 42


@dataclass(frozen=True)
class Panel:
    """A diagram: what is written above it, and the metrics in it, as patterns."""

    title: str
    patterns: tuple[str, ...]


PANELS = (
    Panel("total loss", ("total_loss", "*val_loss/total_loss")),
    Panel("losses, sums over layers", (f"{SUM}*",)),
    Panel("learning rate", ("lr",)),
    Panel("norm of the gradient", ("grad_norm",)),
    Panel("AP", ("avis/AP", "*/avis/AP")),
)


def panels_of(patterns: Sequence[str], runs: Mapping[str, Curves]) -> list[Panel]:
    """A panel for each pattern, or if there are none those of `PANELS` of which a run has anything.

    Raises:
        ValueError: a pattern fits no metric, or there are no finite numbers at all.
    """
    names = _drawable(runs)
    if not names:
        raise ValueError("no number in the metrics is finite")
    if not patterns:
        shown = [panel for panel in PANELS if matching(names, panel.patterns)]
        return shown or [Panel(name, (name,)) for name in sorted(names)]
    for pattern in patterns:
        if not matching(names, [pattern]):
            known = ", ".join(sorted(names))
            raise ValueError(f"--metrics {pattern}: no run has numbers of such a metric; there are {known}")
    return [Panel(pattern, (pattern,)) for pattern in patterns]


def draw_curves(runs: Mapping[str, Curves], panels: Sequence[Panel], smoothing: float = 0.0) -> Figure:
    """Draw the panels beside each other, with all runs in each.

    Args:
        runs: curves by label.
        panels: at least one.
        smoothing: weight of what was before in an exponential moving average, from 0 to below 1. It is drawn
            over the curves of what changes from step to step; those of evaluations and of the learning rate
            stay as they are.
    """
    columns = min(len(panels), 3 if len(panels) > 4 else 2)
    rows = -(-len(panels) // columns)
    entries = [_legend_rows(panel, runs) for panel in panels]
    heights = [
        _HEIGHT + _LEGEND_ROW * max(entries[row * columns : (row + 1) * columns]) for row in range(rows)
    ]
    figure = Figure(figsize=(_WIDTH * columns, sum(heights)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights).flatten()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel, runs, smoothing)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _draw_panel(axes: Axes, panel: Panel, runs: Mapping[str, Curves], smoothing: float) -> None:
    names = matching(_drawable(runs), panel.patterns)
    # Runs differ by colour and metrics by line, unless there are more metrics than lines, or one run.
    by_run = len(runs) > 1 and len(names) <= len(_STYLES)
    for row, (label, curves) in enumerate(runs.items()):
        for column, name in enumerate(names):
            if name in curves:
                first, second = (row, column) if by_run else (column, row)
                look = {"color": _COLOURS[first % len(_COLOURS)], "linestyle": _STYLES[second % len(_STYLES)]}
                text = _label(label, name, len(runs) > 1, len(names) > 1)
                _draw_curve(axes, curves[name], text, smoothing if _is_noisy(name) else 0.0, look)
    axes.set_title(panel.title, fontsize=11, loc="left")
    axes.set_xlabel("iteration", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))
    axes.tick_params(labelsize=9)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    if _legend_rows(panel, runs):
        place = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.5 / _HEIGHT), "ncols": _COLUMNS}
        axes.legend(fontsize=8, frameon=False, borderaxespad=0, **place)
    elif axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")


def _legend_rows(panel: Panel, runs: Mapping[str, Curves]) -> int:
    """Rows of a legend below the diagram; 0 for one inside."""
    names = matching(_drawable(runs), panel.patterns)
    entries = sum(name in curves for curves in runs.values() for name in names)
    return -(-entries // _COLUMNS) if entries > _INSIDE else 0


def _drawable(runs: Mapping[str, Curves]) -> set[str]:
    """The names of curves with a finite value."""
    return {
        name
        for curves in runs.values()
        for name, curve in curves.items()
        if any(map(math.isfinite, curve.values))
    }


def _draw_curve(axes: Axes, curve: Curve, label: str, smoothing: float, look: Mapping[str, str]) -> None:
    if smoothing and len(curve.iterations) > 1:
        axes.plot(curve.iterations, curve.values, color=look["color"], alpha=0.22, linewidth=1)
        average = curve.smoothed(smoothing)
        axes.plot(average.iterations, average.values, **look, linewidth=1.8, label=label)
    else:
        marker = "o" if len(curve.iterations) <= _FEW else ""
        axes.plot(
            curve.iterations, curve.values, **look, marker=marker, markersize=3, linewidth=1.5, label=label
        )


def _label(run: str, name: str, with_run: bool, with_name: bool) -> str:
    """What the legend says; matplotlib leaves out what begins with "_"."""
    shown = name.removeprefix(SUM)
    parts = [run] * with_run + [shown] * (with_name or not with_run)
    text = ": ".join(parts)
    text = text if len(text) <= _LONGEST_LABEL else f"…{text[-_LONGEST_LABEL + 1 :]}"
    return text if with_run or with_name else "_"


def _is_noisy(name: str) -> bool:
    return name != "lr" and (name.startswith(SUM) or "/" not in name)
