"""A comparison as text: tables, and a sentence for each difference that the videos do not show."""

import math
from collections.abc import Sequence

from tabulate import tabulate

from avis.evaluation.comparison.bootstrap import Comparison, Difference, Estimate

# Metrics whose differences are shown; files have all.
HEADLINES = ("AP", "HOTA", "FSLA", "IDF1", "MOTA")
# Metrics of each model that are shown.
COLUMNS = (
    "AP", "AP50", "AP75", "AR", "AR10", "HOTA", "DetA", "AssA", "FSLA", "FSLAn", "FSLAs", "FSLAm", "IDF1",
    "MOTA",
)  # fmt: skip


def headlines(comparison: Comparison) -> list[str]:
    """The metrics among the HEADLINES that the comparison has."""
    return [name for name in HEADLINES if name in comparison.estimates[comparison.reference]]


def comparison_text(comparison: Comparison) -> str:
    """Lay out models and differences in Markdown, and say which differences may be chance."""
    return "\n\n".join([_models_table(comparison), _differences_table(comparison), *_verdicts(comparison)])


def _models_table(comparison: Comparison) -> str:
    columns = [name for name in COLUMNS if name in comparison.estimates[comparison.reference]]
    rows = [
        [model, *(_number(estimates[name].value) for name in columns)]
        for model, estimates in comparison.estimates.items()
    ]
    return _table(["model", *columns], rows, num_texts=1)


def _differences_table(comparison: Comparison) -> str:
    header = [
        f"against {comparison.reference}", "metric", "difference",
        f"{comparison.resampling.confidence:g} % interval", "videos better / equal / worse", "verdict",
    ]  # fmt: skip
    rows = [
        [model, metric, *_difference_cells(differences[metric])]
        for model, differences in comparison.differences.items()
        for metric in headlines(comparison)
    ]
    return _table(header, rows, num_texts=2)


def _difference_cells(difference: Difference) -> list[str]:
    estimate = difference.estimate
    counts = f"{difference.better} / {difference.equal} / {difference.worse}"
    return [_signed(estimate.value), _interval(estimate), counts, _verdict(estimate)]


def _verdicts(comparison: Comparison) -> list[str]:
    """A sentence for each model whose differences the videos do not all show."""
    sentences = []
    for model, differences in comparison.differences.items():
        unclear = [name for name in headlines(comparison) if differences[name].estimate.contains_zero]
        if unclear:
            of_all = "all of them" if len(unclear) == len(headlines(comparison)) else ", ".join(unclear)
            sentences.append(
                f"{model} − {comparison.reference}: the interval contains 0 for {of_all}. "
                "These videos do not show that the models differ there."
            )
    return sentences


def _verdict(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return "undefined"
    if estimate.contains_zero:
        return "contains 0"
    return "above 0" if estimate.low > 0 else "below 0"


def _interval(estimate: Estimate) -> str:
    return "–" if math.isnan(estimate.low) else f"{estimate.low:+.2f} … {estimate.high:+.2f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], num_texts: int) -> str:
    """A table whose first columns are texts and whose others are numbers."""
    alignment = ["left"] * num_texts + ["right"] * (len(header) - num_texts)
    return tabulate(rows, header, tablefmt="github", colalign=alignment, disable_numparse=True)
