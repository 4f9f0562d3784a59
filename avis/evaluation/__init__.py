"""Evaluation: metrics as pure functions, and the Detectron2 evaluator around them.

The evaluator is imported when it is asked for: it takes seconds, because it needs torch and Detectron2; the
metrics need neither.
"""

from typing import TYPE_CHECKING, Any

from avis.evaluation.api import evaluate_predictions
from avis.evaluation.tables import comparison_table, metrics_table
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions

if TYPE_CHECKING:
    from avis.evaluation.evaluator import AVISEvaluator

__all__ = [
    "AVISEvaluator",
    "comparison_table",
    "evaluate_predictions",
    "load_ground_truth",
    "load_predictions",
    "metrics_table",
]


def __getattr__(name: str) -> Any:
    if name != "AVISEvaluator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from avis.evaluation.evaluator import AVISEvaluator

    return AVISEvaluator
