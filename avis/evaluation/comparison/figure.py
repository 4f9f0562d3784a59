"""A figure of a comparison: what each model has more than the reference, with intervals."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avis.evaluation.comparison.bootstrap import Comparison
from avis.evaluation.comparison.tables import headlines

_CLEAR, _UNCLEAR, _ZERO = "#3b6fb6", "#9a9a9a", "#444444"


def draw_comparison(comparison: Comparison) -> Figure:
    """Draw a column for each metric and a row for each model; grey: the interval contains 0."""
    metrics, models = headlines(comparison), list(comparison.differences)
    figure = Figure(figsize=(2.9 * len(metrics) + 1.2, 0.5 * len(models) + 1.4), layout="constrained")
    all_axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(all_axes, metrics, strict=True):
        _draw_metric(axes, comparison, metric)
    all_axes[0].set_yticks(range(len(models)), models)
    all_axes[0].set_ylim(len(models) - 0.5, -0.5)
    return figure


def _draw_metric(axes: Axes, comparison: Comparison, metric: str) -> None:
    axes.axvline(0, color=_ZERO, linewidth=0.8)
    for row, differences in enumerate(comparison.differences.values()):
        estimate = differences[metric].estimate
        if not np.isnan([estimate.value, estimate.low]).any():
            colour = _UNCLEAR if estimate.contains_zero else _CLEAR
            axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=3)
            axes.plot(estimate.value, row, "o", color=colour, markersize=7)
    axes.set_xlabel(f"{metric} − that of {comparison.reference}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
