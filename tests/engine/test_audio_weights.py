"""What becomes of the weights of a frozen audio backbone: given, never given, heard through or not."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from avis.audio import AudioCNN
from avis.config import get_avis_cfg
from avis.engine import AVISTrainer
from avis.inference import VideoPredictor
from avis.modeling import load_trained_model
from avis.structures import VideoPrediction

PREFIX = "audio_backbone."
EXAMPLES = {"audio_examples": torch.zeros(2, 96, 64)}
FEATURES = {"audio_features": torch.zeros(2, 128)}


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """A small model whose audio backbone is frozen."""
    options = ["MODEL.AUDIO.FREEZE", True, "OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", "()"]
    return get_avis_cfg("configs/quickstart.yaml", [*options, "MODEL.MASK_FORMER.DEC_LAYERS", 2])


def predict(cfg: CfgNode, audio: dict[str, torch.Tensor]) -> VideoPrediction:
    image = torch.zeros(2, 3, 32, 64, dtype=torch.uint8)
    video = {"image": image, **audio, "height": 32, "width": 64, "video_id": 1}
    with torch.no_grad():
        (prediction,) = load_trained_model(cfg).eval()([video])
    return prediction


def save(cfg: CfgNode, has_heard: bool) -> str:
    """Save a model that has, or has not, heard anything through its backbone; the path of the checkpoint."""
    trainer = AVISTrainer(cfg)
    if has_heard:
        trainer.model.audio_backbone(EXAMPLES["audio_examples"])
    trainer.checkpointer.save("model_0000000", iteration=0)
    return f"{cfg.OUTPUT_DIR}/model_0000000.pth"


def names_of_audio(path: str) -> list[str]:
    return [name for name in torch.load(path, weights_only=True)["model"] if name.startswith(PREFIX)]


@pytest.mark.parametrize(("freeze", "is_told"), [(True, True), (False, False)])
def test_random_frozen_hearing_is_warned_of(cfg, caplog, freeze, is_told):
    cfg.MODEL.AUDIO.FREEZE = freeze
    AVISTrainer(cfg).resume_or_load(resume=False)
    assert ("AudioCNN is frozen and no file has given it weights" in caplog.text) == is_told


def test_random_weights_that_nothing_was_heard_through_are_not_saved(cfg):
    assert not names_of_audio(save(cfg, has_heard=False))
    AVISTrainer(cfg).resume_or_load(resume=True)  # nothing is missing


def test_random_weights_that_the_model_was_trained_with_are_saved(cfg):
    cfg.MODEL.WEIGHTS = save(cfg, has_heard=True)
    assert len(names_of_audio(cfg.MODEL.WEIGHTS)) == len(AudioCNN().state_dict())
    assert predict(cfg, EXAMPLES).length == 2


def test_a_model_without_hearing_takes_features_only(cfg):
    cfg.MODEL.WEIGHTS = save(cfg, has_heard=False)
    assert predict(cfg, FEATURES).length == 2
    with pytest.raises(ValueError, match=r"AudioCNN has no weights.*MODEL\.AUDIO\.WEIGHTS"):
        predict(cfg, EXAMPLES)


def test_a_model_without_hearing_predicts_on_no_video(cfg):
    cfg.MODEL.WEIGHTS = save(cfg, has_heard=False)
    with pytest.raises(ValueError, match=r"AudioCNN has no weights.*MODEL\.AUDIO\.WEIGHTS"):
        VideoPredictor(cfg)


def test_evaluation_is_no_training(cfg):
    trainer = AVISTrainer(cfg)
    with torch.no_grad():
        trainer.model.audio_backbone(EXAMPLES["audio_examples"])
    trainer.checkpointer.save("model_0000000", iteration=0)
    assert not names_of_audio(f"{cfg.OUTPUT_DIR}/model_0000000.pth")


def test_features_computed_elsewhere_need_no_weights(cfg, caplog):
    cfg.MODEL.AUDIO.NAME = "PrecomputedFeatures"
    AVISTrainer(cfg).resume_or_load(resume=False)
    assert "no file has given it weights" not in caplog.text


def test_audio_weights_of_the_config_let_it_hear(cfg):
    cfg.MODEL.WEIGHTS = save(cfg, has_heard=False)
    cfg.MODEL.AUDIO.WEIGHTS = f"{cfg.OUTPUT_DIR}/audio.pth"
    torch.save(AudioCNN().state_dict(), cfg.MODEL.AUDIO.WEIGHTS)
    assert predict(cfg, EXAMPLES).length == 2
    assert names_of_audio(save(cfg, has_heard=False))
