"""A break-down as text."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from avis.evaluation.diagnosis.breakdown import Subset
from avis.evaluation.diagnosis.mistakes import Mistake, MistakeCost


def breakdown_tables(
    breakdown: Mapping[str, Sequence[Subset]], mistakes: Mapping[Mistake, MistakeCost]
) -> str:
    """Lay out the parts of a data set, and what each kind of mistake costs.

    Args:
        breakdown: the parts by what they differ in; see `break_down`.
        mistakes: see `Analysis.mistakes`.
    """
    tables = [parts_table(title, parts) for title, parts in breakdown.items()]
    return "\n\n".join([*tables, _mistakes_table(mistakes)])


def parts_table(title: str, parts: Sequence[Subset]) -> str:
    """Lay out parts of a data set, at least one, that differ in what `title` says."""
    metrics = list(parts[0].metrics)
    rows = [
        [part.name, part.num_videos, part.num_tracks, *(_percent(part.metrics[name]) for name in metrics)]
        for part in parts
    ]
    return _table([title, "videos", "tracks", *metrics], rows)


def _mistakes_table(mistakes: Mapping[Mistake, MistakeCost]) -> str:
    rows = [
        [kind, cost.count, _signed(cost.gain), "–" if cost.share != cost.share else f"{cost.share:.1f} %"]
        for kind, cost in mistakes.items()
    ]
    return _table(["mistake", "count", "AP50 gained", "share"], rows)


def _percent(value: float) -> str:
    return "–" if value < 0 else f"{value:.2f}"


def _signed(value: float) -> str:
    return "–" if value != value else f"{value:+.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    alignment = ["left", *["right"] * (len(header) - 1)]
    return tabulate(rows, header, tablefmt="github", colalign=alignment, disable_numparse=True)
