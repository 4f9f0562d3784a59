"""Growth of time and memory with frames and clips, as a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avis.files import replacing

SUFFIXES = (".png", ".svg")


@dataclass(frozen=True)
class _Panel:
    """What grows with what.

    Attributes:
        title: of the panel.
        x: the row's key along the axis.
        fixed: the key that is the same for all points.
        times: the key of the times.
    """

    title: str
    x: str
    fixed: str
    times: str


_PANELS = {
    "train": (
        _Panel("training step", "frames", "clips", "step"),
        _Panel("training step", "clips", "frames", "step"),
    ),
    "inference": (_Panel("whole video, a frame", "frames", "size", "seconds"),),
}


def check_suffix(path: Path) -> Path:
    """The path itself.

    Raises:
        ValueError: it is no path of a figure.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--plot {path}: a figure ends in {' or '.join(SUFFIXES)}")
    return path


def plot_growth(tables: dict[str, Sequence[dict]], path: Path) -> None:
    """Draw what grows, in a row of two panels each: seconds and GiB.

    Args:
        tables: rows of "train" and "inference"; others are left out, and rows that have failed.
        path: of the figure, replaced.
    """
    panels = [(panel, rows) for name, rows in tables.items() for panel in _PANELS.get(name, ())]
    figure = Figure(figsize=(9, 3.2 * len(panels)), layout="constrained")
    for (seconds, memory), (panel, rows) in zip(
        figure.subplots(len(panels), 2, squeeze=False), panels, strict=True
    ):
        measured = _comparable([row for row in rows if "failed" not in row], panel.fixed)
        _draw(seconds, panel, measured, "seconds")
        _draw(memory, panel, measured, "GiB at most")
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def _comparable(rows: list[dict], fixed: str) -> list[dict]:
    """The rows with the first row's value of a key."""
    return [row for row in rows if row[fixed] == rows[0][fixed]]


def _draw(axes: Axes, panel: _Panel, rows: Sequence[dict], label: str) -> None:
    lines: dict[str, list[dict]] = {}
    for row in rows:
        lines.setdefault(f"{row['model']}, {row['form']}", []).append(row)
    for name, points in lines.items():
        points.sort(key=lambda row: row[panel.x])
        x = [row[panel.x] for row in points]
        if label == "seconds":
            times = [row[panel.times] for row in points]
            median, low, high = ([t[key] for t in times] for key in ("median", "lowest", "highest"))
            axes.fill_between(x, low, high, alpha=0.2)
            axes.plot(x, median, marker="o", label=name)
        else:
            axes.plot(x, [row["peak"] for row in points], marker="o", label=name)
    axes.set(title=panel.title, xlabel=panel.x, ylabel=label)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
