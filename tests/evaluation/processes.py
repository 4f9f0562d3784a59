"""What the processes of the evaluator's tests run."""

import json
from pathlib import Path

from detectron2.utils import comm

from avis.evaluation import AVISEvaluator
from avis.structures import VideoPrediction


def evaluate_share(json_file: str, shares: list[list[VideoPrediction]], output_dir: str) -> None:
    """Evaluate the predictions of this process's share, and write down what the evaluator returns."""
    evaluator = AVISEvaluator(json_file, output_dir)
    evaluator.reset()
    for prediction in shares[comm.get_rank()]:
        evaluator.process([{}], [prediction])
    results = evaluator.evaluate()
    Path(output_dir, f"returned{comm.get_rank()}.json").write_text(json.dumps(results))
