"""Scoring a file must not wait for torch and Detectron2 to load."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "detectron2", "matplotlib", "cv2")


@pytest.mark.parametrize(
    "start",
    ["import avis.evaluation", "import runpy; runpy.run_path('tools/evaluate.py')"],
    ids=["package", "tool"],
)
def test_metrics_load_without_torch_and_detectron2(start: str):
    code = f"import sys; {start}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_evaluator_is_still_an_attribute_of_the_package():
    import avis.evaluation
    from avis.evaluation.evaluator import AVISEvaluator

    assert avis.evaluation.AVISEvaluator is AVISEvaluator
    with pytest.raises(AttributeError, match=r"module 'avis\.evaluation' has no attribute 'Evaluator'"):
        avis.evaluation.Evaluator  # noqa: B018
