"""Metrics as text."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import chain

from tabulate import tabulate

AP_SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "AR")
HOTA_SUMMARY = ("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr")
FSLA_SUMMARY = ("FSLA", "FSLAn", "FSLAs", "FSLAm")
# Of the protocol "avtrack", beside HOTA.
TRACKING_SUMMARY = ("IDF1", "MOTA")
# All that tables of several evaluations may show.
SUMMARY = (*AP_SUMMARY, "HOTA", *FSLA_SUMMARY, *TRACKING_SUMMARY)
# Metrics that are given by category.
BY_CATEGORY = ("AP", "HOTA")

# What the protocol "aviseg" does otherwise, by the metrics concerned; docs/metrics.md has the details.
_PECULIARITIES = {
    AP_SUMMARY: "aviseg counts all predictions of a video, not the best 100 of each category; an IoU of "
    "exactly 0.85, 0.90 or 0.95 misses that threshold; a crowd is found once only; what the first prediction "
    "finds can be found again; equal scores are ordered by the videos' folders.",
    HOTA_SUMMARY: "aviseg counts crowds, and the empty masks that are in the files, as detections, and "
    "averages over all categories, of which those without ground truth have 0 (LocA 100).",
    FSLA_SUMMARY: "aviseg knows an empty mask by its RLE at 720×1280 only, asks for the categories of silent "
    "tracks too, so that hardly any silent frame is right, mixes up the tracks' numbers, counts crowds, and "
    "fails where predictions have null frames.",
}
# Categories beside each other.
_CATEGORY_COLUMNS = 2
# Half of the last digit shown.
_VISIBLE = 0.005
_TEXT_WIDTH = 100


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Lay out the metrics of one evaluation: AP and AR, HOTA, FSLA, then AP and HOTA by category."""
    if "IDF1" in metrics:
        return "\n\n".join([_summary(metrics, (*HOTA_SUMMARY, *TRACKING_SUMMARY)), *_thresholds(metrics)])
    tables = [_summary(metrics, names) for names in _PECULIARITIES]
    header = ("category", *BY_CATEGORY)
    cells = _category_rows([metrics])
    columns = min(_CATEGORY_COLUMNS, len(cells))
    rows = [list(chain(*cells[first : first + columns])) for first in range(0, len(cells), columns)]
    return "\n\n".join([*tables, *_thresholds(metrics), _table(header * columns, rows)])


def protocols_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out what one set of predictions scores by several protocols, and why the numbers differ.

    Args:
        results: the metrics by the name of the protocol.
    """
    parts = []
    for names, peculiarities in _PECULIARITIES.items():
        known = [name for name in names if any(name in metrics for metrics in results.values())]
        parts.append(comparison_table(results, known, "protocol"))
        if _differ(results, known):
            parts.append(textwrap.fill(f"Why they differ: {peculiarities}", _TEXT_WIDTH))
    header = ["category", *(f"{name} {protocol}" for protocol in results for name in BY_CATEGORY)]
    return "\n\n".join([*parts, _table(header, _category_rows(list(results.values())))])


def comparison_table(results: Mapping[str, Mapping[str, float]], columns: Sequence[str], title: str) -> str:
    """Lay out several evaluations below each other.

    Args:
        results: the metrics of each evaluation by its label.
        columns: names of the metrics shown; the cell of one that an evaluation does not have is empty.
        title: of the labels' column.
    """
    rows = [
        [label, *(_number(metrics[name]) if name in metrics else "" for name in columns)]
        for label, metrics in results.items()
    ]
    return _table((title, *columns), rows)


def _summary(metrics: Mapping[str, float], names: Sequence[str]) -> str:
    """A table of those of the names that there are."""
    known = [name for name in names if name in metrics]
    return _table(known, [[_number(metrics[name]) for name in known]])


def _thresholds(metrics: Mapping[str, float]) -> list[str]:
    """The scores above which predictions count, if the metrics state them."""
    if "HOTA_score_threshold" not in metrics:
        return []
    confident = metrics["HOTA_score_threshold"]
    if "AP_score_threshold" not in metrics:
        return [f"All are of the predictions with a score above {confident:g}, and means over the videos."]
    lowest = metrics["AP_score_threshold"]
    ranked = f"the predictions with a score above {lowest:g}" if lowest else "all predictions"
    return [f"AP and AR are of {ranked}, HOTA and FSLA of those with a score above {confident:g}."]


def _category_rows(results: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """For each category its name, and for each evaluation the metrics BY_CATEGORY."""
    prefix = f"{BY_CATEGORY[0]}/"
    categories = [name.removeprefix(prefix) for name in results[0] if name.startswith(prefix)]
    return [
        [category, *(_number(metrics[f"{name}/{category}"]) for metrics in results for name in BY_CATEGORY)]
        for category in categories
    ]


def _differ(results: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> bool:
    """Whether a metric that all have differs visibly."""
    values = [[metrics[name] for metrics in results.values() if name in metrics] for name in names]
    return any(max(found) - min(found) >= _VISIBLE for found in values)


def _number(value: float) -> str:
    return "–" if value < 0 else f"{value:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    metrics = {*AP_SUMMARY, *HOTA_SUMMARY, *FSLA_SUMMARY, *TRACKING_SUMMARY}
    alignment = ["right" if name.split(" ")[0] in metrics else "left" for name in header]
    return tabulate(rows, header, tablefmt="github", colalign=alignment, disable_numparse=True)
