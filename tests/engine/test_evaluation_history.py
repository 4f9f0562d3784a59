import json
import math
from pathlib import Path

import torch

from avis.engine.evaluation_history import read_evaluations, record_evaluations
from tests.engine.test_trainer import CountingEvaluator, EvaluatingTrainer, evaluating_cfg, train

NAME = "evaluations.jsonl"


def record(folder: Path, iteration: int, ap: float, **options: object) -> None:
    options = {"checkpoint": None, **options}
    record_evaluations(folder, {"val": {"avis": {"AP": ap}}}, iteration=iteration, **options)


def points(folder: Path) -> list[tuple]:
    return [(entry["iteration"], entry["metrics"]["avis/AP"]) for entry in read_evaluations(folder)]


def test_a_training_keeps_every_evaluation(tmp_path: Path):
    cfg = evaluating_cfg(tmp_path, MAX_ITER=5)
    cfg.TEST.EVAL_PERIOD = 2
    train(cfg, trainer_class=EvaluatingTrainer)
    assert points(tmp_path) == [(1, 41.0), (3, 42.0), (4, 43.0)]
    first, _, last = read_evaluations(tmp_path)
    assert first["data_set"] == "somewhere" and first["time"].endswith("+00:00")
    assert first["checkpoint"] == str(tmp_path / "model_0000001.pth")
    assert last["checkpoint"] == str(tmp_path / "model_final.pth")


def test_an_iteration_that_is_done_again_has_one_line(tmp_path: Path):
    """Killed after an evaluation, the run goes on from a checkpoint before it."""

    class Killed(EvaluatingTrainer):
        def run_step(self) -> None:
            if self.iter == 3:
                raise KeyboardInterrupt
            super().run_step()

    cfg = evaluating_cfg(tmp_path)
    cfg.TEST.EVAL_PERIOD = 1
    try:
        train(cfg, trainer_class=Killed)
    except KeyboardInterrupt:
        assert points(tmp_path) == [(0, 41.0), (1, 42.0), (2, 43.0)]
    with (tmp_path / NAME).open("a") as file:
        file.write('{"iteration": 3, "data_')  # and in the middle of another
    train(cfg, resume=True, trainer_class=EvaluatingTrainer)
    assert points(tmp_path) == [(0, 41.0), (1, 42.0), (2, 44.0), (3, 45.0)]
    assert CountingEvaluator.runs == 5


def test_evaluations_of_other_data_sets_or_models_stay(tmp_path: Path):
    record(tmp_path, 3, 1.0)
    record(tmp_path, 3, 2.0, checkpoint="a.pth", runs={"val": "ab"})
    record(tmp_path, 3, 3.0, checkpoint="b.pth", runs={"val": "ab"})
    record(tmp_path, 3, 4.0, checkpoint="a.pth", runs={"val": "cd"})
    record(tmp_path, 3, 5.0, checkpoint="a.pth", runs={"val": "ab"})  # once more
    assert [ap for _, ap in points(tmp_path)] == [1, 3, 4, 5]
    record_evaluations(tmp_path, {"test": {"avis": {"AP": 6}}, "x": {}}, iteration=3, checkpoint=None)
    assert [(e["data_set"], e["metrics"]) for e in read_evaluations(tmp_path)][-2:] == [
        ("val", {"avis/AP": 5.0}),
        ("test", {"avis/AP": 6.0}),
    ]


def test_a_line_half_written_goes_and_a_whole_one_stays(tmp_path: Path):
    for end in ("", '\n{"iter', "\n", "\nno json\n"):
        (tmp_path / NAME).write_text(json.dumps({"iteration": 0, "metrics": {"avis/AP": 0}}) + end)
        record(tmp_path, 1, math.nan)
        found = points(tmp_path)
        assert found[0] == (0, 0) and len(found) == 2
    assert '"avis/AP": null' in (tmp_path / NAME).read_text()  # JSON has no NaN


def test_metrics_of_a_killed_run_are_mended_before_more_come(tmp_path: Path):
    cfg = evaluating_cfg(tmp_path)
    (tmp_path / "training_metrics.json").write_text('{"iteration": 0}\n{"iteration": 1, "lr')
    torch.manual_seed(0)
    train(cfg, trainer_class=EvaluatingTrainer)
    lines = (tmp_path / "training_metrics.json").read_text().splitlines()
    assert json.loads(lines[0]) == {"iteration": 0} and json.loads(lines[1])["iteration"] > 1
