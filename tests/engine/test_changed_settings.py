import pytest
import torch

from avis.engine.changed_settings import changed_settings
from tests.engine.small_model import SmallTrainer, small_cfg
from tests.engine.test_trainer import train, weights


def test_values_that_differ_are_listed():
    before = "A: {B: 1, C: [1, 2], GONE: 1}\nD: x\nOUTPUT_DIR: a\n"
    now = "A: {B: 2, C: [1, 2], NEW: 1}\nD: y\nOUTPUT_DIR: b\n"
    assert changed_settings(before, now) == ["A.B: 1 → 2", "D: 'x' → 'y'"]
    assert changed_settings("", now) == []


@pytest.mark.parametrize("key", ["SEED", "SOLVER.OPTIMIZER"])
def test_what_a_run_keeps_is_refused_otherwise(tmp_path, key):
    train(small_cfg(tmp_path))
    cfg = small_cfg(tmp_path)
    cfg.merge_from_list([key, "7" if key == "SEED" else "SGD"])
    with pytest.raises(ValueError, match=rf"{key} is .* in the run that is resumed"):
        SmallTrainer(cfg).resume_or_load(resume=True)


def resume_with(tmp_path, caplog, **solver) -> SmallTrainer:
    """After four iterations, the last two of which had a tenth of the learning rate."""
    train(small_cfg(tmp_path, STEPS=(2,), WEIGHT_DECAY=0.1))
    caplog.clear()
    trainer = SmallTrainer(small_cfg(tmp_path, **{"STEPS": (2,), "WEIGHT_DECAY": 0.1, **solver}))
    trainer.resume_or_load(resume=True)
    return trainer


def test_learning_rate_takes_effect_where_the_schedule_is(tmp_path, caplog):
    trainer = resume_with(tmp_path, caplog, BASE_LR=5.0, MAX_ITER=6)
    assert "SOLVER.BASE_LR: 0.001 → 5.0" in caplog.text
    assert "SOLVER.MAX_ITER: 4 → 6" in caplog.text
    rates = sorted({group["lr"] for group in trainer.optimizer.param_groups})
    assert rates == pytest.approx([0.05, 0.5])
    before = {name: value.clone() for name, value in weights(trainer).items()}
    trainer.train()
    # Adam's first steps are about as long as the learning rate.
    assert (weights(trainer)["class_embed.weight"] - before["class_embed.weight"]).abs().max() > 0.1
    assert trainer.scheduler.get_last_lr()[0] in rates


def test_decays_take_effect_and_states_follow_their_parameters(tmp_path, caplog):
    """One decay for all, and one learning rate: all parameters come into one group, in another order."""
    finished = train(small_cfg(tmp_path / "same", STEPS=(2,), WEIGHT_DECAY=0.1))
    same = {"WEIGHT_DECAY_NORM": 0.1, "WEIGHT_DECAY_EMBED": 0.1, "BACKBONE_MULTIPLIER": 1.0}
    trainer = resume_with(tmp_path / "other", caplog, **same)
    assert len(finished.optimizer.param_groups) > len(trainer.optimizer.param_groups) == 1
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.1
    assert "SOLVER.WEIGHT_DECAY_NORM: 0.0 → 0.1" in caplog.text
    ours, theirs = (dict(t.model.named_parameters()) for t in (trainer, finished))
    for name, parameter in ours.items():
        expected = finished.optimizer.state[theirs[name]]["exp_avg"]
        assert torch.equal(trainer.optimizer.state[parameter]["exp_avg"], expected)


def test_without_a_change_nothing_is_listed(tmp_path, caplog):
    resume_with(tmp_path, caplog)
    assert "Changed since" not in caplog.text
