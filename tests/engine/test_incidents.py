"""Training that skips what it cannot learn from, counts it, and ends where it is too much."""

import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from avis.engine import AVISTrainer
from tests.engine.small_model import SmallTrainer, small_cfg
from tests.engine.test_trainer import train, weights

# The first update may be skipped.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


class Flawed(SmallTrainer):
    """Gets an input that is not finite in some iterations, and leaves clips out in others."""

    nan_at: Collection[int] = ()
    clips_skipped_at: Collection[int] = ()

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start_iteration: int = 0) -> Iterator[list[dict]]:
        return cls._flaw(super().build_train_loader(cfg, start_iteration), start_iteration)

    @classmethod
    def _flaw(cls, batches: Iterator[list[dict]], start_iteration: int) -> Iterator[list[dict]]:
        for iteration, batch in enumerate(batches, start_iteration):
            for clip in batch:
                clip |= {"video_id": f"v{iteration}", "frame_indices": [3, 4]}
            if iteration in cls.nan_at:
                batch[1]["input"].fill_(math.nan)
            if iteration in cls.clips_skipped_at:
                batch[0]["skipped"] = [("bad", "bad.jpg is broken")]
            yield batch


def flawed(nan_at: Collection[int] = (), clips_skipped_at: Collection[int] = ()) -> type[Flawed]:
    return type("Flawed", (Flawed,), {"nan_at": nan_at, "clips_skipped_at": clips_skipped_at})


def incidents(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


def metrics(folder: Path) -> dict[str, float]:
    lines = (folder / "training_metrics.json").read_text().splitlines()
    return {key: value for line in lines for key, value in json.loads(line).items()}


@pytest.mark.parametrize("precision", ["", "float16"])
def test_an_iteration_that_is_not_finite_changes_nothing(tmp_path: Path, precision: str):
    changed = {}

    class Watching(flawed(nan_at=(0, 2))):
        def run_step(self) -> None:
            before = {name: value.clone() for name, value in weights(self).items()}
            super().run_step()
            changed[self.iter] = [n for n, v in weights(self).items() if not torch.equal(v, before[n])]

    cfg = small_cfg(tmp_path)
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION = bool(precision), precision or "unused"
    trainer = train(cfg, trainer_class=Watching)
    assert changed[0] == changed[2] == [] and changed[1] and changed[3]
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())
    assert metrics(tmp_path)["skipped_iterations"] == 2
    first, second = incidents(tmp_path)
    assert (first["iteration"], second["iteration"]) == (0, 2)
    assert first["videos"][:2] == [
        "video 'v0' frames [3, 4]",
        "video 'v0' frames [3, 4], of which input is not finite",
    ]
    assert "loss_square is nan" in first["reason"]


def test_as_many_in_a_row_as_are_allowed_end_training_with_a_diagnosis(tmp_path: Path):
    message = r"iteration 2: loss_square is nan.*'v2' frames \[3, 4\], of which input.*weights are finite"
    with pytest.raises(FloatingPointError, match=message):
        train(small_cfg(tmp_path, MAX_NONFINITE=2), trainer_class=flawed(nan_at=(1, 2)))
    trained = train(small_cfg(tmp_path / "apart", MAX_NONFINITE=2), trainer_class=flawed(nan_at=(1, 3)))
    assert trained.incidents.iterations == 2


def test_weights_that_are_not_finite_are_named(tmp_path: Path):
    trainer = SmallTrainer(small_cfg(tmp_path, MAX_NONFINITE=1))
    with torch.no_grad():
        trainer.model.level_embed.fill_(math.inf)
    with pytest.raises(FloatingPointError, match=r"The weights are not finite: level_embed$"):
        trainer.train()


def skipping(folder: Path, max_skipped: int) -> CfgNode:
    cfg = small_cfg(folder)
    cfg.DATALOADER.ON_ERROR, cfg.DATALOADER.MAX_SKIPPED = "skip", max_skipped
    return cfg


def test_skipped_clips_are_counted_named_and_limited(tmp_path: Path):
    train(skipping(tmp_path, 2), trainer_class=flawed(clips_skipped_at=(1, 3)))
    assert metrics(tmp_path)["skipped_clips"] == 2
    reason = {"skipped": "clip", "videos": ["bad"], "reason": "bad.jpg is broken"}
    assert incidents(tmp_path) == [{"iteration": 1, **reason}, {"iteration": 3, **reason}]
    with pytest.raises(ValueError, match=r"2 clips could not be read, more than DATALOADER\.MAX_SKIPPED 1"):
        train(skipping(tmp_path / "fewer", 1), trainer_class=flawed(clips_skipped_at=(1, 3)))


def test_a_resumed_run_goes_on_counting(tmp_path: Path):
    kind = flawed(nan_at=(1, 3), clips_skipped_at=(0, 2))
    straight = train(skipping(tmp_path / "straight", 9), trainer_class=kind)

    class Killed(kind):
        def run_step(self) -> None:
            if self.iter == 3:  # after the checkpoint at 2, with work that is lost
                raise KeyboardInterrupt
            super().run_step()

    with pytest.raises(KeyboardInterrupt):
        train(skipping(tmp_path / "resumed", 9), trainer_class=Killed)
    resumed: AVISTrainer = train(skipping(tmp_path / "resumed", 9), resume=True, trainer_class=kind)
    assert resumed.start_iter == 2
    assert resumed.incidents.state_dict() == straight.incidents.state_dict()
    assert resumed.incidents.state_dict() == {"clips": 2, "iterations": 2, "in_a_row": 1}
    torch.testing.assert_close(weights(resumed), weights(straight), atol=0, rtol=0)
