"""SOLVER.EMA_DECAY: what is averaged, saved, resumed, evaluated and loaded."""

import logging
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor, nn

from avis.engine import launch
from avis.engine.averaging import WeightAverage
from avis.modeling import load_trained_model
from avis.weights import read_weights
from tests.engine import processes
from tests.engine.small_model import SmallTrainer, build_small_model, small_cfg
from tests.engine.test_trainer import EvaluatingTrainer, evaluating_cfg, train, weights

DECAY = 0.7


class Watched(SmallTrainer):
    """Keeps its weights after every iteration, and averages them by the definition."""

    def run_step(self) -> None:
        if self.iter == self.start_iter:
            self.expected = self.learned()
        super().run_step()
        for name, value in self.learned().items():
            self.expected[name] = DECAY * self.expected[name] + (1 - DECAY) * value

    def learned(self) -> dict[str, Tensor]:
        return {name: v.double() for name, v in weights(self).items() if v.is_floating_point()}


def saved(folder: Path, name: str = "model_final") -> dict:
    return torch.load(folder / f"{name}.pth", weights_only=True)


def test_the_average_is_that_of_the_definition(tmp_path: Path):
    trainer = train(small_cfg(tmp_path, EMA_DECAY=DECAY, MAX_ITER=6, BASE_LR=0.1), trainer_class=Watched)
    checkpoint = saved(tmp_path)
    for name, value in trainer.expected.items():
        torch.testing.assert_close(checkpoint["ema_model"][name].double(), value, rtol=1e-5, atol=1e-6)
    assert checkpoint["ema_model"].keys() == checkpoint["model"].keys()
    # Integers are not averaged.
    assert checkpoint["ema_model"]["backbone.1.num_batches_tracked"] == 6


def test_training_is_the_same_with_and_without(tmp_path: Path):
    plain = train(small_cfg(tmp_path / "plain"))
    averaged = train(small_cfg(tmp_path / "averaged", EMA_DECAY=DECAY))
    torch.testing.assert_close(weights(averaged), weights(plain), atol=0, rtol=0)
    assert "ema_model" not in saved(tmp_path / "plain")
    assert plain.checkpointer.average is None


def test_resumed_run_ends_with_the_same_bits(tmp_path: Path):
    train(small_cfg(tmp_path / "straight", EMA_DECAY=DECAY))

    class Killed(SmallTrainer):
        def run_step(self) -> None:
            if self.iter == 3:
                raise KeyboardInterrupt
            super().run_step()

    with pytest.raises(KeyboardInterrupt):
        train(small_cfg(tmp_path / "resumed", EMA_DECAY=DECAY), trainer_class=Killed)
    train(small_cfg(tmp_path / "resumed", EMA_DECAY=DECAY), resume=True)
    for key in ("model", "ema_model"):
        expected, found = (saved(tmp_path / name)[key] for name in ("straight", "resumed"))
        torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_average_that_begins_or_ends_on_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    train(small_cfg(tmp_path, MAX_ITER=2))
    trainer = SmallTrainer(small_cfg(tmp_path, EMA_DECAY=DECAY))
    trainer.resume_or_load(resume=True)
    assert "model_final.pth has no averaged weights" in caplog.text
    torch.testing.assert_close(trainer.checkpointer.average.state_dict(), weights(trainer), atol=0, rtol=0)
    trainer.train()
    train(small_cfg(tmp_path, MAX_ITER=6), resume=True)
    assert "SOLVER.EMA_DECAY: 0.7 → 0.0" in caplog.text
    assert "ema_model" not in saved(tmp_path)


def test_iteration_that_is_skipped_is_not_averaged(tmp_path: Path):
    class Poisoned(SmallTrainer):
        def run_step(self) -> None:
            before = self.checkpointer.average.state_dict()
            before = {name: value.clone() for name, value in before.items()}
            if self.iter == 2:
                self.model.class_embed.register_forward_hook(lambda *args: args[-1] * torch.nan)
            super().run_step()
            after = self.checkpointer.average.state_dict()
            changed = [name for name, value in before.items() if not torch.equal(after[name], value)]
            assert bool(changed) == (self.iter < 2)

    train(small_cfg(tmp_path, EMA_DECAY=DECAY, BASE_LR=0.1), trainer_class=Poisoned)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_update_that_float16_skips_is_not_averaged(tmp_path: Path):
    calls = []

    class Counting(SmallTrainer):
        def run_step(self) -> None:
            if self.iter == 3:  # after updates, from which average and weights differ
                self.step.grad_scaler.update(2.0**120)
            before = weights(self)["level_embed"].clone()
            average = self.checkpointer.average.state_dict()["level_embed"].clone()
            super().run_step()
            stepped = not torch.equal(weights(self)["level_embed"], before)
            averaged = not torch.equal(self.checkpointer.average.state_dict()["level_embed"], average)
            calls.append((stepped, averaged))

    cfg = small_cfg(tmp_path, EMA_DECAY=DECAY, BASE_LR=0.1, MAX_ITER=6)
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION = True, "float16"
    trainer = Counting(cfg)
    trainer.step.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    trainer.train()
    assert calls[2:4] == [(True, True), (False, False)]


class SummingEvaluator(DatasetEvaluator):
    """Its AP is the output of the model."""

    def process(self, inputs: list, outputs: list) -> None:
        self.output = outputs[0]

    def evaluate(self) -> dict:
        return {"avis": {"AP": self.output}}


class SummingTrainer(EvaluatingTrainer):
    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> list:
        return [[{"input": torch.ones(3)}]]

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return SummingEvaluator()


@pytest.mark.parametrize("takes_average", [True, False])
def test_what_is_evaluated_is_what_a_checkpoint_gives_later(tmp_path: Path, takes_average: bool):
    cfg = evaluating_cfg(tmp_path, EMA_DECAY=DECAY, BASE_LR=0.1)
    cfg.MODEL.EMA_WEIGHTS = takes_average
    cfg.TEST.EVAL_PERIOD, cfg.TEST.BEST_METRIC = 1, "avis/AP"
    results = train(cfg, trainer_class=SummingTrainer)._results
    for name in ("model_final", "model_best"):
        cfg.MODEL.WEIGHTS = str(tmp_path / f"{name}.pth")
        model = load_trained_model(cfg).eval()
        with torch.no_grad():
            (output,) = model([{"input": torch.ones(3)}])
        evaluated = saved(tmp_path, name)["best"]["value"] if name == "model_best" else results["avis"]["AP"]
        assert output == pytest.approx(evaluated, rel=1e-6)
        key = "ema_model" if takes_average else "model"
        torch.testing.assert_close(dict(model.state_dict()), saved(tmp_path, name)[key], atol=0, rtol=0)
    assert not torch.equal(
        saved(tmp_path)["model"]["level_embed"], saved(tmp_path)["ema_model"]["level_embed"]
    )


def test_weights_are_back_after_an_evaluation_that_fails(tmp_path: Path):
    class Failing(SummingTrainer):
        @classmethod
        def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> list:
            raise RuntimeError("no frames")

    cfg = evaluating_cfg(tmp_path, EMA_DECAY=DECAY, BASE_LR=0.1, CHECKPOINT_PERIOD=0)
    cfg.TEST.EVAL_PERIOD = 2
    with pytest.raises(RuntimeError, match="no frames"):
        train(cfg, trainer_class=Failing)
    cfg = small_cfg(tmp_path / "plain", EMA_DECAY=DECAY, BASE_LR=0.1, MAX_ITER=2)
    train(cfg)
    for key in ("model", "ema_model"):
        found, expected = saved(tmp_path, "model_0000001")[key], saved(tmp_path / "plain")[key]
        torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_new_training_starts_from_the_average_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    train(small_cfg(tmp_path / "first", EMA_DECAY=DECAY, BASE_LR=0.1))
    cfg = small_cfg(tmp_path / "second", EMA_DECAY=DECAY)
    cfg.MODEL.WEIGHTS = str(tmp_path / "first" / "model_final.pth")
    with caplog.at_level(logging.INFO, "avis"):
        trainer = SmallTrainer(cfg)
        trainer.resume_or_load(resume=False)
    (line,) = [message for message in caplog.messages if "ema_model" in message]
    assert line.endswith(
        "the averaged weights 'ema_model' are taken, not those trained last (MODEL.EMA_WEIGHTS True)"
    )
    expected = saved(tmp_path / "first")["ema_model"]
    torch.testing.assert_close(dict(weights(trainer)), expected, atol=0, rtol=0)
    torch.testing.assert_close(trainer.checkpointer.average.state_dict(), expected, atol=0, rtol=0)


def test_shared_tensors_and_frozen_ones():
    model = build_small_model()
    model.again = model.class_embed
    model.level_embed.requires_grad_(False)
    model.backbone[1].eval()
    average, before = WeightAverage(model, 0.5), model.class_embed.weight.detach().clone()
    with torch.no_grad():
        model.class_embed.weight += 2
        model.level_embed += 1
        model.backbone[1].running_mean += 1
    average.update()
    state = average.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name in ("class_embed.weight", "again.weight"):
        torch.testing.assert_close(state[name], before + 1)
    assert torch.equal(state["level_embed"], model.level_embed)
    assert torch.equal(state["backbone.1.running_mean"], model.backbone[1].running_mean)
    with average.applied():
        torch.testing.assert_close(model.again.weight, nn.Parameter(before + 1))
    torch.testing.assert_close(model.again.weight, nn.Parameter(before + 2))


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_decay_that_is_none_is_named(tmp_path: Path, decay: float):
    with pytest.raises(ValueError, match=rf"SOLVER\.EMA_DECAY is {decay}; it is 0 .* less than 1"):
        SmallTrainer(small_cfg(tmp_path, EMA_DECAY=decay))


def test_file_with_two_sets_that_do_not_belong_together_is_refused(tmp_path: Path):
    path = tmp_path / "w.pth"
    torch.save({"model": {"a": torch.zeros(1)}, "ema_model": {"b": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match=r"w\.pth: its 'ema_model' does not have the names"):
        read_weights(str(path))


@pytest.mark.slow
def test_two_processes_have_the_average_of_one(tmp_path: Path):
    """Gradients of one and of two processes agree to 1e-5; averages of few steps then, too."""
    averages = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        launch(processes.average_steps, number, args=(str(folder),), device="cpu")
        states = [torch.load(path, weights_only=True) for path in sorted(folder.glob("average*.pt"))]
        assert len(states) == number
        for state in states[1:]:
            torch.testing.assert_close(state, states[0], atol=0, rtol=0)
        averages.append(states[0])
    torch.testing.assert_close(*averages, atol=1e-5, rtol=1e-4)
