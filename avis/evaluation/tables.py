"""Metrics as text."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate

SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")
_CATEGORY_PREFIX = "AP/"
# Categories beside each other.
_CATEGORY_COLUMNS = 3


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Lay out the metrics of one evaluation: a line of summary, then AP by category."""
    by_category = [
        (name.removeprefix(_CATEGORY_PREFIX), _number(value))
        for name, value in metrics.items()
        if name.startswith(_CATEGORY_PREFIX)
    ]
    summary = _table(SUMMARY, [[_number(metrics[name]) for name in SUMMARY]])
    columns = min(_CATEGORY_COLUMNS, len(by_category))
    rows = [sum(by_category[i : i + columns], ()) for i in range(0, len(by_category), columns)]
    return f"{summary}\n\n{_table(('category', 'AP') * columns, rows)}"


def comparison_table(results: Mapping[str, Mapping[str, float]], columns: Sequence[str], title: str) -> str:
    """Lay out several evaluations below each other.

    Args:
        results: the metrics of each evaluation by its label.
        columns: names of the metrics shown.
        title: of the labels' column.
    """
    rows = [[label, *(_number(metrics[name]) for name in columns)] for label, metrics in results.items()]
    return _table((title, *columns), rows)


def _number(value: float) -> str:
    return "–" if value < 0 else f"{value:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numeric = {"AP", *SUMMARY}
    alignment = ["right" if name in numeric else "left" for name in header]
    return tabulate(rows, header, tablefmt="github", colalign=alignment, disable_numparse=True)
