"""A figure of an ablation: AP of each variant over its seeds."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from avis.experiments.plan import mean_and_deviation

_BAR, _DOT = "#8fb0d9", "#1f3a5f"


def draw_ablation(results: Mapping[str, Sequence[Mapping[str, float]]], metric: str = "AP") -> Figure:
    """Draw a bar for the mean of each variant with one standard deviation, and a dot for each seed.

    Args:
        results: metrics of the runs that have ended, by variant.
        metric: which is drawn.
    """
    figure = Figure(figsize=(7, 0.45 * len(results) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, runs in enumerate(results.values()):
        values = [metrics[metric] for metrics in runs]
        if values:
            mean, deviation = mean_and_deviation(values)
            axes.barh(row, mean, xerr=deviation, color=_BAR, height=0.7, capsize=3)
            axes.plot(values, [row] * len(values), "o", color=_DOT, markersize=4)
            end = (max(mean + deviation, *values), row)
            axes.annotate(
                f"{mean:.1f}", end, xytext=(7, 0), textcoords="offset points", va="center", fontsize=9
            )
    axes.set_yticks(range(len(results)), list(results))
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(metric)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
