"""Charts of the evaluation report: SVG to be put into an HTML page, coloured by the page's style sheet.

All values are percentages, drawn from 0 to 100.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from avis.structures import sounding_runs

TICKS = (0, 25, 50, 75, 100)


@dataclass(frozen=True)
class Curve:
    """A line through the points (x, y) of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Area:
    """Where a chart is drawn, in its own units: within the picture of `width` × `height`.

    Attributes:
        left, right, top, bottom: width of the margins.
        low, high: values of x at both ends.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    low: float = 0
    high: float = 100

    def x(self, value: float) -> float:
        """Where a value lies from left to right."""
        span = self.width - self.left - self.right
        return round(self.left + (value - self.low) / (self.high - self.low) * span, 1)

    def y(self, value: float) -> float:
        """Where a value lies from top to bottom."""
        return round(self.top + (1 - value / 100) * (self.height - self.top - self.bottom), 1)


def precision_recall_chart(curves: Sequence[Curve], description: str) -> Markup:
    """Draw precision over recall, a line each."""
    area = Area(440, 300, left=46, right=14, top=12, bottom=44)
    return _svg(area, description, _axes(area, TICKS, "recall", "precision"), _lines(area, curves))


def small_precision_recall_chart(curves: Sequence[Curve], description: str) -> Markup:
    """Draw precision over recall so small that many fit beside each other."""
    area = Area(150, 106, left=4, right=4, top=4, bottom=4)
    grid = Markup('<rect class="plot" x="4" y="4" width="142" height="98"/>')
    middle = Markup(
        f'<path class="grid" d="M4 {area.y(50)}H146M{area.x(50)} 4V102"/>'  # at one half
    )
    return _svg(area, description, grid + middle, _lines(area, curves))


def threshold_chart(thresholds: Sequence[float], values: Sequence[float], description: str) -> Markup:
    """Draw AP over the IoU threshold, each point with its value."""
    margin = (thresholds[-1] - thresholds[0]) / 20  # keeps the first value off the axis
    low, high = thresholds[0] - margin, thresholds[-1] + margin
    area = Area(440, 300, left=46, right=14, top=20, bottom=44, low=low, high=high)
    points = [(area.x(x), area.y(y)) for x, y in zip(thresholds, values, strict=True)]
    line = " ".join(f"{x},{y}" for x, y in points)
    base = area.y(0)
    shade = Markup(f'<polygon class="shade" points="{points[0][0]},{base} {line} {points[-1][0]},{base}"/>')
    dots = Markup("").join(Markup(f'<circle class="dot" cx="{x}" cy="{y}" r="3.5"/>') for x, y in points)
    labels = Markup("").join(
        _text(x, y - 9, f"{value:.0f}", "value", "middle")
        for (x, y), value in zip(points, values, strict=True)
    )
    axes = _axes(area, thresholds[::2], "IoU threshold", "AP")
    return _svg(
        area, description, axes, shade + _lines(area, [Curve("AP", thresholds, values)]) + dots + labels
    )


def timeline_bar(true: Sequence[bool], predicted: Sequence[bool], description: str) -> Markup:
    """Draw when a track sounds over when it is predicted to, a unit a frame, to be stretched to any width."""
    bars = Markup("").join(
        Markup(f'<rect class="{kind}" x="{start}" y="{top}" width="{end - start}" height="4.6"/>')
        for kind, top, frames in (("true", 0, true), ("predicted", 5.4, predicted))
        for start, end in sounding_runs(frames)
    )
    return Markup(
        '<svg viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(len(true), description, bars)


def _svg(area: Area, description: str, *parts: Markup) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        area.width, area.height, description, Markup("").join(parts)
    )


def _axes(area: Area, x_ticks: Sequence[float], x_title: str, y_title: str) -> Markup:
    left, right, base = area.left, area.width - area.right, area.y(0)
    grid = "".join(f"M{left} {area.y(tick)}H{right}" for tick in TICKS)
    parts = [Markup(f'<path class="grid" d="{grid}"/>')]
    parts += [_text(left - 7, area.y(tick) + 4, f"{tick}", "tick", "end") for tick in TICKS]
    parts += [_text(area.x(tick), base + 17, f"{tick:g}", "tick", "middle") for tick in x_ticks]
    parts.append(_text((left + right) / 2, area.height - 6, x_title, "axis", "middle"))
    upwards = Markup('<g transform="translate(12 {}) rotate(-90)">{}</g>')
    parts.append(upwards.format(area.y(50), _text(0, 0, y_title, "axis", "middle")))
    return Markup("").join(parts)


def _lines(area: Area, curves: Sequence[Curve]) -> Markup:
    """Polylines of the classes s0, s1, …; a hint at each tells its name."""
    lines = []
    for number, curve in enumerate(curves):
        points = " ".join(f"{area.x(x)},{area.y(y)}" for x, y in zip(curve.x, curve.y, strict=True))
        lines.append(
            Markup('<polyline class="line s{}" points="{}"><title>{}</title></polyline>').format(
                number, points, curve.name
            )
        )
    # The first curve lies on top.
    return Markup("").join(reversed(lines))


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> Markup:
    return Markup(f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')
