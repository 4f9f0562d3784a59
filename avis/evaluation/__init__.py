"""Evaluation: metrics as pure functions, and the Detectron2 evaluator around them."""

from avis.evaluation.api import evaluate_predictions
from avis.evaluation.evaluator import AVISEvaluator
from avis.evaluation.json_file import write_json
from avis.evaluation.loading import load_ground_truth, load_predictions
from avis.evaluation.tables import comparison_table, metrics_table

__all__ = [
    "AVISEvaluator",
    "comparison_table",
    "evaluate_predictions",
    "load_ground_truth",
    "load_predictions",
    "metrics_table",
    "write_json",
]
